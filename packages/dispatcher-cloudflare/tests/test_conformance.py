"""CloudflareDispatcher keeps what every dispatcher keeps: on a model of the alarm, and on a real workerd."""

import asyncio
import contextlib

import pytest

from keepstep import App
from keepstep_cloudflare import CloudflareDispatcher, new_secret
from keepstep_testing.conformance.dispatchers import DispatchedAppSuite, DispatcherSuite
from tests.support.alarm_model import HEARTBEAT_S, AlarmModel

SCHEDULE, TICK = new_secret(), new_secret()
TICK_URL = "https://app.test/tick"


class TestCloudflare(DispatcherSuite):
    """On a model, so that hours pass in a moment; the classes below have the real Worker."""

    heartbeat_s = HEARTBEAT_S
    again_s = 8.0  # tries after 1, 2, 4 s …: the one after the database is back
    jump_s = 240.0  # further than 300 s signatures are refused until the clock is right

    @contextlib.asynccontextmanager
    async def dispatched(self, agenda, time):
        """The dispatcher, its endpoint, and the alarm."""

        async def asgi(scope, receive, send):
            await endpoint(scope, receive, send)

        alarm = AlarmModel(time.true_ms, schedule=SCHEDULE, tick=TICK, tick_url=TICK_URL, asgi=asgi)
        dispatcher = CloudflareDispatcher(
            "https://worker.test", "main", SCHEDULE, TICK, tick_url=TICK_URL, transport=alarm.transport
        )
        endpoint = dispatcher.endpoint(agenda, max_instances=1000)
        ringing = asyncio.create_task(alarm.run())
        await dispatcher.start(agenda)
        try:
            yield dispatcher
        finally:
            await dispatcher.stop()
            ringing.cancel()
            await asyncio.wait([ringing])


class TestCloudflareApps(DispatchedAppSuite):
    """Apps ticked by the real Worker on a real workerd, over loopback."""

    parking_s = 8.0
    spread_s = 12.0  # a tick advances one instance after another, some hundred in a second

    @pytest.fixture(autouse=True)
    def bridge_of_the_test(self, bridge):
        """The other side, ended with the test."""
        self.bridge = bridge

    @contextlib.asynccontextmanager
    async def running(self, database_url, workflows):
        """An app that nothing but ticks advances."""
        worker = await self.bridge.worker(HEARTBEAT_MS=2000)
        dispatcher = self.bridge.dispatcher(worker)
        app = App(database_url, workflows=workflows, dispatcher=dispatcher)
        async with self.bridge.served(dispatcher.endpoint(app)), app.running():
            yield app
