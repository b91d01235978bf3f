"""Apps on a dispatcher, from create to result: real time, real databases, and whatever the dispatcher is made of."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from keepstep import App, WorkflowEvent, WorkflowStep, workflow
from keepstep.errors import StoreError
from keepstep_testing.conformance.dispatchers.outages import Outage

SLEEPERS = 1_000
AWAY_S = 5.0
BURST = 150


async def shout(text: str) -> str:
    """A step."""
    return text.upper()


async def look_at_clock() -> float:
    """The time of day, in seconds."""
    return time.time()


@workflow(name="conformance-greeting")
async def greeting(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """One step."""
    return await step.do("shout", shout, event.payload)


@workflow(name="conformance-waiting")
async def waiting(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """An event, however it comes."""
    answer = await step.wait_for_event("answer", "answer", timeout=None)
    return f"{event.payload} {answer.payload}"


@workflow(name="conformance-sleeping")
async def sleeping(event: WorkflowEvent[datetime], step: WorkflowStep) -> float:
    """Sleep until then; how late it went on, in seconds."""
    await step.sleep_until("then", event.payload)
    return await step.do("look", look_at_clock) - event.payload.timestamp()


class Held:
    """A workflow whose one step begins, waits, and counts."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.ended = 0

        async def hold() -> str:
            self.begun.set()
            await self.release.wait()
            self.ended += 1
            return "kept"

        @workflow(name="conformance-holding")
        async def holding(event: WorkflowEvent[None], step: WorkflowStep) -> str:  # noqa: ARG001
            return await step.do("hold", hold)

        self.workflow = holding


@pytest.mark.anyio
class DispatchedAppSuite:
    """What an app on every dispatcher keeps; a subclass whose name begins with Test says how to run one.

    It needs a fixture ``database_url``: the URL of an empty database, of each kind that is to be tested.

    Attributes:
        patience_s: how long a result is waited for at most; it is far more than is needed.
        parking_s: how long a thousand instances may take to fall asleep.
        spread_s: how long it takes until the last of them is to wake.
        late_s: how late one of them may be woken.
    """

    patience_s: ClassVar[float] = 30.0
    parking_s: ClassVar[float] = 3.0
    spread_s: ClassVar[float] = 3.0
    late_s: ClassVar[float] = 1.0

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> str:
        """Apps live on asyncio."""
        return "asyncio"

    @abstractmethod
    def running(
        self, database_url: str, workflows: Mapping[str, Any]
    ) -> AbstractAsyncContextManager[App[Any]]:
        """A running app with these workflows on the dispatcher under test, and all that the dispatcher needs.

        Its heartbeat is 5 seconds at most, and it is stopped at the end.
        """

    async def test_wake_now(self, database_url: str) -> None:
        """A create and an event have the instance go on, from this app and from another one."""
        workflows = {"GREET": greeting, "WAIT": waiting}
        async with self.running(database_url, workflows) as app, asyncio.timeout(self.patience_s):
            assert await (await app.workflows.GREET.create(params="hi")).result() == "HI"
            waits = await app.workflows.WAIT.create(id="w-1", params="well,")
            await waits.send_event("answer", "yes")
            assert await waits.result() == "well, yes"

    async def test_wake_later(self, database_url: str) -> None:
        """A sleeper goes on at its time, not before and not a heartbeat after."""
        async with self.running(database_url, {"SLEEP": sleeping}) as app, asyncio.timeout(self.patience_s):
            instance = await app.workflows.SLEEP.create(params=_in(1.2))
            assert 0 <= await instance.result() < self.patience_s / 6

    async def test_earlier_replaces_later(self, database_url: str) -> None:
        """Who sleeps shorter goes on first, though it fell asleep last; the other is not forgotten."""
        async with self.running(database_url, {"SLEEP": sleeping}) as app, asyncio.timeout(self.patience_s):
            later = await app.workflows.SLEEP.create(params=_in(2.5))
            await _asleep(later)
            sooner = await app.workflows.SLEEP.create(params=_in(0.7))
            assert await sooner.result() >= 0
            assert (await later.status()).status == "waiting"
            assert await later.result() >= 0

    async def test_a_lost_wake_is_repaired_by_the_heartbeat(self, database_url: str) -> None:
        """A commit that tells nobody is found all the same."""
        async with self.running(database_url, {"GREET": greeting}) as app, asyncio.timeout(self.patience_s):
            assert await (await app.workflows.GREET.create(params="first")).result() == "FIRST"
            await _create_in_silence(database_url)
            instance = await app.workflows.GREET.get("silent")
            assert await instance.result() == "SILENT"

    async def test_overlapping_wakes_coalesce(self, database_url: str) -> None:
        """Bursts of commits at the same time: each instance goes on, and once."""
        async with self.running(database_url, {"GREET": greeting}) as app, asyncio.timeout(self.patience_s):
            creates = (app.workflows.GREET.create(id=f"g-{n}", params=f"hi {n}") for n in range(BURST))
            instances = await asyncio.gather(*creates)
            results = await asyncio.gather(*(each.result() for each in instances))
            assert results == [f"HI {n}" for n in range(BURST)]
            steps = (await instances[-1].history()).steps
            assert [step.attempts for step in steps] == [1]

    async def test_a_stop_during_a_tick_drains(self, database_url: str) -> None:
        """A step in flight ends before the stop does, and is recorded."""
        held = Held()
        async with (
            self.running(database_url, {"HOLD": held.workflow}) as app,
            asyncio.timeout(self.patience_s),
        ):
            instance = await app.workflows.HOLD.create()
            await held.begun.wait()
            stopping = asyncio.create_task(app.stop())
            await asyncio.sleep(0)
            held.release.set()
            await stopping
            assert (await instance.status()).status == "complete"
            assert held.ended == 1
            await app.stop()

    async def test_a_database_that_is_away_for_5_s_and_back(self, database_url: str) -> None:
        """What fell due meanwhile goes on, and what comes afterwards (C5, defect 9)."""
        workflows = {"GREET": greeting, "SLEEP": sleeping}
        async with (
            Outage.of(database_url) as outage,
            self.running(outage.url, workflows) as app,
            asyncio.timeout(AWAY_S + self.patience_s),
        ):
            sleeper = await app.workflows.SLEEP.create(id="s-1", params=_in(2.0))
            await _asleep(sleeper)
            async with outage.away():
                await asyncio.sleep(AWAY_S)
            assert await _result(sleeper) >= 2.0
            later = await app.workflows.GREET.create(params="again")
            assert await _result(later) == "AGAIN"

    async def test_a_thousand_sleepers_are_woken_within_a_second(self, database_url: str) -> None:
        """Each within a second of its time, none before it."""
        async with (
            self.running(database_url, {"SLEEP": sleeping}) as app,
            asyncio.timeout(3 * self.patience_s),
        ):
            begin = self.parking_s
            params = [
                {"id": f"s-{n}", "params": _in(begin + n * self.spread_s / SLEEPERS)} for n in range(SLEEPERS)
            ]
            for at in range(0, SLEEPERS, 100):
                await app.workflows.SLEEP.create_batch(params[at : at + 100])
            found = [app.workflows.SLEEP.instance(each["id"]) for each in params]
            late = [await each.result() for each in found]
            assert min(late) >= 0
            assert max(late) <= self.late_s


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def _asleep(instance: Any) -> None:
    while (await instance.status()).status != "waiting":  # noqa: ASYNC110  # the database knows
        await asyncio.sleep(0.01)


async def _result(instance: Any) -> Any:
    """The result of an instance, though its database may have come back only now."""
    while True:
        try:
            return await instance.result()
        except StoreError:
            await asyncio.sleep(0.1)


async def _create_in_silence(database_url: str) -> None:
    """Create an instance in a transaction of a host whose app is not open: no wake, no hint."""
    elsewhere = App(database_url, workflows={"GREET": greeting}, dispatcher=None)
    if database_url.startswith("sqlite"):
        engine = create_engine(database_url)
        with engine.begin() as connection:
            elsewhere.using(connection).workflows.GREET.create(id="silent", params="silent")
        engine.dispose()
        return
    there = create_async_engine(database_url.replace("postgresql:", "postgresql+asyncpg:", 1))
    async with there.begin() as connection:
        await elsewhere.using(connection).workflows.GREET.create(id="silent", params="silent")
    await there.dispose()
