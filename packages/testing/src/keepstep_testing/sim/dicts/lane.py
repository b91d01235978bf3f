"""The dict lane of the simulation: keepstep's tables are dicts; the user's own stay in SQLite, and commit with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.engine import Engine

from keepstep.store.api import Mode
from keepstep.store.script import Script
from keepstep.store.tables import PREFIX
from keepstep_testing.sim.database import RECORDS, Change, Database, Rows
from keepstep_testing.sim.dicts.database import DictDatabase
from keepstep_testing.sim.dicts.hosted import answered_by
from keepstep_testing.sim.dicts.store import DictStore
from keepstep_testing.sim.sessions import user_engine
from keepstep_testing.sim.store import BUSY_TIMEOUT_MS, Passage, ProcessStore

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process

T = TypeVar("T")


class DictLane(Database):
    """The world's database in the dict lane.

    Args:
        user_tables: CREATE statements, for tables of the user's own.

    Attributes:
        dicts: keepstep's tables.
    """

    def __init__(self, user_tables: Sequence[str] = ()) -> None:
        super().__init__(user_tables=user_tables)
        self.dicts = DictDatabase()
        self.user_engine: Engine | None = answered_by(self.dicts, user_engine(self))

    def store(self, process: Process) -> ProcessStore:
        """The store of a process of the world's."""
        return SimDictStore(process, self.dicts)

    def cut(self) -> None:
        """Whoever is within a transaction is cut off: it is rolled back."""
        super().cut()
        self.dicts.rollback(self.dicts.owner)

    def reset(self) -> None:
        """Empty: what the last schedule left goes."""
        super().reset()
        self.dicts.reset()

    def changes(self) -> list[Change]:
        """What commits changed since the last look, in order."""
        found = self.dicts.committed
        self.dicts.committed = []
        return [each for each in found if each.table in RECORDS]

    def end_lease(self, runner_id: int, at_ms: int) -> None:
        """Let a runner's lease have ended, as if its time had passed."""
        dicts = self.dicts
        runner = dicts.runner.rows[runner_id]
        dicts.begin(self)
        dicts.put(dicts.runner, runner._replace(locked_until=at_ms))
        dicts.commit(self)

    def restore(self, kept: Rows) -> None:
        """Be as it was: see :meth:`keepstep_testing.sim.database.Database.restore`."""
        ours = {name: rows for name, rows in kept.items() if name.removeprefix(PREFIX) in self.dicts.tables}
        super().restore({name: rows for name, rows in kept.items() if name not in ours})
        self.dicts.restore({name.removeprefix(PREFIX): rows for name, rows in ours.items()})

    def set_revision(self, revision: str) -> None:
        """Say which version the schema has: whoever starts now reads that."""
        super().set_revision(revision)
        self.dicts.set_revision(revision)

    def contents(self) -> Rows:
        """All rows of all tables, the user's too, in an order of their own."""
        ours = {f"{PREFIX}{name}": rows for name, rows in self.dicts.contents().items()}
        return {name: ours.get(name, rows) for name, rows in super().contents().items()}


class SimDictStore(DictStore):
    """A process's store on dicts, whose transactions stop at the world's gates."""

    def __init__(self, process: Process, dicts: DictDatabase) -> None:
        self._process = process
        self._passage = Passage(process)
        super().__init__(
            dicts, clock=process.world.clock, busy_timeout_ms=BUSY_TIMEOUT_MS, gate=self._passage.gate
        )

    async def transaction(self, label: str, script: Script[T], mode: Mode = "write") -> T:
        """See :class:`keepstep.store.api.Store`."""
        with self._passage.transaction(label, mode):
            return await super().transaction(label, script, mode)

    def cut(self) -> None:
        """The process is gone: what it had not committed is rolled back."""
        self._database.rollback(self)

    async def listen(self, on_hint: Callable[[], None]) -> None:
        """Hints are messages of the world's."""
        self._process.on_hint = on_hint
