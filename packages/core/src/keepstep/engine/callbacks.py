"""The callbacks that execute now: each a task on the host's loop, in the context in which the runner was started (A4).

Whose commit or request happens to set a step going is chance: a step sees the context variables that were set when
its runner started, and never those of another run or request. Nothing here knows what a callback is for.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine, Iterable
from typing import Any

from keepstep.engine.attempt import Attempt


class Callbacks:
    """The tasks of one runner's attempts."""

    def __init__(self) -> None:
        self._context = contextvars.Context()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = (
            set()
        )  # the loop alone would not keep a task from being collected

    def open(self) -> None:
        """Start callbacks on the running loop, in copies of the caller's context, from now on."""
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()

    def start(self, attempt: Attempt, call: Coroutine[Any, Any, None]) -> None:
        """Start an attempt's callback; ``call`` says :meth:`ended` last."""
        assert self._loop is not None, "the runner has started"
        task = self._loop.create_task(call, context=self._context.copy())
        attempt.handle = task
        if not task.done():  # it is where tasks start eagerly
            self._tasks.add(task)

    def ended(self, attempt: Attempt) -> None:
        """The callback has nothing left to do."""
        if attempt.handle is not None:
            self._tasks.discard(attempt.handle)

    def cancel(self, attempts: Iterable[Attempt]) -> None:
        """Have callbacks end; their cleanup may take a while, and nobody waits for it."""
        for attempt in attempts:
            if attempt.handle is not None:
                attempt.handle.add_done_callback(self._tasks.discard)  # it may not even have begun
                attempt.handle.cancel()

    async def one_ended(self, seconds: float, others: Iterable[asyncio.Task[None]] = ()) -> None:
        """Wait until a callback ends, or one of the ``others``, at most ``seconds``."""
        awaited = {*self._tasks, *others}
        if awaited:
            await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(seconds)

    async def all_ended(self, seconds: float) -> set[asyncio.Task[None]]:
        """Wait until all callbacks have ended, at most ``seconds``; those that have not."""
        return (await asyncio.wait(self._tasks, timeout=seconds))[1] if self._tasks else set()
