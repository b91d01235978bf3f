"""The dispatchers of this package keep what every dispatcher keeps."""

import contextlib

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from keepstep import App
from keepstep_node import APSchedulerDispatcher, PollingDispatcher
from keepstep_testing.conformance.dispatchers import DispatchedAppSuite, DispatcherSuite


@contextlib.asynccontextmanager
async def started(dispatcher, agenda):
    """A started dispatcher, stopped at the end."""
    await dispatcher.start(agenda)
    try:
        yield dispatcher
    finally:
        await dispatcher.stop()


async def host_work():
    """A job of the host's."""


class TestPolling(DispatcherSuite):
    """The default."""

    def dispatched(self, agenda, time):
        """One with its defaults."""
        return started(PollingDispatcher(), agenda)


class TestAPScheduler(DispatcherSuite):
    """On a scheduler of its own."""

    def dispatched(self, agenda, time):
        """One with its defaults."""
        return started(APSchedulerDispatcher(), agenda)


class TestAPSchedulerOfTheHost(DispatcherSuite):
    """On the host's."""

    @contextlib.asynccontextmanager
    async def dispatched(self, agenda, time):
        """One on a scheduler that has other work too."""
        scheduler = AsyncIOScheduler(timezone="UTC")
        job = scheduler.add_job(host_work, "interval", seconds=7)
        scheduler.start()
        async with started(APSchedulerDispatcher(scheduler), agenda) as dispatcher:
            yield dispatcher
        assert scheduler.get_jobs() == [job]
        scheduler.shutdown()
        await time.settled()


class TestPollingApps(DispatchedAppSuite):
    """Apps on the default."""

    @contextlib.asynccontextmanager
    async def running(self, database_url, workflows):
        """An app on one with its defaults."""
        async with App(database_url, workflows=workflows, dispatcher=PollingDispatcher()).running() as app:
            yield app


class TestAPSchedulerApps(DispatchedAppSuite):
    """Apps on a scheduler that the host has."""

    @contextlib.asynccontextmanager
    async def running(self, database_url, workflows):
        """An app on a host's scheduler."""
        scheduler = AsyncIOScheduler(timezone="UTC")
        scheduler.start()
        dispatcher = APSchedulerDispatcher(scheduler)
        async with App(database_url, workflows=workflows, dispatcher=dispatcher).running() as app:
            yield app
        scheduler.shutdown()
