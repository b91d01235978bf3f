"""A process's store: the engine's own SQLite executor, whose transactions stop at the world's gates."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from keepstep.store.api import Mode, Store
from keepstep.store.script import Script
from keepstep.store.sqlite import GatePoint, SqliteStore

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process

T = TypeVar("T")

_UNDER_WAY: ContextVar[Transaction | None] = ContextVar("keepstep_sim_transaction")

BUSY_TIMEOUT_MS = 2_000


class Transaction:
    """One transaction on its way.

    Attributes:
        process: whose.
        label: what it is.
        mode: whether it writes.
        boundaries: what a group commit carries.
    """

    __slots__ = ("boundaries", "label", "mode", "process")

    def __init__(self, process: Process, label: str, mode: str) -> None:
        self.process = process
        self.label = label
        self.mode = mode
        self.boundaries: Any = ()


class Passage:
    """What a process's store does at the world's gates, whichever executor it is.

    A write stops before it begins, before COMMIT where a fault or the schedule asks for that, and before its answer
    arrives. A read stops before its answer arrives, so that answers may be old.

    Args:
        process: whose.
    """

    def __init__(self, process: Process) -> None:
        self._process = process

    @contextmanager
    def transaction(self, label: str, mode: Mode) -> Generator[None, None, None]:
        """A transaction is on its way; an error that ends it is told to the world."""
        process = self._process
        transaction = Transaction(process, label, mode)
        transaction.boundaries, process.planned = process.planned, ()
        outer = _UNDER_WAY.get(None)
        _UNDER_WAY.set(transaction)
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException as error:
            process.world.failed(transaction, error)
            raise
        finally:
            process.world.unlocked(process)
            _UNDER_WAY.set(outer)

    async def gate(self, label: str, point: GatePoint) -> None:
        """Stop where the world wants it; see :data:`keepstep.store.sqlite.Gate`."""
        process = self._process
        world = process.world
        transaction = _UNDER_WAY.get()
        assert transaction is not None
        if point == "begin":
            if transaction.mode != "read" or world.locked_by(process):
                await process.gate(f"{label}:begin")
            world.lock(process)
        elif point == "commit":
            if transaction.mode != "read" and world.stops_at_commit(process, label):
                await process.gate(f"{label}:commit")
        else:
            world.unlocked(process)
            world.committed(transaction)
            await process.gate(f"{label}:committed")


class ProcessStore(Store, Protocol):
    """The store of a process, whichever database it is."""

    def cut(self) -> None:
        """The process is gone: what it had not committed is rolled back."""
        ...


class SimStore(SqliteStore):
    """See the module's head."""

    def __init__(self, process: Process) -> None:
        database = process.world.database
        connect: Any = database.connect  # speaks like SQLite's own
        self._process = process
        self._passage = Passage(process)
        super().__init__(
            database.path,
            clock=process.world.clock,
            busy_timeout_ms=BUSY_TIMEOUT_MS,
            slow_commit_ms=None,
            gate=self._passage.gate,
            connect=connect,
        )

    async def transaction(self, label: str, script: Script[T], mode: Mode = "write") -> T:
        """See :class:`keepstep.store.api.Store`."""
        with self._passage.transaction(label, mode):
            return await super().transaction(label, script, mode)

    def cut(self) -> None:
        """The process is gone: its connection breaks, what it had not committed is rolled back."""
        if self._writer is not None:
            self._writer.close()

    async def listen(self, on_hint: Callable[[], None]) -> None:
        """Hints are messages of the world's."""
        self._process.on_hint = on_hint
