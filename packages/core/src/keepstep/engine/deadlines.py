"""Deadlines of attempts (C6): one timer of the host's loop for all attempts that have the same limit.

Most attempts end long before their limit, and a timer for each would cost more than many an attempt itself. Attempts
with one limit reach it in the order in which they began, so a queue with a timer for its head is enough. That timer is
left to ring when the head has gone: it looks at the queue, and is set anew or not.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any


class Deadline:
    """A ``with`` block that ends in ``TimeoutError`` when a task is in it for longer than its limit.

    It works as ``asyncio.timeout`` does: the task is cancelled, and a cancellation by others passes through.

    Args:
        deadlines: those of the engine.
        task: the one that enters the block; nobody has cancelled it yet.
        limit: in seconds; None = any time.

    Attributes:
        at: when the limit is reached, in the time of the task's loop.
        expired: whether it was.
    """

    __slots__ = ("_deadlines", "_limit", "_queue", "at", "expired", "task")

    def __init__(self, deadlines: Deadlines, task: asyncio.Task[Any], limit: float | None) -> None:
        self._deadlines = deadlines
        self.task = task
        self._limit = limit
        self.expired = False

    def __enter__(self) -> None:
        if self._limit is not None:
            loop = self.task.get_loop()
            self.at = loop.time() + self._limit
            self._queue = self._deadlines.queue(loop, self._limit, self.at)
            self._queue[self] = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.expired:
            if self.task.uncancel() == 0 and kind is asyncio.CancelledError:
                raise TimeoutError from error
        elif self._limit is not None:
            del self._queue[self]

    def expire(self) -> None:
        """Cancel the task."""
        self.expired = True
        self.task.cancel()


class Deadlines:
    """The deadlines of one engine's attempts, by their limit."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queues: dict[float, dict[Deadline, None]] = {}

    def queue(self, loop: asyncio.AbstractEventLoop, limit: float, at: float) -> dict[Deadline, None]:
        """The queue of the deadlines with this limit, to which one is added that ends ``at``."""
        if loop is not self._loop:  # timers of another loop ring no more
            self._loop, self._queues = loop, {}
        queue = self._queues.get(limit)
        if queue is None:
            queue = self._queues[limit] = {}
            loop.call_at(at, self._ring, loop, limit)
        return queue

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
