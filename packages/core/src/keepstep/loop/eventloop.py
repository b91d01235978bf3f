"""The workflow loop: a small deterministic event loop, asyncio-compatible, on which a body runs (A1). No I/O.

The loop knows three things: a queue of ready calls, first in first out; a time that only the journal sets (A3); and
timers, which it hands to the journal to become durable. ``run_ready`` runs until nothing is ready: quiescence (A2).

It never runs by itself. The host's loop is running when a runner advances a body, so ``activate`` makes this loop the
thread's running one for a moment and puts everything back: the running loop, the current task where Python keeps
one per thread (3.14), and the hooks for async generators.

What the body may not ask of its loop is refused in ``outside.py``.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from threading import get_ident
from typing import Any, Protocol

from keepstep.errors import NondeterminismError
from keepstep.loop.closing import close_task
from keepstep.loop.complaints import ComplainingLoop
from keepstep.loop.handles import LoopFuture, LoopTask, LoopTimer, Ready
from keepstep.loop.host import (
    TASK_PER_THREAD,
    given_to_as_completed,
    leave_task,
    resume_task,
    running_loop,
    set_running_loop,
)
from keepstep.loop.outside import refused

CALLBACKS_MAX = 100_000
"""Calls of one activation; a body that needs more is taken to be endless."""
_FAR_MS = 100_000 * 365 * 86_400_000
"""A timer beyond this never fires, like one at infinity."""


class Timers(Protocol):
    """The journal's side of the loop's timers."""

    def timer_set(self, timer: LoopTimer) -> None:
        """Open a durable timer."""
        ...

    def timer_cancelled(self, timer: LoopTimer) -> None:
        """Give it up."""
        ...


class WorkflowLoop(ComplainingLoop):
    """A body's event loop.

    Args:
        timers: receives timers; None = timers are refused.
        salt: makes the hashes of this loop's tasks differ from other bodies' without differing between replays.

    Attributes:
        now_ms: loop time; only the journal sets it.
        main: the task that runs the body, once it is started.
    """

    __slots__ = ("_made", "_ready", "_salt", "_tasks", "main", "now_ms", "timers")

    def __init__(self, timers: Timers | None = None, *, salt: int = 0) -> None:
        super().__init__()
        self.timers = timers
        self.now_ms = 0
        self.main: asyncio.Task[Any] | None = None
        self._salt = salt << 20
        self._made = 0
        # Both are made when they are needed: most bodies rest, and have no other task.
        self._ready: list[Ready] | None = None
        self._tasks: dict[asyncio.Task[Any], None] | None = None

    # Activation

    def activate(self, work: Callable[..., None], *args: Any) -> None:
        """Call ``work`` with this loop as the thread's running loop, then restore the host's state."""
        host = running_loop()
        host_task = leave_task(host) if TASK_PER_THREAD and host is not None else None
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, self._generator_dropped)
        set_running_loop(self)
        self.entered_by, self._ready = get_ident(), []
        try:
            work(*args)
        finally:
            self.entered_by, self._ready = 0, None
            set_running_loop(host)
            sys.set_asyncgen_hooks(*hooks)
            if host is not None and host_task is not None:
                resume_task(host, host_task)

    def run_ready(self) -> None:
        """Run until nothing is ready (A2). Call it within :meth:`activate`.

        Raises:
            NondeterminismError: the body went on for too long without waiting for anything durable.
        """
        ready = self._ready
        call = None
        while ready:
            for count, call in enumerate(ready):  # calls that become ready meanwhile join the end
                if call.live:
                    try:
                        call.context.run(call.callback, *call.args)
                    except KeyboardInterrupt:
                        raise
                    except BaseException as error:  # noqa: BLE001 - user code may raise anything
                        self.call_failed(call, error)
                if count >= CALLBACKS_MAX:
                    raise NondeterminismError(
                        f"the workflow body made {CALLBACKS_MAX:,} steps of its event loop without waiting for anything "
                        "durable; a loop like `while True: await asyncio.sleep(0)` must wait for a step, a sleep or an event"
                    )
            ready.clear()
        # A traceback of the body may keep this frame for as long as the body's exception lives: it must not hold the task.
        del call

    # Scheduling

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Ready:
        """Run ``callback`` after what is ready already."""
        call = Ready(callback, args, copy_context() if context is None else context)
        if self._ready is not None:
            self._ready.append(call)
        elif not self._closed:
            raise NondeterminismError(
                "an asyncio object of a workflow body was used from outside the body, in a step's callback for instance: "
                "a replay could not repeat that. Return a result from the step, or send the instance an event"
            )
        return call

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Ready:
        """``call_soon`` from the body itself; from another thread it is refused."""
        if self.entered_by != get_ident():
            self.complain("another thread tried to call back into the workflow body", None)
            raise refused("call_soon_threadsafe", "was called back from another thread")
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> LoopTimer:
        """Run ``callback`` after ``delay`` seconds of loop time: a durable timer (A1)."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> LoopTimer:
        """Run ``callback`` when loop time reaches ``when`` seconds: a durable timer, or at once if that is not later."""
        if math.isnan(when):
            raise ValueError("a timer's time is not a number")
        # Float seconds of today are exact to a quarter of a microsecond; a deadline is never early (D3).
        due_at = math.ceil(round(when * 1000, 3)) if when * 1000 < _FAR_MS else _FAR_MS
        call = Ready(callback, args, copy_context() if context is None else context)
        timer = LoopTimer(self, when, due_at, call)
        if due_at <= self.now_ms:
            self.fire(timer)
        elif due_at < _FAR_MS and not self._closed:
            if self.timers is None or not self.entered_by:
                raise refused("call_at", "sets a timer from outside")
            self.timers.timer_set(timer)
        return timer

    def fire(self, timer: LoopTimer) -> None:
        """Run a timer's callback after what is ready already."""
        if self._ready is not None:
            self._ready.append(timer.call)

    def timer_cancelled(self, timer: LoopTimer) -> None:
        """A timer was cancelled by the body."""
        if self.timers is not None:
            self.timers.timer_cancelled(timer)

    def time(self) -> float:
        """Loop time in seconds since the epoch (A3)."""
        return self.now_ms / 1000

    # Futures and tasks

    def create_future(self) -> LoopFuture:
        """A future for the body's own use."""
        future = LoopFuture.__new__(LoopFuture)
        future.order = self._next_order()  # first: asyncio may hash what it initialises
        future.__init__(loop=self)
        return future

    def create_task(
        self,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
        **options: Any,
    ) -> LoopTask:
        """A task of the body, kept until it is done: no garbage collection may end it."""
        if not self.entered_by:
            coro.close()
            raise refused("create_task", "starts a task from outside")
        unordered = given_to_as_completed()
        if unordered is not None:
            raise _refuse_unordered([coro, *unordered])
        task = self._new_task(coro, name, context, options)
        if self._closed:
            coro.close()
        if not task.done():
            tasks = self._tasks = self._tasks or {}
            tasks[task] = None
            task.add_done_callback(tasks.pop)
        return task

    def create_main_task(self, coro: Coroutine[Any, Any, Any], name: str, context: Context) -> None:
        """The task that runs the body, kept as ``main``."""
        self.main = self._new_task(coro, name, context, {})

    def _new_task(
        self, coro: Any, name: str | None, context: Context | None, options: dict[str, Any]
    ) -> LoopTask:
        task = LoopTask.__new__(LoopTask)
        task.order = order = self._next_order()
        task.__init__(coro, loop=self, name=name or f"task-{order - self._salt}", context=context, **options)
        return task

    def _next_order(self) -> int:
        self._made = made = self._made + 1
        return self._salt + made

    def set_task_factory(self, factory: Any) -> None:
        """Refused: tasks of the body are the loop's own."""
        if factory is not None:
            raise refused("set_task_factory", "replaces the task factory")

    def get_task_factory(self) -> None:
        """There is none."""
        return

    def coroutines(self) -> list[Any]:
        """Those of the tasks that are not done, the body's own first."""
        main = () if self.main is None or self.main.done() else (self.main,)
        return [task.get_coro() for task in (*main, *(self._tasks or ())) if not task.done()]

    # State

    def is_running(self) -> bool:
        """Whether a body is being advanced on it."""
        return self.entered_by != 0

    def is_closed(self) -> bool:
        """Whether the body was dropped."""
        return self._closed

    def get_debug(self) -> bool:
        """Never: asyncio's debug mode measures wall-clock time."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """Ignored, see :meth:`get_debug`."""

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do: a generator that the body drops is closed on the loop, see ``_generator_dropped``."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing to do: there is no executor."""

    def _generator_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Close a generator that the body dropped half-way; one of a dropped body goes as it is (A5)."""
        if self.entered_by and not self._closed:
            self.create_task(generator.aclose())

    # The end

    def close(self) -> None:
        """Drop the body: its coroutines are closed, no await of theirs runs, nothing is scheduled any more (A5).

        Python closes a coroutine by raising ``GeneratorExit`` at its await: ``finally`` and ``except BaseException``
        run up to their first await and not beyond. There is no way not to run them at all.
        """
        if not self._closed:
            self._closed = True
            if self._tasks or (self.main is not None and not self.main.done()):
                self.activate(self._close_tasks)
            self.timers = self.main = self._handler = None

    def _close_tasks(self) -> None:
        if self.main is not None:
            close_task(self.main)
        while self._tasks:  # cleanup code may start tasks
            task, _ = self._tasks.popitem()
            close_task(task)
            self._tasks.pop(task, None)


def _refuse_unordered(given: list[Any]) -> NondeterminismError:
    for each in given:
        if isinstance(each, Coroutine):
            each.close()
    return NondeterminismError(
        "asyncio.as_completed starts coroutines in an order that changes from replay to replay. Start them yourself: "
        "`asyncio.as_completed([asyncio.create_task(c) for c in …])`"
    )
