"""What runs a simulation: its world, the test's own process within it, and what the test waits for.

A test says what it waits for; the world goes on, one thing at a time, until that is so.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import MetaData

from keepstep.client.outcome import not_yet
from keepstep.store.migrations import Line
from keepstep.store.migrations.upgrade import apply
from keepstep_testing.databases import give_back, statements_of, take_database
from keepstep_testing.referee import Referee
from keepstep_testing.sim.chooser import Recording, Straight
from keepstep_testing.sim.guard import RealWorldError
from keepstep_testing.sim.oracle.ghost import TERMINAL, Ghost
from keepstep_testing.sim.process import Process
from keepstep_testing.sim.roles import Calm, Chooser, Disaster
from keepstep_testing.sim.trace import Trace
from keepstep_testing.sim.world import World
from keepstep_testing.virtual import virtual_world

T = TypeVar("T")

PICKS_MAX = 50_000


class StuckError(AssertionError):
    """A test waits for something that never happens."""


@dataclass(slots=True)
class _Wait:
    over: Callable[[], bool]
    future: asyncio.Future[None]


class Enactment:
    """See the module's head.

    Args:
        seed: of everything that is drawn.
        chooser: picks what happens next; None = first come, first served.
        disaster: what strikes; None = nothing.
        traced: keep the lines of the trace.
        metadata: of the user's own tables.

    Attributes:
        world: the world.
        referee: who watches it.
        refused: a step asked for the real world.
        fair: no faults and no preemption any more.
        clients: what clients do beside the test.
    """

    def __init__(
        self,
        *,
        seed: int,
        chooser: Chooser | None,
        disaster: Disaster | None,
        traced: bool,
        metadata: tuple[MetaData, ...],
    ) -> None:
        self._metadata = metadata
        self._over = False
        self._reusable = True
        self._seed = seed
        self.world = World(
            seed,
            take_database(metadata),
            chooser=chooser or Recording(Straight()),
            disaster=disaster or Calm(),
            trace=Trace(wanted=traced),
        )
        self.referee = Referee(self.world)
        self.refused: RealWorldError | None = None
        self.fair = False
        self.clients: list[asyncio.Task[Any]] = []
        self._waits: list[_Wait] = []
        self.test: Process = self.world.process("test", "host-9")

    @property
    def ghost(self) -> Ghost:
        """What was seen of the database."""
        return self.referee.ghost

    @property
    def broken(self) -> BaseException | None:
        """What ends it at once: a rule of the engine that did not hold, or a step that left the simulation."""
        return self.refused or self.referee.violation

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the test in its process.

        Raises:
            StuckError: it waits for something that never happens.
        """
        with self._simulating():
            task = self.test.spawn(work, "test")
            while not task.done():
                if not self.world.run(lambda: self._look(task), PICKS_MAX, fair=self.fair):
                    raise StuckError(self._stuck())
                if self.broken is not None:
                    raise self.broken
            return task.result()

    async def until(self, over: Callable[[], bool]) -> None:
        """Wait until something is so, whenever everything is quiet."""
        future: asyncio.Future[None] = self.test.loop.create_future()
        self._waits.append(_Wait(over, future))
        await future

    async def until_time(self, ms: int) -> None:
        """Wait until so many virtual milliseconds have passed."""
        future: asyncio.Future[None] = self.test.loop.create_future()
        self.world.later(ms * 1000, lambda: future.set_result(None))
        await future

    def ended_through(self, port: Any) -> Callable[[Any, int | None], Any]:
        """What stands behind ``instance.result()``: it waits for the end without polling for it.

        Args:
            port: the client's own, which reads.
        """

        async def ended(look: Any, timeout_ms: int | None) -> Any:
            deadline = None if timeout_ms is None else self.world.clock.us + timeout_ms * 1000
            if timeout_ms is not None:
                self.world.later(timeout_ms * 1000, lambda: None)  # so that time comes to it
            while True:
                run = await port.run(look)
                if run.status in TERMINAL:
                    return run
                if deadline is not None and self.world.clock.us >= deadline:
                    raise not_yet(run, timeout_ms or 0)
                await self.until(partial(self._has_ended, run.run_id, deadline))

        return ended

    def _has_ended(self, run_id: int, deadline: int | None) -> bool:
        if deadline is not None and self.world.clock.us >= deadline:
            return True
        found = self.ghost.runs.get(run_id)
        return found is not None and found.status in TERMINAL

    def is_quiet(self) -> bool:
        """Nothing executes, and nothing is due."""
        ghost, now = self.ghost, self.world.clock.now_ms()
        if any(not each.done() for each in self.clients):
            return False
        for run in ghost.live():
            if run.status not in {"waiting", "paused"} or run.pause_requested:
                return False
            task = ghost.tasks.get(run.id)
            if task is not None and (
                task.owner is not None or (task.run_at is not None and task.run_at <= now)
            ):
                return False
        return not any(
            each.status == "delivering" or (each.status == "pending" and (each.run_at or 0) <= now)
            for each in ghost.hooks.values()
        )

    def is_settled(self) -> bool:
        """And nothing will be due: what has not ended waits for an event that somebody has to send, or is paused."""
        ghost = self.ghost
        runs = {run.id for run in ghost.live() if run.status != "paused"}
        due = any(each.run_at is not None and each.run_id in runs for each in ghost.tasks.values())
        hooks = any(each.status in {"pending", "delivering"} for each in ghost.hooks.values())
        return not due and not hooks and self.is_quiet()

    def add_tables(self, metadata: tuple[MetaData, ...]) -> None:
        """Make tables in the database, which no other simulation gets then."""
        self._reusable = False
        for statement in statements_of(metadata):
            self.world.database.rows(statement)

    def apply(self, lines: Sequence[Line]) -> None:
        """Bring schemas to their heads, in the database, which no other simulation gets then."""
        self._reusable = False
        with self.world.user_engine.begin() as connection:
            apply(connection, lines)

    def bury(self) -> None:
        """It is over: nothing of this world goes on. Idempotent."""
        if not self._over:
            self._over = True
            self.world.bury()
            if self._reusable:
                give_back(self._metadata, self.world.database)

    def _look(self, task: asyncio.Task[Any]) -> bool:
        if task.done() or self.broken is not None:
            return True
        for wait in self._waits:
            if wait.over():
                self._waits.remove(wait)
                wait.future.set_result(None)
                return True
        return False

    @contextmanager
    def _simulating(self) -> Generator[None, None, None]:
        log = logging.getLogger("keepstep")
        level = log.level
        drawn = random.getstate()
        collects = gc.isenabled()
        self.referee.install()
        gc.disable()
        log.setLevel(logging.CRITICAL + 1)
        random.seed(self._seed)
        try:
            with virtual_world(self.world.clock):
                yield
        finally:
            random.setstate(drawn)
            log.setLevel(level)
            if collects:
                gc.enable()
            self.referee.uninstall()

    def _stuck(self) -> str:
        ghost = self.ghost
        lines = ["the test waits for something that never happens"]
        for run in ghost.live():
            waits = [
                row for row in ghost.steps[run.id].values() if row.seq is None and row.status == "waiting"
            ]
            what = ", ".join(
                f"{row.key} waits for an event {row.event_type!r}" if row.event_type else f"{row.key} waits"
                for row in waits
            )
            lines.append(
                f"  {run.instance_id} ({run.workflow}) is {run.status}: {what or 'nothing moves it'}"
            )
        lines.append(
            "send the event (await instance.send_event(…)), or await sim.settle() instead of instance.result()"
        )
        return "\n".join(lines)
