"""A simulated process: an app with a store, a clock, randomness and an identity of its own, on a loop of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

from keepstep.engine.seams import Seams
from keepstep.engine.surroundings import Surroundings
from keepstep_testing.sim.clock import ProcessClock
from keepstep_testing.sim.gates import Gate
from keepstep_testing.sim.loop import SimLoop
from keepstep_testing.sim.sessions import SimSessions
from keepstep_testing.sim.store import ProcessStore

if TYPE_CHECKING:
    from keepstep_testing.sim.world import World

PROCESS: ContextVar[Process] = ContextVar("keepstep_sim_process")
"""The process whose code runs."""


class Process:
    """See the module's head.

    Args:
        world: where it lives.
        name: of the actor; a process that is started again has the same.
        host: of the machine: processes of one host see one another's pids.
        pid: its own.
        skew_ms: by how much its wall clock is wrong.
        drift_ppm: how much too fast its clock runs.

    Attributes:
        app: what it runs, once it is made.
        alive: False after a crash or its end.
        stalled_until_us: it stands still until then.
        on_hint: called when another process may have made work.
        planned: boundaries that the next transaction carries.
        code: which version of the code it runs.
        concurrency: runs that its runner holds at most.
        draining: it was asked to stop.
        dispatch_paused_until_us: its dispatcher stands still until then; what wakes it meanwhile is one wake.
        on_end: called when it is gone.
    """

    def __init__(
        self, world: World, name: str, *, host: str, pid: int, skew_ms: int = 0, drift_ppm: int = 0
    ) -> None:
        self.world = world
        self.name = name
        self.host = host
        self.pid = pid
        self.clock = ProcessClock(world.clock, skew_ms, drift_ppm)
        self.loop = SimLoop(self.clock, self._offload, lambda text: world.note(self, text))
        self.random = random.Random(f"{world.seed}/{name}/{len(world.processes)}")
        self.alive = True
        self.stalled_until_us = 0
        self.on_hint: Callable[[], None] | None = None
        self.planned: Any = ()
        self._user_boundary: Any = ()
        self.store: ProcessStore = world.database.store(self)
        self.app: Any = None
        self.code = "current"
        self.concurrency: int | None = None
        self.draining = False
        self.dispatch_paused_until_us = 0
        self.on_end: list[Callable[[], Any]] = []

    @property
    def surroundings(self) -> Surroundings:
        """What its app is given in place of a database."""
        seams = Seams(self.clock, self.random, self.host, self.pid, self.world.pid_alive)
        return Surroundings(self.store, SimSessions(self, self.world.user_engine), seams)

    @property
    def runs(self) -> bool:
        """Whether anything of it can run now."""
        return self.alive and self.stalled_until_us <= self.world.clock.us

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Begin a task of this process."""
        context = copy_context()
        context.run(PROCESS.set, self)
        return self.loop.create_task(work, name=name, context=context)

    async def gate(self, label: str, facts: str = "", after_us: int = 0) -> None:
        """Wait until the world lets this process go on."""
        world = self.world
        if world.passes(self, label):
            return
        future = self.loop.create_future()
        world.park(Gate(world.key(self.name, label), self, future, 0, after_us, facts))
        await future

    async def take(self, seconds: float) -> None:
        """Let virtual time pass, by this process's clock."""
        await asyncio.sleep(seconds)

    def crash(self, *, pid_dies: bool = True) -> None:
        """Nothing of it runs any more: no task, no ``finally``."""
        self.leave(pid_dies=pid_dies)

    def leave(self, *, pid_dies: bool = True) -> None:
        """It has ended, or crashed; what it had not committed is rolled back."""
        self.alive = False
        self.store.cut()
        self.loop.stopped = True
        self.on_hint = None
        self.world.crashed(self, pid_dies=pid_dies)
        for call in self.on_end:
            call()

    def carry(self, boundaries: Any) -> None:
        """The next transaction carries these."""
        self.planned = boundaries

    def carry_user(self, boundary: Any) -> None:
        """The user's transaction under way carries this one."""
        self._user_boundary = (boundary,)

    def take_user_boundary(self) -> Any:
        """What the user's transaction carried."""
        carried, self._user_boundary = self._user_boundary, ()
        return carried

    def _offload(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """A thread's work: it happens at one gate, and is heard of at the next."""
        done: asyncio.Future[Any] = self.loop.create_future()

        async def thread() -> None:
            await self.gate("thread:begin")
            try:
                result, error = _outside_a_loop(call), None
            except BaseException as raised:  # noqa: BLE001  # it is the caller's
                result, error = None, raised
            await self.gate("thread:end")
            if done.done():
                return
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)

        self.loop.create_task(thread(), name="thread")
        return done


def _outside_a_loop(call: Callable[[], Any]) -> Any:
    """Call as in a thread: no loop runs there."""
    running = asyncio._get_running_loop()  # likewise
    asyncio._set_running_loop(None)
    try:
        return call()
    finally:
        asyncio._set_running_loop(running)
