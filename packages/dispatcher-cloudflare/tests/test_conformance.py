"""CloudflareDispatcher keeps what every dispatcher keeps: in virtual time on a model of the Worker's alarm."""

import asyncio
import contextlib

from keepstep_cloudflare import CloudflareDispatcher, new_secret
from keepstep_testing.conformance.dispatchers import DispatcherSuite
from tests.support.alarm_model import HEARTBEAT_S, AlarmModel

SCHEDULE, TICK = new_secret(), new_secret()
TICK_URL = "https://app.test/tick"


class TestCloudflare(DispatcherSuite):
    """On a model; test_alarms.py and test_bridged_apps.py have the real Worker."""

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
