"""How long a wake takes on each dispatcher: an event of the same app, an event of another app, a timer.

From the call of ``send_event``, or from the sleep's deadline, to the body's next line. Each dispatcher has its defaults;
Cloudflare's is the real Worker on a real workerd, over loopback, so a deployed one adds its network.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.watch import Countdown, create_all, none_is
from bench.workload import Bed, Figure, Sample, Workload, commit_ms, percentile
from keepstep import App, EventModel, Status, WorkflowEvent, WorkflowStep, workflow
from keepstep_cloudflare import CloudflareDispatcher, new_secret
from keepstep_node import APSchedulerDispatcher, PollingDispatcher
from tests.support.workerd import Workerd, built, free_port, served

PAUSE_S = 0.05
"""Between two wakes: each is one of its own."""
NAP_S = 0.5
TOOK_MS: list[float] = []
WOKEN = Countdown()


class Ping(EventModel, type="ping"):
    """Carries when it was sent."""

    sent: float


@workflow(name="wake-by-event", events=[Ping])
async def by_event(event: WorkflowEvent[int], step: WorkflowStep) -> None:  # noqa: ARG001  # a body has these arguments
    """Wait for one event, and note how long it took to come here."""
    ping = await step.wait_for_event("ping", Ping)
    TOOK_MS.append((time.monotonic() - ping.payload.sent) * 1000)
    WOKEN.one()


@workflow(name="wake-by-timer")
async def by_timer(event: WorkflowEvent[datetime], step: WorkflowStep) -> None:
    """Sleep until then, and note how late it went on."""
    await step.sleep_until("then", event.payload)
    TOOK_MS.append((time.time() - event.payload.timestamp()) * 1000)
    WOKEN.one()


Apps = AbstractAsyncContextManager[tuple[App[Any], App[Any]]]
"""The app that is measured, and another one that only sends."""


@contextlib.asynccontextmanager
async def polled(bed: Bed) -> AsyncGenerator[tuple[App[Any], App[Any]]]:
    """On the default dispatcher."""
    async with _beside(bed, bed.app(by_event, by_timer, dispatcher=PollingDispatcher()), None) as apps:
        yield apps


@contextlib.asynccontextmanager
async def scheduled(bed: Bed) -> AsyncGenerator[tuple[App[Any], App[Any]]]:
    """On APScheduler."""
    async with _beside(bed, bed.app(by_event, by_timer, dispatcher=APSchedulerDispatcher()), None) as apps:
        yield apps


@contextlib.asynccontextmanager
async def ticked(bed: Bed) -> AsyncGenerator[tuple[App[Any], App[Any]]]:
    """On the bridge."""
    schedule, tick, port = new_secret(), new_secret(), free_port()
    tick_url = f"http://127.0.0.1:{port}/tick"
    with tempfile.TemporaryDirectory(prefix="keepstep-bench-") as name:
        folder = Path(name)
        script = await asyncio.to_thread(built, folder)
        secrets = {"SCHEDULE_SECRETS": schedule, "TICK_SECRETS": tick}
        worker = Workerd(script, folder, {"SHARDS": ["main"], "TICK_URL": tick_url, **secrets})
        await worker.start()

        def dispatcher() -> CloudflareDispatcher:
            return CloudflareDispatcher(worker.url, "main", schedule, tick, tick_url=tick_url)

        try:
            own = dispatcher()
            app = bed.app(by_event, by_timer, dispatcher=own)
            async with served(own.endpoint(app), port), _beside(bed, app, dispatcher()) as apps:
                yield apps
        finally:
            await worker.stop()


@contextlib.asynccontextmanager
async def _beside(
    bed: Bed, app: App[Any], dispatcher: CloudflareDispatcher | None
) -> AsyncGenerator[tuple[App[Any], App[Any]]]:
    other = bed.app(by_event, by_timer, dispatcher=dispatcher)
    async with app.running(), other.running():
        yield app, other


KINDS: dict[str, Callable[[Bed], Apps]] = {"polling": polled, "APScheduler": scheduled, "Cloudflare": ticked}
WAYS = ("same app", "another app", "timer")


async def measure(bed: Bed) -> list[Sample]:
    """One dispatcher after the other."""
    found: list[Sample] = []
    for name, kind in KINDS.items():
        async with kind(bed) as (app, other):
            samples = await bed.rounds(_player(name, app, other), bed.size(60, 3))
        found = [
            before | sample for before, sample in zip(found or [{}] * len(samples), samples, strict=True)
        ]
    return found


def _player(name: str, app: App[Any], other: App[Any]) -> Callable[[int], Any]:
    number = 0

    async def play(count: int) -> Sample:
        nonlocal number
        sample: Sample = {}
        for way in WAYS:
            number += 1
            TOOK_MS.clear()
            WOKEN.expect(count)
            if way == "timer":
                await _sleep(app, count)
            else:
                await _send(app, other if way == "another app" else app, count, f"{name}-{number}-")
            await WOKEN.done()
            sample[f"{name}, {way} p50"] = percentile(TOOK_MS, 0.50)
            sample[f"{name}, {way} p99"] = percentile(TOOK_MS, 0.99)
        return sample

    return play


async def _send(app: App[Any], sender: App[Any], count: int, prefix: str) -> None:
    parked = await create_all(app.binding(by_event), count, prefix)
    await none_is(app.binding(by_event), Status.ACTIVE)
    for each in parked:
        await asyncio.sleep(PAUSE_S)
        await sender.binding(by_event).instance(each.id).send_event(Ping(sent=time.monotonic()))


async def _sleep(app: App[Any], count: int) -> None:
    begin = datetime.now(UTC) + timedelta(seconds=NAP_S + count * 0.02)
    for n in range(count):
        await app.binding(by_timer).create(params=begin + timedelta(seconds=n * PAUSE_S))


WORKLOAD = Workload(
    name="wake",
    title="from an event or a deadline to the body's next line, on each dispatcher",
    figures=tuple(
        Figure(f"{name}, {way} {share}", "ms", "lower", commit_ms)
        for name in KINDS
        for way in WAYS
        for share in ("p50", "p99")
    ),
    measure=measure,
    by_default=False,
    timeout_s=300,
)
