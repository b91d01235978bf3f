"""Deadlines of runs that also execute something: a timer of the host's loop for each such run (D2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from keepstep.engine.execution import Execution
from keepstep.engine.seams import DatabaseClock

LATE_MS = 1
"""An alarm rings this much after the deadline, so that the estimate of database time has certainly reached it."""


class Alarms:
    """One alarm a run, at its earliest deadline.

    Args:
        clock: the estimate of database time.
        ring: called with a run that has something due.
    """

    def __init__(self, clock: DatabaseClock, ring: Callable[[Execution], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._set: dict[int, asyncio.TimerHandle] = {}

    def set(self, execution: Execution) -> None:
        """Ring at the run's earliest deadline, if it has one."""
        due = execution.next_due()
        if self._set:
            self.quiet(execution.run.id)
        if due is not None:
            pause = (max(0, due - self._clock.now_ms()) + LATE_MS) / 1000
            self._set[execution.run.id] = asyncio.get_running_loop().call_later(pause, self._ring, execution)

    def quiet(self, run_id: int) -> None:
        """Do not ring for the run any more."""
        alarm = self._set.pop(run_id, None)
        if alarm is not None:
            alarm.cancel()
