"""The dispatcher on APScheduler's timers: for a host that has an ``AsyncIOScheduler``, or wants its timers to be one.

The scheduler keeps two jobs and no workflow state: what is due, and when, is in the database. APScheduler goes by the
machine's wall clock; what happens when that is set back is seen to here. No look and no database may live here.
"""

# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from keepstep.engine.dispatch import Looker
from keepstep.errors import UsageError
from keepstep.model.duration import duration_ms
from keepstep_node.looking import Looking

logger = logging.getLogger("keepstep.dispatcher")

SILENT_HEARTBEATS = 2
"""After so many heartbeats without a ring the jobs are taken for lost, and made anew."""
ALIASES = itertools.count(1)
NEVER_MISSED = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}


class APSchedulerDispatcher:
    """Looks when woken, and when a job of an APScheduler rings: one at the next due time, one as a heartbeat.

    Each look says when the next thing falls due, and the due job is set to that. A wake looks at once, whatever its
    time: what the look answers is when to look next. The jobs lie in a job store and run on an executor of their own,
    so the host's jobs, stores and executors are left alone.

    Args:
        scheduler: the host's, which it starts and shuts down itself; None = one that lives as long as this dispatcher
            is started.
        heartbeat: the longest time between two looks, whatever is lost.

    Raises:
        UsageError: it is no ``AsyncIOScheduler``, or the heartbeat is under a second.
        InvalidDurationError: a duration that cannot be read.
    """

    def __init__(
        self, scheduler: AsyncIOScheduler | None = None, *, heartbeat: str | timedelta = "5 seconds"
    ) -> None:
        self._heartbeat_s = duration_ms(heartbeat, "heartbeat") / 1000
        if self._heartbeat_s < 1:
            raise UsageError(f"heartbeat must be at least 1 second, not {heartbeat!r}")
        if not isinstance(scheduler, AsyncIOScheduler | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"scheduler must be an apscheduler AsyncIOScheduler, not {scheduler!r}")
        self._given = scheduler
        self._timers: Timers | None = None
        self._looking = Looking(
            "APSchedulerDispatcher", first_s=1.0, longest_s=max(1.0, self._heartbeat_s), pause=self._pause
        )

    async def start(self, runner: Looker) -> None:
        """Look now, and go on looking. A second start for the same runner changes nothing.

        Raises:
            UsageError: it serves another runner; each app needs a dispatcher of its own.
        """
        if self._looking.serves(runner):
            return
        self._timers = Timers(self._given, self._heartbeat_s, asyncio.get_running_loop(), self._rung)
        self._timers.open()
        self._looking.start(runner)

    async def wake(self, at: datetime | None = None) -> None:  # noqa: ARG002  # no later than: now is allowed
        """Look now; before a start and after a stop there is nothing to wake."""
        self._looking.woken.set()

    async def stop(self) -> None:
        """Let the look in flight end, start no other, take both jobs away. A second stop changes nothing."""
        try:
            await self._looking.stop()
        finally:
            timers, self._timers = self._timers, None
            if timers is not None:
                await timers.close()

    def _rung(self) -> None:
        self._looking.woken.set()

    async def _pause(self, due_s: float | None) -> None:
        """Wait until a job rings or somebody wakes; heartbeats that do not come are noticed by the loop's clock."""
        if due_s is not None and due_s <= 0:
            return
        assert self._timers is not None
        self._timers.set_due(due_s)
        try:
            async with asyncio.timeout(SILENT_HEARTBEATS * self._heartbeat_s):
                await self._looking.woken.wait()
        except TimeoutError:
            logger.warning(
                "APScheduler has not rung for %d heartbeats; its jobs are made anew", SILENT_HEARTBEATS
            )
            self._timers.set_heartbeat()


class Timers:
    """The two jobs.

    Args:
        given: the host's scheduler, or None.
        heartbeat_s: seconds between two rings, at most.
        home: the loop on which ``ring`` is called, whichever one the scheduler runs on.
        ring: called when a job rings.
    """

    def __init__(
        self,
        given: AsyncIOScheduler | None,
        heartbeat_s: float,
        home: asyncio.AbstractEventLoop,
        ring: Callable[[], None],
    ) -> None:
        # Any: APScheduler's own annotations leave most of it open.
        self._scheduler: Any = given or AsyncIOScheduler(
            timezone=UTC, logger=_quiet("keepstep.dispatcher.timers")
        )
        self._owned = given is None
        self._alias = f"keepstep-{next(ALIASES)}"
        self._heartbeat_s = heartbeat_s
        self._home = home
        self._ring = ring

    def open(self) -> None:
        """Begin to ring; on a host's scheduler that is not started yet, once it is."""
        _quiet(f"apscheduler.executors.{self._alias}")
        self._scheduler.add_executor(AsyncIOExecutor(), self._alias)
        self._scheduler.add_jobstore(MemoryJobStore(), self._alias)
        self.set_heartbeat()
        if self._owned:
            self._scheduler.start()

    def set_due(self, due_s: float | None) -> None:
        """Ring after so many seconds, and not when the last due time said; None = at the heartbeat only."""
        job_id = f"{self._alias}-due"
        if due_s is not None:
            at = datetime.now(UTC) + timedelta(seconds=due_s)
            self._add(job_id, DateTrigger(at, UTC))
        elif self._scheduler.get_job(job_id, self._alias):
            self._scheduler.remove_job(job_id, self._alias)

    def set_heartbeat(self) -> None:
        """Ring from time to time, counted from now."""
        self._add(f"{self._alias}-heartbeat", _every(self._heartbeat_s))

    async def close(self) -> None:
        """Take the jobs away with their store; end the scheduler if it is not the host's."""
        self._scheduler.remove_all_jobs(self._alias)
        await asyncio.sleep(0)  # a ring that has begun ends
        self._scheduler.remove_jobstore(self._alias)
        self._scheduler.remove_executor(self._alias)
        if self._owned:
            self._scheduler.shutdown()
            await asyncio.sleep(0)  # it ends itself in the loop's next turn

    def _add(self, job_id: str, trigger: Any) -> None:
        where = {"jobstore": self._alias, "executor": self._alias, "replace_existing": True}
        self._scheduler.add_job(self._rung, trigger, id=job_id, name=job_id, **where, **NEVER_MISSED)

    async def _rung(self) -> None:
        self._home.call_soon_threadsafe(self._ring)


def _every(seconds: float) -> Any:
    return IntervalTrigger(seconds=seconds, timezone=UTC)  # pyright: ignore[reportArgumentType]  # parts of one too


def _quiet(name: str) -> logging.Logger:
    """A logger for what goes well with our own jobs every few seconds: only its warnings are of interest."""
    found = logging.getLogger(name)
    found.setLevel(logging.WARNING)
    return found
