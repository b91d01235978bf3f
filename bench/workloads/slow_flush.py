"""A disk whose flush takes a millisecond more, as cloud disks do: steps per second by runs in flight.

The store's gate delays each commit; a host cannot set it, so this workload reaches into the app.
"""

from __future__ import annotations

import asyncio
import time

from bench.seams import set_gate
from bench.watch import Countdown, create_all, none_is
from bench.workload import Bed, Figure, Raw, Sample, Workload
from keepstep import Status, WorkflowEvent, WorkflowStep, workflow

IN_FLIGHT = (16, 128, 1_024)
DELAY_S = 0.001
STEPS = 10
ARRIVED = Countdown()


async def add(total: int, number: int) -> int:
    """A step that costs nothing itself."""
    return total + number


@workflow(name="bench-slow")
async def slow(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Ten steps, one after another."""
    total = event.payload
    for number in range(STEPS):
        total = await step.do("add", add, total, number)
    ARRIVED.one()
    return total


async def measure(bed: Bed) -> list[Sample]:
    """Each number in flight, with as many rounds of runs as fit into some seconds."""
    samples: list[Sample] = []
    for in_flight in IN_FLIGHT:
        found = await steps_per_second(bed, in_flight)
        samples = [old | new for old, new in zip(samples or [{} for _ in found], found, strict=True)]
    return samples


async def steps_per_second(bed: Bed, in_flight: int) -> list[Sample]:
    """The rounds with this many runs in hand."""
    async with bed.app(slow, concurrency=in_flight).running() as app:
        binding = app.binding(slow)
        set_gate(app, delayed)

        async def play(count: int) -> Sample:
            ARRIVED.expect(count)
            started = time.perf_counter()
            await create_all(binding, count)
            await ARRIVED.done()
            await none_is(binding, Status.ACTIVE)
            return {key(in_flight): count * STEPS / (time.perf_counter() - started)}

        return await bed.rounds(play, bed.size(max(400, 2 * in_flight), 32))


async def delayed(_label: str, point: str) -> None:
    """What the store awaits before each commit."""
    if point == "commit":
        await asyncio.sleep(DELAY_S)


def key(in_flight: int) -> str:
    """The figure's name."""
    return f"slow flush, {in_flight:,} in flight"


def limit(in_flight: int, raw: Raw) -> float:
    """All runs in flight in each commit, and the commits one after another."""
    return in_flight / (DELAY_S + 1 / raw["rows/s, 1 a commit"])


WORKLOAD = Workload(
    name="slow",
    title="workflows of ten steps when a flush takes 1 ms more",
    figures=tuple(
        Figure(key(each), "steps/s", "higher", lambda raw, each=each: limit(each, raw)) for each in IN_FLIGHT
    ),
    measure=measure,
)
