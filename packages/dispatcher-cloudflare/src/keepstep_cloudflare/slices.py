"""Bounded slices of due work: what one tick does. One slice in flight, one queued; further ticks share the queued one.

Steps may outlive the answer to their tick, so a slice is a task of its own: a caller that gives up, or is cut off,
ends nothing. No HTTP may live here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Protocol

from keepstep.model.duration import instant_ms
from keepstep.model.outcome import TickResult

log = logging.getLogger("keepstep.dispatcher")

BATCH_MAX = 25
"""Instances of one ``App.tick``, while they are quick: between two of them a slice looks at its time."""


class Ticked(Protocol):
    """What a slice needs of an app."""

    @property
    def workflow_names(self) -> tuple[str, ...]:
        """The names of its workflows."""
        ...

    async def tick(
        self, max_instances: int | None = None, *, workflows: Collection[str] | None = None
    ) -> TickResult:
        """Advance what is due."""
        ...


class Slices:
    """The slices of one shard, in this process.

    Args:
        app: what is advanced.
        workflows: the ones to look at.
        max_instances: instances that one slice advances, at most.
        max_s: seconds after which a slice begins no further batch.
    """

    def __init__(self, app: Ticked, workflows: Collection[str], *, max_instances: int, max_s: float) -> None:
        self._app = app
        self._workflows = workflows
        self._max_instances = max_instances
        self._max_s = max_s
        self._current: asyncio.Task[TickResult] | None = None
        self._queued: asyncio.Task[TickResult] | None = None
        self._draining = False

    def open(self) -> None:
        """Take slices of full length again, after a drain."""
        self._draining = False

    async def take(self) -> TickResult:
        """Have a slice begin after this call, and return what it did; cancelling the caller does not end it."""
        if self._queued is None or self._queued.done():  # done: it was cancelled while it waited
            self._queued = asyncio.create_task(self._after(self._current), name="keepstep tick")
            self._queued.add_done_callback(_look_at_error)
        return await asyncio.shield(self._queued)

    async def drain(self, grace_s: float) -> None:
        """Return when no slice runs any more; none begins a further batch, what outlasts ``grace_s`` is cancelled.

        A step that is cut off is tried again by a later tick, as after a crash (B8).
        """
        self._draining = True
        running = {task for task in (self._current, self._queued) if task is not None and not task.done()}
        if running:
            _, late = await asyncio.wait(running, timeout=grace_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _after(self, previous: asyncio.Task[TickResult] | None) -> TickResult:
        if previous is not None and not previous.done():
            await asyncio.wait([previous])
        self._current, self._queued = self._queued, None
        return await self._slice()

    async def _slice(self) -> TickResult:
        if not self._workflows:
            return TickResult(0, None)
        time = asyncio.get_running_loop().time
        begun_at, processed, batch = time(), 0, 1
        while True:
            at = time()
            size = min(batch, self._max_instances - processed)
            result = await self._app.tick(size, workflows=self._workflows)
            processed += result.processed
            ended = result.processed < size or processed >= self._max_instances
            if ended or self._draining or time() - begun_at >= self._max_s:
                return TickResult(processed, result.next_due)
            batch = min(batch * 2, BATCH_MAX) if time() - at < self._max_s / 10 else 1


def answer_of(result: TickResult) -> dict[str, int | None]:
    """What a tick is answered with; instants in milliseconds."""
    return {
        "processed": result.processed,
        "next_due": None if result.next_due is None else instant_ms(result.next_due),
    }


def _look_at_error(task: asyncio.Task[TickResult]) -> None:
    """A slice whose callers have all given up still says why it failed."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.debug("a slice failed: %r", error)
