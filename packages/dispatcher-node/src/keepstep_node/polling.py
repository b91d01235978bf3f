"""The dispatcher for a process that stays up: in-process wakes, other processes' hints, and a poll underneath.

Correctness rests on the poll alone; wakes and hints make it fast. Time is the running loop's, so that a test or a
simulation that owns the loop owns the time. No clock of its own, no thread and no database may live here.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

from keepstep.engine.dispatch import Looker
from keepstep.errors import UsageError
from keepstep.model.duration import duration_ms

logger = logging.getLogger("keepstep.dispatcher")


class PollingDispatcher:
    """Looks when woken, when something falls due, and from time to time in any case.

    A wake during a look makes one more look follow; any number of wakes make no more than that one. A wake for a
    later time looks at once: what the look answers is when to look next.

    Args:
        interval: the longest time between two looks while there is work.
        idle_max: what that time grows to, doubling, while nothing is due and nobody wakes.
    """

    def __init__(
        self, *, interval: str | timedelta = "1 second", idle_max: str | timedelta = "5 seconds"
    ) -> None:
        self._interval_s = duration_ms(interval) / 1000
        self._idle_max_s = duration_ms(idle_max) / 1000
        if not 0 < self._interval_s <= self._idle_max_s:
            raise UsageError(
                f"PollingDispatcher(interval={interval!r}, idle_max={idle_max!r}): "
                "interval must be longer than nothing and no longer than idle_max"
            )
        self._poll_s = self._interval_s
        self._failures = 0
        self._stopping = False
        self._woken = asyncio.Event()
        self._runner: Looker | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def start(self, runner: Looker) -> None:
        """Look now, and go on looking. A second start for the same runner changes nothing.

        Raises:
            UsageError: it serves another runner; each app needs a dispatcher of its own.
        """
        if self._runner is runner:
            return
        if self._runner is not None:
            raise UsageError("this PollingDispatcher serves another app already; give each app its own")
        self._runner, self._stopping, self._woken = runner, False, asyncio.Event()
        self._poll_s, self._failures = self._interval_s, 0
        self._tasks = (
            asyncio.create_task(self._keep_looking(runner), name="keepstep dispatcher"),
            asyncio.create_task(self._keep_listening(runner), name="keepstep dispatcher hints"),
        )

    async def wake(self, at: datetime | None = None) -> None:  # noqa: ARG002  # no later than: now is allowed
        """Look now; before a start and after a stop there is nothing to wake."""
        self._woken.set()

    async def stop(self) -> None:
        """Let the look in flight end, start no other. A second stop changes nothing."""
        self._stopping = True
        self._woken.set()
        if self._tasks:
            looking, listening = self._tasks
            listening.cancel()
            await asyncio.wait((looking, listening))
        self._tasks, self._runner = (), None

    async def _keep_looking(self, runner: Looker) -> None:
        while not self._stopping:
            self._woken.clear()
            delay_s = await self._look_once(runner)
            await self._pause(delay_s)

    async def _look_once(self, runner: Looker) -> float:
        """Look, and say how many seconds to wait at most before the next look."""
        try:
            due_s = await runner.look()
        except Exception:
            # A look does not raise for the database's troubles, so this is a defect; stopping would strand runs.
            self._failures += 1
            delay_s = min(self._interval_s * 2 ** min(self._failures - 1, 16), self._idle_max_s)
            logger.exception(
                "a look failed %d time(s) in a row; the next is in %g s", self._failures, delay_s
            )
            return delay_s
        self._failures = 0
        return self._poll_s if due_s is None else max(0.0, min(due_s, self._poll_s))

    async def _pause(self, delay_s: float) -> None:
        """Wait for a wake, no longer than ``delay_s``; a whole poll in vain makes the next one longer."""
        if delay_s == 0:
            await asyncio.sleep(0)
            self._poll_s = self._interval_s
            return
        waited_in_vain = False

        def look_again() -> None:
            nonlocal waited_in_vain
            waited_in_vain = delay_s >= self._poll_s
            self._woken.set()

        timer = asyncio.get_running_loop().call_later(delay_s, look_again)
        try:
            await self._woken.wait()
        finally:
            timer.cancel()
        self._poll_s = min(self._poll_s * 2, self._idle_max_s) if waited_in_vain else self._interval_s

    async def _keep_listening(self, runner: Looker) -> None:
        """Be told by other processes; without that the poll still finds everything."""
        delay_s = self._interval_s
        while True:
            try:
                await runner.listen(self._woken.set)
            except Exception:
                logger.exception("cannot hear other processes' hints; polling, next try in %g s", delay_s)
            else:
                return
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, self._idle_max_s)
