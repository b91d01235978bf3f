"""One deterministic world around a user's workflows: the real engine on a database in memory, and time that is virtual.

    test ─▶ sim.start(workflow) ─▶ a client's transaction ─▶ a runner's process wakes ─▶ steps, or what stands in for them
                                    time passes only when nobody has anything to do at this moment

Nothing of it is a double but the outside: the app, its runner, its store's statements and SQLite are the real ones.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

from sqlalchemy import MetaData

from keepstep import Instance
from keepstep.authoring.definition import WorkflowDefinition, definition_of
from keepstep.client.bound import Workflow
from keepstep.engine.surroundings import Surroundings
from keepstep.errors import UsageError
from keepstep.model.duration import duration_ms, to_datetime
from keepstep_testing.databases import database_for
from keepstep_testing.effects import Effect
from keepstep_testing.fleet import Fleet
from keepstep_testing.patches import Patches
from keepstep_testing.referee import Referee
from keepstep_testing.sim.chooser import Recording, Straight
from keepstep_testing.sim.database import Database
from keepstep_testing.sim.guard import RealWorldError
from keepstep_testing.sim.oracle.ghost import Ghost
from keepstep_testing.sim.process import PROCESS, Process
from keepstep_testing.sim.trace import Trace
from keepstep_testing.sim.world import Calm, Chooser, Disaster, World
from keepstep_testing.standins import StandIns, Target, answering, hang, raising
from keepstep_testing.virtual import virtual_world

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")

PICKS_MAX = 200_000
_NOTHING: Any = object()


class StuckError(AssertionError):
    """A test waits for something that never happens."""


@dataclass(slots=True)
class _Wait:
    over: Callable[[], bool]
    future: asyncio.Future[None]


class Simulation:
    """See the module's head. What tests get as ``sim``.

    Args:
        seed: of everything that is drawn: ids, jitter, the module ``random``.
        chooser: picks what happens next; None = first come, first served.
        disaster: what strikes; None = nothing.
        cache: suspended bodies that a runner keeps in memory; 0 = every wake replays (A6).
        skew_ms: by how much the runners' own clocks are wrong.
        traced: keep the lines of the trace.
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
        self._seed = seed
        self._chooser = chooser or Recording(Straight())
        self._disaster = disaster or Calm()
        self._trace = Trace(wanted=traced)
        self._definitions: dict[str, WorkflowDefinition[Any, Any]] = {}
        self._tables: list[MetaData] = []
        self._world: World | None = None
        self._waits: list[_Wait] = []
        self._clients: list[asyncio.Task[Any]] = []
        self._refused: BaseException | None = None
        self._test: Process | None = None
        self.fleet = Fleet(self, cache, skew_ms)
        self.patches = Patches()
        self.stand_ins = StandIns(self)
        self.reached: Counter[str] = Counter()
        self.instances: list[tuple[WorkflowDefinition[Any, Any], str]] = []

    # --- before it begins

    def register(self, *workflows: Workflow[Any, Any]) -> None:
        """Make workflows known that others start; those that the test starts are known by themselves."""
        before = len(self._definitions)
        for each in workflows:
            definition = definition_of(each)
            self._definitions[definition.name] = definition
        if self._world is not None and len(self._definitions) != before:
            self.fleet.replace()
            if self._test is not None:
                self._test.app = self.fleet.app(self._test, None)

    def tables(self, *metadata: MetaData) -> None:
        """Have tables of the user's own in the database, for ``step.transaction`` (C8); before the first start."""
        if self._world is not None:
            raise UsageError(
                "sim.tables(…) comes before the first sim.start(…): the database is made by then"
            )
        self._tables += metadata

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

    def client(self, act: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Have a client do something beside the test: ``sim.client(order.send_event, Approval(approved=True))``.

        In ``@sim_test`` its order is explored. What it raises is raised by the task, for who awaits it.
        """
        process = self._process()

        async def acting() -> Any:
            await process.gate("client", getattr(act, "__name__", "client"))
            return await act(*args, **kwargs)

        task = process.spawn(acting(), "client")
        self._clients.append(task)
        return task

    async def advance(self, duration: str | timedelta) -> None:
        """Let time pass, with everything that falls due meanwhile, and let what is then under way come to rest.

        Args:
            duration: like ``"2 days"``.
        """
        future = self._process().loop.create_future()
        self.world.later(duration_ms(duration) * 1000, lambda: future.set_result(None))
        await future
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until nothing executes and nothing is due; time passes only if a step takes its time."""
        await self._until(self._is_quiet)

    async def settle(self) -> None:
        """Let time pass until every instance has ended or waits for nothing but an event, and every client is done."""
        await self._until(self._is_settled)

    def crash(self) -> None:
        """Every runner's process dies at once, with nothing saved but what is committed; they are started again."""
        for process in self.fleet.servers:
            self.fleet.crash(process)

    def drain(self) -> None:
        """Every runner's process is stopped in an orderly way and started again, as at a deployment."""
        for process in self.fleet.servers:
            self.fleet.drain(process)

    # --- the outside, and what stands in for steps

    @overload
    def effect(self, which: str, /) -> Effect: ...
    @overload
    def effect(
        self, which: Callable[..., Any], /, *, returns: Any = ..., does: Callable[..., Any] | None = ...
    ) -> Effect: ...
    def effect(
        self,
        which: str | Callable[..., Any],
        /,
        *,
        returns: Any = _NOTHING,
        does: Callable[..., Any] | None = None,
    ) -> Effect:
        """Record the calls of an outside function: charges, mails, requests; or look at a record by its name.

        Whoever finds the function in its module or class finds a stand-in until the simulation ends. Without
        ``returns`` and ``does`` the function itself is called.

        Args:
            which: a function of a module, or a method, like ``Payments.charge``; or the name of a declared function or of
                a step, of which every call is recorded in any case.
            returns: what it answers.
            does: called with the same arguments in its place, and its answer given.
        """
        if returns is not _NOTHING and does is not None:
            raise UsageError("sim.effect takes returns= or does=, not both")
        if isinstance(which, str):
            return self.effects.get(which) or Effect(which)
        return self.stand_ins.outside(which, answering(returns) if returns is not _NOTHING else does)

    @property
    def effects(self) -> dict[str, Effect]:
        """Declared effects by the function's name, and what steps were called, by the step's name."""
        return {**self.stand_ins.steps, **self.stand_ins.effects}

    def stub(self, step: Target, *, returns: Any) -> None:
        """Have a step return a value without calling its function.

        Args:
            step: its name, its key or its function.
            returns: a value of the type that the function is annotated with.
        """
        self.stand_ins.plan(step, answering(returns))

    def fail(self, step: Target, error: BaseException | type[BaseException]) -> None:
        """Have every attempt of a step, or every call of an effect, raise."""
        self.stand_ins.plan(step, raising(error))

    def fail_times(self, step: Target, times: int, error: BaseException | type[BaseException]) -> None:
        """Have the next ``times`` attempts of a step, or calls of an effect, raise."""
        self.stand_ins.plan(step, raising(error), times)

    def timeout(self, step: Target, times: int = 1) -> None:
        """Have the next attempts of a step hang until their timeout ends them (C6)."""
        self.stand_ins.plan(step, hang, times)

    # --- looking

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return to_datetime(self.world.clock.now_ms())

    @property
    def at_s(self) -> float:
        """Seconds since the simulation began."""
        return 0.0 if self._world is None else self._world.clock.us / 1e6

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds that is committed."""
        return self.database.rows(sql)

    def sometimes(self, name: str, condition: object) -> None:
        """Say that a state should be reached by some run of ``@sim_test``, not by each; the report says which were not."""
        self.reached[name] += bool(condition)

    @property
    def trace(self) -> str:
        """What happened so far, line by line, if it is ``traced``."""
        return self._trace.text()

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
        coroutine = work() if callable(work) else work
        with self._simulating():
            task = self._process().spawn(coroutine, "test")
            try:
                while not task.done():
                    if not self.world.run(lambda: self._look(task), PICKS_MAX):
                        raise StuckError(self._stuck())
                    if self.broken is not None:
                        raise self.broken
            finally:
                self._bury()
            return task.result()

    def close(self) -> None:
        """The test is over: nothing stands in for anything any more.

        Raises:
            UsageError: something was planned for a step that was never called.
        """
        self.patches.undo()
        self._bury()
        unused = self.stand_ins.unused()
        if unused:
            called = ", ".join(map(repr, self.effects)) or "none"
            raise UsageError(
                f"nothing called {', '.join(unused)}, which the test stands in for; called were {called}"
            )

    @property
    def broken(self) -> BaseException | None:
        """What ends the simulation at once: a rule of the engine that did not hold, or a step that left the simulation."""
        return self._refused or self.referee.violation

    def refuse(self, error: RealWorldError, step_key: str) -> None:
        """A step asked for the real world."""
        if self._refused is None:
            self._refused = RealWorldError(
                f"step {step_key!r} left the simulation: {error}. Stand in for the step, "
                f"sim.stub({_kindless(step_key)!r}, returns=…), or for what it calls, sim.effect(function, returns=…)"
            )

    async def passed_effect(self, name: str) -> None:
        """An outside function did its work, and its answer is on the way: a process may die here."""
        process = PROCESS.get(None)
        if process is not None:
            await process.gate("effect", name)

    # --- for what it is made of

    @property
    def workflows(self) -> dict[str, WorkflowDefinition[Any, Any]]:
        """The known workflows, by keys."""
        return {f"w{n}": each for n, each in enumerate(self._definitions.values())}

    @property
    def world(self) -> World:
        """The world, made when it is first asked for."""
        if self._world is None:
            self._make()
        assert self._world is not None
        return self._world

    @property
    def database(self) -> Database:
        """The world's."""
        return self.world.database

    @property
    def referee(self) -> Referee:
        """Who watches it."""
        assert self.world is not None
        return self._referee

    @property
    def ghost(self) -> Ghost:
        """What was seen of the database."""
        return self.referee.ghost

    @property
    def client_app(self) -> Any:
        """The app that the test is a client of."""
        process = self._process()
        if process.app is None:
            process.app = self.fleet.app(process, None)
        return process.app

    def surroundings(self, process: Process) -> Surroundings:
        """What an app of a process is given in place of a database."""
        around = process.surroundings
        return replace(around, seams=replace(around.seams, callee=self.stand_ins.callee))

    def _make(self) -> None:
        database = database_for(tuple(self._tables))
        database.reset()
        self._world = World(
            self._seed, database, chooser=self._chooser, disaster=self._disaster, trace=self._trace
        )
        self._referee = Referee(self._world)

    def _process(self) -> Process:
        if self._test is None:
            self._test = self.world.process("test", "host-9")
        return self._test

    @contextmanager
    def _simulating(self) -> Generator[None, None, None]:
        world = self.world
        log = logging.getLogger("keepstep")
        level = log.level
        drawn = random.getstate()
        self.referee.install()
        gc.disable()
        log.setLevel(logging.CRITICAL + 1)
        random.seed(self._seed)
        try:
            with virtual_world(world.clock):
                yield
        finally:
            random.setstate(drawn)
            log.setLevel(level)
            gc.enable()
            self.referee.uninstall()
            self.patches.undo()

    def _bury(self) -> None:
        """Nothing of this world goes on."""
        for process in [] if self._world is None else self._world.processes:
            if process.alive:
                process.leave()

    def _look(self, task: asyncio.Task[Any]) -> bool:
        if task.done() or self.broken is not None:
            return True
        for wait in self._waits:
            if wait.over():
                self._waits.remove(wait)
                wait.future.set_result(None)
                return True
        return False

    async def _until(self, over: Callable[[], bool]) -> None:
        future: asyncio.Future[None] = self._process().loop.create_future()
        self._waits.append(_Wait(over, future))
        await future

    def _is_quiet(self) -> bool:
        ghost, now = self.ghost, self.world.clock.now_ms()
        if any(not each.done() for each in self._clients):
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

    def _is_settled(self) -> bool:
        ghost = self.ghost
        due = any(each.run_at is not None for each in ghost.tasks.values())
        return (
            not due
            and self._is_quiet()
            and not any(each.status in {"pending", "delivering"} for each in ghost.hooks.values())
        )

    def _stuck(self) -> str:
        lines = ["the test waits for something that never happens"]
        for run in self.ghost.live():
            waits = [
                row
                for row in self.ghost.steps[run.id].values()
                if row.seq is None and row.status == "waiting"
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


def _kindless(key: str) -> str:
    return key.rpartition(">")[2].partition(":")[2].partition("#")[0]
