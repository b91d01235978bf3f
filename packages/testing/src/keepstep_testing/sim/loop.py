"""A process's event loop: first in, first out, to quiescence; its time is the process's own clock (A4).

Each simulated process has one. A crash is that its loop is never run again: no task goes on, no ``finally`` runs. The
world runs loops one at a time and moves time; nothing here chooses, waits or knows what a callback is for.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any

from keepstep_testing.sim.clock import ProcessClock

CALLS_MAX = 200_000
"""Calls until quiescence; a process that needs more goes round in circles."""


class EndlessProcessError(AssertionError):
    """A process never comes to rest: it goes round without waiting for anything."""


class Scheduled:
    """A callback that will run, unless it is cancelled; a timer's too."""

    __slots__ = ("_when", "args", "callback", "context", "is_cancelled")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None, when: float
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = copy_context() if context is None else context
        self.is_cancelled = False
        self._when = when

    def cancel(self) -> None:
        """Never run."""
        self.is_cancelled = True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.is_cancelled

    def when(self) -> float:
        """A timer's time, by the loop's clock."""
        return self._when


Offload = Callable[[Callable[[], Any]], "asyncio.Future[Any]"]
"""Makes a thread's work of a call: when it runs is the world's choice."""


class SimLoop(asyncio.AbstractEventLoop):
    """See the module's head.

    Args:
        clock: the process's.
        offload: runs what would run in a thread.
        on_error: called with what asyncio reports to a loop.

    Attributes:
        stopped: nothing runs any more, from this very callback on.
        ready: what can run now.
    """

    def __init__(self, clock: ProcessClock, offload: Offload, on_error: Callable[[str], None]) -> None:
        self._clock = clock
        self._offload = offload
        self._on_error = on_error
        self.ready: deque[Scheduled] = deque()
        self._timers: list[tuple[int, int, Scheduled]] = []
        self._made = 0
        self.stopped = False
        self._tasks: list[asyncio.Task[Any]] = []
        self._tidy_at = 256

    # --- for the world

    def run_ready(self) -> None:
        """Run until nothing is ready."""
        asyncio._set_running_loop(self)  # what every loop does
        ready, left = self.ready, CALLS_MAX
        try:
            while ready and not self.stopped:
                call = ready.popleft()
                if not call.is_cancelled:
                    call.context.run(call.callback, *call.args)
                left -= 1
                if left < 0:
                    raise EndlessProcessError(f"{CALLS_MAX:,} calls without a wait, the last one: {call!r}")
        finally:
            asyncio._set_running_loop(None)  # likewise

    def next_due_us(self) -> int | None:
        """The world's time at which the next timer is due."""
        timers = self._timers
        while timers and timers[0][2].is_cancelled:
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def fire_due(self, us: int) -> None:
        """Make ready what is due."""
        timers = self._timers
        while timers and timers[0][0] <= us:
            self.ready.append(heapq.heappop(timers)[2])

    def bury(self) -> None:
        """The world has ended: end the tasks. What their ``finally`` does now changes nothing and is heard by nobody."""
        self.stopped = True
        while self._tasks:
            task = self._tasks.pop()
            if task.done():
                continue
            task._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue]
            coroutine = task.get_coro()
            for _ in range(8):  # one that waits within its finally is closed again
                with suppress(BaseException):
                    coroutine.close()
                    break
        self.ready.clear()
        self._timers.clear()

    # --- asyncio's interface

    def call_soon(  # pyright: ignore[reportIncompatibleMethodOverride]  # asyncio's own stubs want its own handles
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Scheduled:
        """Run it after what is ready already."""
        call = Scheduled(callback, args, context, 0.0)
        self.ready.append(call)
        return call

    def call_soon_threadsafe(  # pyright: ignore[reportIncompatibleMethodOverride]  # asyncio's own stubs want its own handles
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Scheduled:
        """The same: there are no threads."""
        return self.call_soon(callback, *args, context=context)

    def call_later(  # pyright: ignore[reportIncompatibleMethodOverride]  # asyncio's own stubs want its own handles
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Scheduled:
        """Run it after so many seconds of the process's clock."""
        return self.call_at(self._clock.monotonic() + delay, callback, *args, context=context)

    def call_at(  # pyright: ignore[reportIncompatibleMethodOverride]  # asyncio's own stubs want its own handles
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Scheduled:
        """Run it when the process's clock shows ``when``."""
        call = Scheduled(callback, args, context, when)
        self._made += 1
        heapq.heappush(self._timers, (self._clock.due_us(when), self._made, call))
        return call

    def time(self) -> float:
        """The process's monotonic clock."""
        return self._clock.monotonic()

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # pyright: ignore[reportIncompatibleMethodOverride]  # asyncio's own stubs want its own handles
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
        **_: Any,
    ) -> asyncio.Task[Any]:
        """A task, kept until it is done."""
        self._made += 1
        task = asyncio.Task(coro, loop=self, name=name or f"task-{self._made}", context=context)
        self._tasks.append(task)  # kept: garbage collection would run its ``finally``
        if len(self._tasks) > self._tidy_at:
            self._tasks = [each for each in self._tasks if not each.done()]
            self._tidy_at = 2 * len(self._tasks) + 256
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Have it called as a thread would call it: later, at once, in one go."""
        return self._offload(lambda: func(*args))

    def is_running(self) -> bool:
        """Whether it runs now."""
        return asyncio._get_running_loop() is self  # likewise

    def is_closed(self) -> bool:
        """Never: a dead process's loop is left as it is."""
        return False

    def get_debug(self) -> bool:
        """Never: debug mode measures real time."""
        return False

    def get_task_factory(self) -> None:
        """There is none."""
        return

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tell the world what nobody else hears."""
        self._on_error(f"{context.get('message')}: {context.get('exception')!r}")
