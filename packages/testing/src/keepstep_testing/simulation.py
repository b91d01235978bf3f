"""One deterministic world around a user's workflows: the real engine on a database in memory, and time that is virtual.

    test ─▶ sim.start(workflow) ─▶ a client's transaction ─▶ a runner's process wakes ─▶ steps, or what stands in for them
                                    time passes only when nobody has anything to do at this moment

Nothing of it is a double but the outside: the app, its runner, its store's statements and SQLite are the real ones.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any, Self, TypeVar

from keepstep import Instance
from keepstep.authoring.definition import WorkflowDefinition, definition_of
from keepstep.client.bound import Workflow
from keepstep.engine.surroundings import Surroundings
from keepstep.errors import UsageError
from keepstep.model.duration import duration_ms, to_datetime
from keepstep.model.ids import parse_key
from keepstep_testing.composed import Composed
from keepstep_testing.enactment import Enactment
from keepstep_testing.fleet import Fleet
from keepstep_testing.outside import Outside
from keepstep_testing.patches import Patches
from keepstep_testing.sim.database import Database
from keepstep_testing.sim.guard import RealWorldError
from keepstep_testing.sim.oracle.ghost import Ghost
from keepstep_testing.sim.process import PROCESS, Process
from keepstep_testing.sim.roles import Chooser, Disaster
from keepstep_testing.sim.trace import Line
from keepstep_testing.sim.world import World
from keepstep_testing.standins import StandIns
from keepstep_testing.verdict import verify

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")


class Simulation(Outside, Composed):
    """See the module's head. What tests get as ``sim``; elsewhere ``with Simulation() as sim`` ends it.

    Args:
        seed: of everything that is drawn: ids, jitter, the module ``random``.
        chooser: picks what happens next; None = first come, first served.
        disaster: what strikes; None = nothing.
        cache: suspended bodies that a runner keeps in memory; 0 = every wake replays (A6).
        skew_ms: by how much the runners' own clocks are wrong.
        traced: keep the lines of the trace.

    Attributes:
        judged: at the end, declared effects must not be doubled and bodies must be deterministic; set it to False for a
            test that means such a thing.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        chooser: Chooser | None = None,
        disaster: Disaster | None = None,
        cache: int = 100,
        skew_ms: int = 0,
        traced: bool = False,
    ) -> None:
        super().__init__()
        self._seed = seed
        self._draws = Random(f"maybe/{seed}")  # noqa: S311  # draws come from a seed
        self._enact = partial(Enactment, seed=seed, chooser=chooser, disaster=disaster, traced=traced)
        self._enactment: Enactment | None = None
        self.fleet = Fleet(self, cache, skew_ms)
        self.patches = Patches()
        self.stand_ins = StandIns(self)
        self.reached: Counter[str] = Counter()
        self.judged = True
        self.instances: list[tuple[WorkflowDefinition[Any, Any], str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        self.patches.undo()
        if self._enactment is not None:
            self._enactment.bury()
        if raised is None and self.judged:
            self.check_used()

    # --- acting

    async def start(
        self,
        workflow: Workflow[P, R],
        params: P | None = None,
        *,
        id: str | None = None,  # noqa: A002  # what clients say
    ) -> Instance[R]:
        """Create an instance, as a client does; it is on its way when this returns.

        Args:
            workflow: any; it need not be registered.
            params: a value of its params type.
            id: of the instance; None = a fresh one.
        """
        self.register(workflow)
        self.fleet.ensure()
        instance = await self.client_app.binding(workflow).create(id, params)
        self.instances.append((definition_of(workflow), instance.id))
        return instance

    def client(
        self, act: Callable[..., Awaitable[Any]], *args: Any, maybe: bool = False, **kwargs: Any
    ) -> asyncio.Task[Any]:
        """Have a client do something beside the test: ``sim.client(order.send_event, Approval(approved=True))``.

        In ``@sim_test`` its order is explored. What it raises is raised by the task, for who awaits it.

        Args:
            act: what it does.
            *args: given to it.
            maybe: it does so in one of two runs, as the seed decides; the calm run, which is the first, does it.
            **kwargs: given to it.
        """
        process = self.enactment.test
        left_out = maybe and self._seed != 0 and self._draws.random() < 0.5

        async def acting() -> Any:
            if left_out:
                return None
            await process.gate("client", getattr(act, "__name__", "client"))
            return await act(*args, **kwargs)

        task = process.spawn(acting(), "client")
        self.enactment.clients.append(task)
        return task

    async def advance(self, duration: str | timedelta) -> None:
        """Let time pass, with everything that falls due meanwhile, and let what is then under way come to rest.

        Args:
            duration: like ``"2 days"``.
        """
        await self.enactment.until_time(duration_ms(duration))
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until nothing executes and nothing is due; time passes only if a step takes its time."""
        await self.enactment.until(self.enactment.is_quiet)

    async def settle(self) -> None:
        """Let time pass until every instance has ended or waits for nothing but an event, and every client is done."""
        await self.enactment.until(self.enactment.is_settled)

    def crash(self) -> None:
        """Every runner's process dies at once, with nothing saved but what is committed; they are started again."""
        for process in self.fleet.servers:
            self.fleet.crash(process)

    def drain(self) -> None:
        """Every runner's process is stopped in an orderly way and started again, as at a deployment."""
        for process in self.fleet.servers:
            self.fleet.drain(process)

    # --- looking

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return to_datetime(self.world.clock.now_ms())

    @property
    def at_s(self) -> float:
        """Seconds since the simulation began."""
        return 0.0 if self._enactment is None else self.world.clock.us / 1e6

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds that is committed."""
        return self.database.rows(sql)

    def sometimes(self, name: str, condition: object) -> None:
        """Say that a state should be reached by some run of ``@sim_test``, not by each; the report says which were not."""
        self.reached[name] += bool(condition)

    @property
    def trace(self) -> str:
        """What happened so far, line by line, if it is ``traced``."""
        return self.world.trace.text()

    @property
    def lines(self) -> list[Line]:
        """The same as data."""
        return self.world.trace.lines

    def standing(self) -> tuple[list[str], list[str]]:
        """The steps that are recorded, in order; and those that were called and are not."""
        rows = [row for steps in self.ghost.steps.values() for row in steps.values() if row.seq is not None]
        recorded = [row.key for row in sorted(rows, key=lambda row: row.seq)]
        called = [each.step_key for effect in self.stand_ins.steps.values() for each in effect.calls]
        return recorded, [key for key in dict.fromkeys(called) if key is not None and key not in recorded]

    # --- running

    def run(self, work: Coroutine[Any, Any, T] | Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in this world: what an async test is run by, and what a sync test calls.

        Raises:
            StuckError: it waits for something that never happens.
        """
        return self.enactment.run(self._judged(work() if callable(work) else work))

    async def _judged(self, work: Coroutine[Any, Any, T]) -> T:
        done = await work
        if self.judged:
            await verify(self)
        return done

    def refuse(self, error: RealWorldError, step_key: str) -> None:
        """A step asked for the real world."""
        name = parse_key(step_key).name
        if self.enactment.refused is None:
            self.enactment.refused = RealWorldError(
                f"step {step_key!r} left the simulation: {error}. Stand in for the step, "
                f"sim.stub({name!r}, returns=…), or for what it calls, sim.effect(function, returns=…)"
            )

    def check_used(self) -> None:
        """What a test stands in for must have been called.

        Raises:
            UsageError: something was planned for a step that was never called.
        """
        unused = self.stand_ins.unused()
        if unused:
            called = ", ".join(map(repr, self.effects)) or "none"
            raise UsageError(
                f"nothing called {', '.join(unused)}, which the test stands in for; called were {called}"
            )

    async def passed_effect(self, name: str) -> None:
        """An outside function did its work, and its answer is on the way: a process may die here."""
        process = PROCESS.get(None)
        if process is not None:
            await process.gate("effect", name)

    # --- for what it is made of

    @property
    def enactment(self) -> Enactment:
        """What runs it, made when it is first asked for."""
        if self._enactment is None:
            self._enactment = self._enact(metadata=tuple(self._tables))
        return self._enactment

    @property
    def world(self) -> World:
        """The world."""
        return self.enactment.world

    @property
    def database(self) -> Database:
        """The world's."""
        return self.world.database

    @property
    def ghost(self) -> Ghost:
        """What was seen of the database."""
        return self.enactment.ghost

    @property
    def client_app(self) -> Any:
        """The app that the test is a client of."""
        process = self.enactment.test
        if process.app is None:
            process.app = self.fleet.app(process, None)
            process.app._port.ended = self.enactment.ended_through(process.app._port)  # noqa: SLF001  # a client that polls would make every hour of virtual time cost
        return process.app

    def surroundings(self, process: Process) -> Surroundings:
        """What an app of a process is given in place of a database."""
        around = process.surroundings
        return replace(around, seams=replace(around.seams, callee=self.stand_ins.callee))
