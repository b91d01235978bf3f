"""Ports: how verbs reach the database and wake runners. One for each place in which a transaction can live."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from keepstep.client.outcome import not_yet
from keepstep.client.verbs import Create, Transact
from keepstep.engine.engine import Engine
from keepstep.model.outcome import Standing
from keepstep.model.status import TERMINAL
from keepstep.services.views import standing_view
from keepstep.store.host import SyncTarget

T = TypeVar("T")

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
"""How often an ended run is looked for when nobody says that it has ended."""


class Port(Protocol):
    """Runs verbs for async callers."""

    async def run(self, verb: Transact[T]) -> T:
        """Run a script in a transaction, and wake whom its commit concerns."""
        ...

    async def create(self, verb: Create) -> list[str]:
        """Begin instances; the ids of the answer."""
        ...

    async def ended(self, look: Transact[Standing], timeout_ms: int | None) -> Standing:
        """Wait until the run that ``look`` reads has ended; raises ``ResultTimeoutError``."""
        ...


class DatabasePort(Port, Protocol):
    """A port that reaches the database itself: it has transactions for sync work of others."""

    async def work(self, work: Callable[[SyncTarget], T]) -> T:
        """Call sync work with a SQLAlchemy transaction; what it made is noticed after its commit."""
        ...


class EnginePort:
    """Each verb in a transaction of the engine's own.

    Args:
        engine: the app's.
        ready: awaited before each verb: connects when nobody has yet.
    """

    def __init__(self, engine: Engine, ready: Callable[[], Awaitable[None]]) -> None:
        self._engine = engine
        self._ready = ready

    async def run(self, verb: Transact[T]) -> T:
        """Run a script; conflicts with other transactions are tried again."""
        await self._ready()
        dialect = self._engine.store.dialect
        transact = self._engine.run if verb.mode == "write" else self._engine.read
        done = await transact(verb.label, lambda: verb.script(dialect))
        self._touched(done.touched)
        return done.answer

    async def create(self, verb: Create) -> list[str]:
        """Begin instances: with the runner's next commit if it runs, else in a transaction at the database's time."""
        await self._ready()
        engine = self._engine
        if engine.runner.running:
            now = engine.clock.now_ms()
            return verb.judge(
                await engine.create(lambda owner: [each.planned(now, owner) for each in verb.items])
            )
        done = await engine.run("create", lambda: verb.script(engine.store.dialect))
        self._touched(done.touched)
        return verb.judge(done.answer)

    async def ended(self, look: Transact[Standing], timeout_ms: int | None) -> Standing:
        """Wait for news of the run, and look from time to time in any case."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout_ms is None else loop.time() + timeout_ms / 1000
        pause = FIRST_PAUSE_S
        while True:
            # Listening begins before the look, so that no change falls between the two.
            with self._engine.changes.watch() as watch:
                run = await self.run(look)
                if run.status in TERMINAL:
                    return run
                listener = watch.listener(run.run_id)
            with listener:
                left = pause if deadline is None else min(pause, deadline - loop.time())
                if left <= 0:
                    raise not_yet(run, timeout_ms or 0)
                ended = await listener.heard(left)
            if ended is not None:
                return standing_view(ended)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def work(self, work: Callable[[SyncTarget], T]) -> T:
        """Call sync work with a session of the engine's own, and commit; conflicts are tried again."""
        await self._ready()
        return await self._engine.own.run(work)

    def _touched(self, run_ids: tuple[int, ...]) -> None:
        for run_id in run_ids:
            self._engine.touched(run_id)
