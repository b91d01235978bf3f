"""The dict lane's executor: scripts on a :class:`DictDatabase`, with the executors' manners.

One writer at a time, all of a script or nothing, errors in the engine's words, one time for all of a transaction. Stores
that share a database take turns as processes do: who finds it locked tries again, asynchronously, for a bounded time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, TypeVar, cast

from keepstep.errors import IntegrityError, StoreConflictError, StoreError, StoreUnavailableError
from keepstep.store.api import Mode
from keepstep.store.clock import Clock
from keepstep.store.errors import translated
from keepstep.store.script import Script
from keepstep.store.sqlite import Gate
from keepstep_testing.sim.dicts.answers import Rows, answer
from keepstep_testing.sim.dicts.database import BusyError, DictDatabase
from keepstep_testing.sim.dicts.table import ConstraintError

T = TypeVar("T")


class DictStore:
    """Runs scripts on dicts; implements :class:`keepstep.store.api.Store`, in SQLite's dialect of scripts.

    Args:
        database: the tables; several stores may share one.
        clock: database time (B5).
        busy_timeout_ms: how long to try while another store is within a transaction.
        gate: the simulation's seam, as the SQLite executor's.
    """

    dialect: Literal["sqlite"] = "sqlite"

    def __init__(
        self,
        database: DictDatabase,
        *,
        clock: Clock,
        busy_timeout_ms: int = 10_000,
        gate: Gate | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._busy_timeout_ms = busy_timeout_ms
        self._gate = gate
        self._lock = asyncio.Lock()
        self._is_open = False

    @property
    def busy(self) -> bool:
        """Whether a transaction is on its way."""
        return self._lock.locked()

    async def open(self) -> None:
        """There is nothing to connect to. Idempotent."""
        self._is_open = True

    async def close(self) -> None:
        """Take no more scripts, after the transaction that is on its way. Idempotent."""
        async with self._lock:
            self._is_open = False

    async def transaction(self, label: str, script: Script[T], mode: Mode = "write") -> T:
        """Run ``script`` in one transaction and return its result.

        Raises:
            StoreUnavailableError: the store is closed.
            StoreConflictError: others were within a transaction for too long; nothing was written.
            StoreError: a read wrote; nothing was written.
            IntegrityError: a constraint refused; nothing was written.
        """
        async with self._lock:
            if not self._is_open:
                raise StoreUnavailableError("the dict database is not open")
            try:
                with translated(label):
                    result = await self._played(label, script, mode)
            except ConstraintError as error:
                raise IntegrityError(f"{label}: {error}; nothing was written") from error
            finally:
                script.close()
                self._database.rollback(self)
        if self._gate is not None:
            await self._gate(label, "committed")
        return result

    async def listen(self, on_hint: Callable[[], None]) -> None:
        """Nobody else can reach dicts: no hint ever comes."""

    def hint(self) -> None:
        """Likewise: nobody else could hear it."""

    async def _played(self, label: str, script: Script[T], mode: Mode) -> T:
        if self._gate is not None:
            await self._gate(label, "begin")
        try:
            self._database.begin(self)
        except BusyError:
            await self._begin(label)
        result = drive(self._database, script, self._clock.now_ms())
        if mode == "read" and self._database.mark:
            raise StoreError(f"{label}: a script that only reads has written; nothing was written")
        if self._gate is not None:
            await self._gate(label, "commit")
        self._database.commit(self)
        return result

    async def _begin(self, label: str) -> None:
        """Become the writer, with patience."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._busy_timeout_ms / 1000
        pause = 0.0005
        while True:
            try:
                return self._database.begin(self)
            except BusyError as error:
                if loop.time() >= give_up_at:
                    raise StoreConflictError(
                        f"{label}: others have been within a transaction for {self._busy_timeout_ms} ms;"
                        " nothing was written; try again"
                    ) from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.02)


def drive(database: DictDatabase, script: Script[T], now: int) -> T:
    """Run a script to its end within the transaction under way.

    Args:
        database: the tables.
        script: the work.
        now: database time, ms.
    """
    rows: Rows = ()
    try:
        statement, params = next(script)
        while True:
            rows = answer(database, statement, params, now)
            statement, params = script.send(rows)
    except StopIteration as done:
        return cast("T", done.value)
