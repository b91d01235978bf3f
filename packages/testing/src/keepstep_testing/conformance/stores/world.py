"""What the tests of a store share: the store, the clock that they set, and a shorthand for what they insert and read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Table

from keepstep.model.plan import Boundary, Creation, End, Hold
from keepstep.model.records import RunnerRecord, RunRecord, TaskRecord
from keepstep.store import tables
from keepstep.store.api import Mode, Store
from keepstep.store.boundaries import commit_group
from keepstep.store.claims import register_runner
from keepstep.store.group import GroupResult
from keepstep.store.runs import insert_creations
from keepstep.store.script import Call, Script
from keepstep.store.statement import DialectName
from keepstep_testing.conformance.rows import NOW, RUN_ID, RUNNER_ID, run_row, task_row
from keepstep_testing.whole import ALL_ROWS

T = TypeVar("T")

LEASE_MS = 30_000


@dataclass
class SetClock:
    """Database time as the test says (B5).

    Attributes:
        now: milliseconds since the epoch, UTC.
    """

    now: int = NOW

    def now_ms(self) -> int:
        """The instant that was set."""
        return self.now


@dataclass
class StoreWorld:
    """A store on an empty database with keepstep's tables, and the shorthand that its tests share.

    Attributes:
        store: the store, open.
        clock: the time that it takes for the database's.
    """

    store: Store
    clock: SetClock = field(default_factory=SetClock)

    @property
    def dialect(self) -> DialectName:
        """Which database it is."""
        return self.store.dialect

    async def run(self, script: Script[T], mode: Mode = "write") -> T:
        """Run a script in a transaction of its own."""
        return await self.store.transaction("test", script, mode)

    async def rows(self, table: Table) -> list[tuple[Any, ...]]:
        """All rows of a table, by primary key."""

        def script() -> Script[list[tuple[Any, ...]]]:
            found = yield Call(ALL_ROWS[table.name])
            return [tuple(row) for row in found]

        return await self.run(script(), "read")

    async def runner(self, id: int = RUNNER_ID, epoch: int = 1, lease_ms: int = LEASE_MS) -> None:  # noqa: A002
        """Register a runner."""
        await self.run(register_runner(RunnerRecord(id, epoch, 0, "host-1", 1, 0), lease_ms))

    async def add(self, run: RunRecord, task: TaskRecord) -> None:
        """Insert a run with its task as they are."""
        await self.run(insert_creations(self.dialect, [Creation(run, task)]))

    async def hold(self, *run_ids: int, **changes: Any) -> None:
        """Insert runs that ``RUNNER_ID`` holds under fence 4, with wake_seq 9 and version 5."""
        for run_id in run_ids or (RUN_ID,):
            run = run_row(id=run_id, instance_id=f"o-{run_id}")
            await self.add(run, task_row(run_id=run_id, owner=RUNNER_ID, **changes))

    async def group(
        self, boundaries: Sequence[Boundary], creations: Sequence[Creation] = (), epoch: int = 1
    ) -> GroupResult:
        """Commit a group of ``RUNNER_ID``'s."""
        return await self.run(commit_group(self.dialect, RUNNER_ID, epoch, boundaries, creations), "single")

    async def task(self, run_id: int = RUN_ID) -> TaskRecord:
        """The task row of a run that has one."""
        found = await self.task_or_none(run_id)
        assert found is not None, f"run {run_id} has no task"
        return found

    async def task_or_none(self, run_id: int = RUN_ID) -> TaskRecord | None:
        """The task row of a run; None when it has ended."""
        return next((TaskRecord._make(r) for r in await self.rows(tables.task) if r[0] == run_id), None)

    async def row(self, run_id: int = RUN_ID) -> RunRecord:
        """One run row."""
        return next(RunRecord._make(r) for r in await self.rows(tables.run) if r[0] == run_id)


def boundary(run_id: int = RUN_ID, end: End | None = None, **changes: Any) -> Boundary:
    """A boundary whose guard fits what :meth:`StoreWorld.hold` inserts."""
    end = Hold() if end is None else end
    wake_seq = None if isinstance(end, Hold) else 9
    guard: dict[str, Any] = {"fence": 4, "wake_seq": wake_seq, "version": 5, "at": NOW, **changes}
    return Boundary(run_id=run_id, end=end, **guard)
