"""Deadlines of attempts (C6): one timer of the host's loop for all attempts that have the same limit.

Most attempts end long before their limit, and a timer for each would cost more than many an attempt itself. Attempts
with one limit reach it in the order in which they began, so a queue with a timer for its head is enough. That timer is
left to ring when the head has gone: it looks at the queue, and is set anew or not.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadline:
    """A ``with`` block that ends in ``TimeoutError`` when the current task is in it for longer than its limit.

    It works as ``asyncio.timeout`` does: the task is cancelled, and a cancellation by others passes through.

    Attributes:
        expired: whether the limit was reached.
    """

    __slots__ = ("_asked", "_deadlines", "_limit", "_queue", "_task", "at", "expired")

    def __init__(self, deadlines: Deadlines, limit: float | None) -> None:
        self._deadlines = deadlines
        self._limit = limit
        self.expired = False

    def __enter__(self) -> None:
        if self._limit is not None:
            task = asyncio.current_task()
            assert task is not None, "an attempt runs in a task"
            self._task = task
            self._asked = task.cancelling()
            self.at, self._queue = self._deadlines.place(self._limit)
            self._queue[self] = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.expired:
            if self._task.uncancel() <= self._asked and kind is asyncio.CancelledError:
                raise TimeoutError from error
        elif self._limit is not None:
            del self._queue[self]

    def expire(self) -> None:
        """Cancel the task."""
        self.expired = True
        self._task.cancel()


class Deadlines:
    """The deadlines of one engine's attempts, by their limit."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queues: dict[float, dict[Deadline, None]] = {}

    def within(self, limit: float | None) -> Deadline:
        """A block that may take ``limit`` seconds; None = any time."""
        return Deadline(self, limit)

    def place(self, limit: float) -> tuple[float, dict[Deadline, None]]:
        """When a limit that begins now ends, in the loop's time, and the queue of those like it."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # timers of another loop ring no more
            self._loop, self._queues = loop, {}
        at = loop.time() + limit
        queue = self._queues.get(limit)
        if queue is None:
            queue = self._queues[limit] = {}
            loop.call_at(at, self._ring, loop, limit)
        return at, queue

    def _ring(self, loop: asyncio.AbstractEventLoop, limit: float) -> None:
        if loop is not self._loop:
            return
        queue, now = self._queues[limit], loop.time()
        while queue:
            first = next(iter(queue))
            if first.at > now:
                loop.call_at(first.at, self._ring, loop, limit)
                return
            del queue[first]
            first.expire()
        del self._queues[limit]
