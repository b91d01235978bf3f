"""APSchedulerDispatcher: two jobs on its own scheduler or the host's, whose jobs stay as they are (dispatchers.md).

What every dispatcher keeps is in test_conformance.py. All in virtual time.
"""

import asyncio
import logging
import sys

import pytest
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

import keepstep_node
from keepstep.errors import InvalidDurationError, UsageError
from keepstep_node import APSchedulerDispatcher
from keepstep_testing.conformance.dispatchers import Agenda, Time

RINGS = []


async def work():
    """A job of the host's."""
    RINGS.append(asyncio.get_running_loop().time())


@pytest.fixture(autouse=True)
def no_rings():
    """Each test counts its own."""
    RINGS.clear()


def play(scene):
    """Run a scene in virtual time, with something to wake."""
    time = Time()

    async def main():
        await scene(Agenda(time), time)

    time.run(main)


def jobs_of(scheduler):
    """The names of all jobs, ours with their number taken off."""
    return sorted(
        job.id.partition("keepstep-")[2].lstrip("0123456789-") or job.id for job in scheduler.get_jobs()
    )


def test_two_jobs_and_no_more():
    """One date job at the next due time, replaced by each look, and one interval job as the heartbeat."""

    async def scene(agenda, time):
        scheduler = AsyncIOScheduler(timezone="UTC")
        scheduler.start()
        dispatcher = APSchedulerDispatcher(scheduler, heartbeat="30 seconds")
        for in_s in (20, 10, 25):
            agenda.add(in_s)
        await dispatcher.start(agenda)
        await time.settled()
        assert jobs_of(scheduler) == ["due", "heartbeat"]
        for job in scheduler.get_jobs():
            assert (job.misfire_grace_time, job.coalesce, job.max_instances) == (None, True, 1)
        await time.after(10.001)
        await dispatcher.wake(agenda.add(5))
        await time.settled()
        assert jobs_of(scheduler) == ["due", "heartbeat"]
        await time.after(15)
        assert agenda.left == 0
        assert agenda.looks == pytest.approx([0, 10, 10.001, 15.001, 20, 25], abs=0.001)
        assert jobs_of(scheduler) == ["heartbeat"]
        await dispatcher.stop()
        scheduler.shutdown()
        await time.settled()

    play(scene)


def test_a_stop_takes_only_our_jobs_away():
    """The host's scheduler goes on with its jobs, its stores and its executors."""

    async def scene(agenda, time):
        scheduler = AsyncIOScheduler(timezone="UTC")
        scheduler.add_job(work, IntervalTrigger(seconds=10, timezone="UTC"), id="theirs")
        scheduler.start()
        dispatcher = APSchedulerDispatcher(scheduler)
        await dispatcher.start(agenda)
        await time.after(15)
        await dispatcher.stop()
        assert scheduler.running
        assert jobs_of(scheduler) == ["theirs"]
        assert (list(scheduler._jobstores), list(scheduler._executors)) == (["default"], ["default"])
        await time.after(20)
        assert pytest.approx([10, 20, 30], abs=0.01) == RINGS
        scheduler.shutdown()
        await time.settled()

    play(scene)


def test_a_scheduler_of_its_own_ends_with_it():
    """Nobody else could shut it down; a start after the stop makes another one."""

    async def scene(agenda, time):
        dispatcher = APSchedulerDispatcher()
        for _ in range(2):
            await dispatcher.start(agenda)
            await time.after(1)
            scheduler = dispatcher._timers._scheduler
            assert scheduler.running
            await dispatcher.stop()
            assert not scheduler.running

    play(scene)


def test_the_hosts_stores_and_executors_are_not_used(tmp_path):
    """A store that pickles its jobs, an executor of threads: ours would fail there, and its file stays as it was."""

    async def scene(agenda, time):
        store = SQLAlchemyJobStore(f"sqlite:///{tmp_path}/jobs.db")
        scheduler = AsyncIOScheduler(
            jobstores={"default": store}, executors={"default": ThreadPoolExecutor(1)}, timezone="UTC"
        )
        scheduler.start()
        dispatcher = APSchedulerDispatcher(scheduler)
        await dispatcher.start(agenda)
        await dispatcher.wake(agenda.add(3))
        await time.after(3.01)
        assert agenda.left == 0
        assert store.get_all_jobs() == []
        await dispatcher.stop()
        scheduler.shutdown()
        await time.settled()
        store.engine.dispose()

    play(scene)


def test_a_scheduler_that_starts_later_is_enough():
    """Hosts start their parts in any order: the first look needs no scheduler, timers come with it."""

    async def scene(agenda, time):
        scheduler, dispatcher = AsyncIOScheduler(timezone="UTC"), None
        dispatcher = APSchedulerDispatcher(scheduler)
        agenda.add()
        await dispatcher.start(agenda)
        await time.settled()
        assert agenda.left == 0
        await dispatcher.wake(agenda.add(3))
        await time.settled()
        scheduler.start()
        await time.after(3.01)
        assert agenda.left == 0
        await dispatcher.stop()
        scheduler.shutdown()
        await time.settled()

    play(scene)


@pytest.mark.parametrize("lost", ["jobs", "scheduler"])
def test_jobs_that_the_host_takes_away_are_made_again(lost, caplog):
    """After two heartbeats of silence the loop's own clock notices; work is late, never lost."""

    async def scene(agenda, time):
        scheduler = AsyncIOScheduler(timezone="UTC")
        scheduler.start()
        dispatcher = APSchedulerDispatcher(scheduler)
        await dispatcher.start(agenda)
        await time.after(1)
        if lost == "jobs":
            scheduler.remove_all_jobs()
        else:
            scheduler.shutdown()
        agenda.add()
        await time.after(10.01)
        assert agenda.left == 0
        assert jobs_of(scheduler) == ["heartbeat"]
        await dispatcher.stop()
        assert jobs_of(scheduler) == []
        if lost == "jobs":
            scheduler.shutdown()
        await time.settled()

    play(scene)
    assert "has not rung for 2 heartbeats" in caplog.text


def test_two_apps_share_a_scheduler():
    """Each has jobs of its own; one's stop leaves the other's."""

    async def scene(agenda, time):
        scheduler, other = AsyncIOScheduler(timezone="UTC"), Agenda(time)
        scheduler.start()
        first, second = APSchedulerDispatcher(scheduler), APSchedulerDispatcher(scheduler)
        await first.start(agenda)
        await second.start(other)
        await first.stop()
        assert jobs_of(scheduler) == ["heartbeat"]
        other.add(3)
        await second.wake()
        await time.after(3.01)
        assert other.left == 0
        await second.stop()
        scheduler.shutdown()
        await time.settled()

    play(scene)


def test_the_log_is_not_filled_by_its_own_jobs(caplog):
    """A line for each ring would bury the host's own; its jobs are logged as before."""

    async def scene(agenda, time):
        dispatcher = APSchedulerDispatcher()
        await dispatcher.start(agenda)
        await time.after(60)
        assert len(agenda.looks) > 10
        await dispatcher.stop()

    with caplog.at_level(logging.INFO):
        play(scene)
    assert caplog.records == []


def test_one_dispatcher_serves_one_app():
    """A dispatcher that is shared by two apps is refused with what to do."""

    async def scene(agenda, time):
        dispatcher = APSchedulerDispatcher()
        await dispatcher.start(agenda)
        with pytest.raises(UsageError, match="give each app its own"):
            await dispatcher.start(Agenda(time))
        await dispatcher.stop()

    play(scene)


@pytest.mark.parametrize("scheduler", [BackgroundScheduler(), "scheduler"], ids=["of threads", "none at all"])
def test_another_kind_of_scheduler_is_refused(scheduler):
    """What cannot call back on the loop is refused where it is given (H)."""
    with pytest.raises(UsageError, match="must be an apscheduler AsyncIOScheduler"):
        APSchedulerDispatcher(scheduler)


def test_a_heartbeat_that_makes_no_sense_is_refused():
    """At least a second, with its unit (D1)."""
    with pytest.raises(UsageError, match="at least 1 second"):
        APSchedulerDispatcher(heartbeat="10 ms")
    with pytest.raises(InvalidDurationError):
        APSchedulerDispatcher(heartbeat=5)  # type: ignore[arg-type]


def test_without_apscheduler_it_says_what_to_install(monkeypatch):
    """The package works without it; only this name needs it."""
    monkeypatch.delitem(sys.modules, "keepstep_node.timers", raising=False)
    monkeypatch.setitem(sys.modules, "apscheduler.schedulers.asyncio", None)
    with pytest.raises(UsageError, match=r"keepstep-dispatcher-node\[apscheduler\]"):
        _ = keepstep_node.APSchedulerDispatcher
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = keepstep_node.Nothing
