"""The dispatcher for a process that stays up: in-process wakes, other processes' hints, and a poll underneath.

Correctness rests on the poll alone; wakes and hints make it fast. Time is the running loop's, so that a test or a
simulation that owns the loop owns the time. No clock of its own, no thread and no database may live here.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from keepstep.engine.dispatch import Looker
from keepstep.errors import UsageError
from keepstep.model.duration import duration_ms
from keepstep_node.looking import Looking


class PollingDispatcher:
    """Looks when woken, when something falls due, and from time to time in any case.

    A wake during a look makes one more look follow; any number of wakes make no more than that one. A wake for a
    later time looks at once: what the look answers is when to look next.

    Args:
        interval: the longest time between two looks while there is work.
        idle_max: what that time grows to, doubling, while nothing is due and nobody wakes.

    Raises:
        UsageError: intervals that make no sense.
        InvalidDurationError: a duration that cannot be read.
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
        self._looking = Looking(
            "PollingDispatcher", first_s=self._interval_s, longest_s=self._idle_max_s, pause=self._pause
        )

    async def start(self, runner: Looker) -> None:
        """Look now, and go on looking. A second start for the same runner changes nothing.

        Raises:
            UsageError: it serves another runner; each app needs a dispatcher of its own.
        """
        if not self._looking.serves(runner):
            self._poll_s = self._interval_s
            self._looking.start(runner)

    async def wake(self, at: datetime | None = None) -> None:  # noqa: ARG002  # no later than: now is allowed
        """Look now; before a start and after a stop there is nothing to wake."""
        self._looking.woken.set()

    async def stop(self) -> None:
        """Let the look in flight end, start no other. A second stop changes nothing."""
        await self._looking.stop()

    async def _pause(self, due_s: float | None) -> None:
        """Wait for a wake, no longer than the poll; a whole poll in vain makes the next one longer."""
        if due_s is not None and due_s <= 0:
            self._poll_s = self._interval_s
            return
        woken, polled = self._looking.woken, False

        def look_again() -> None:
            nonlocal polled
            polled = due_s is None or due_s >= self._poll_s
            woken.set()

        delay_s = self._poll_s if due_s is None else min(due_s, self._poll_s)
        timer = asyncio.get_running_loop().call_later(delay_s, look_again)
        try:
            await woken.wait()
        finally:
            timer.cancel()
        self._poll_s = min(self._poll_s * 2, self._idle_max_s) if polled else self._interval_s
