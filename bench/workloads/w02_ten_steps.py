"""W2: workflows of ten steps; 128 and 1,024 in flight."""

from __future__ import annotations

import time
from functools import reduce
from operator import or_
from typing import Any

from bench.seams import set_gate
from bench.watch import Countdown, create_all, none_is
from bench.workload import Bed, Figure, Sample, Workload, rows_100
from keepstep import App, Status, WorkflowEvent, WorkflowStep, workflow

STEPS = 10
ARRIVED = Countdown()


async def add(total: int, number: int) -> int:
    """A step that costs nothing itself."""
    return total + number


@workflow(name="bench-ten-steps")
async def ten_steps(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Ten steps, one after another."""
    total = event.payload
    for number in range(STEPS):
        total = await step.do("add", add, total, number)
    ARRIVED.one()
    return total


async def measure(bed: Bed) -> list[Sample]:
    """Steps a second, from the first create to the last durable end; what they cost; and how many share a commit."""
    found = [await steps_per_second(bed, in_flight) for in_flight in (128, 1024)]
    found.append(await commits_per_step(bed))
    return [reduce(or_, samples) for samples in zip(*found, strict=True)]


async def steps_per_second(bed: Bed, in_flight: int) -> list[Sample]:
    """The rounds with this many runs in hand."""
    async with bed.app(ten_steps, concurrency=in_flight).running() as app:

        async def play(count: int) -> Sample:
            started, cpu = time.perf_counter(), time.process_time()
            await run_all(app, count)
            took, cpu = time.perf_counter() - started, time.process_time() - cpu
            steps = count * STEPS
            return {
                f"W2 {in_flight:,} in flight": steps / took,
                f"W2 CPU of a step, {in_flight:,} in flight": cpu / steps * 1_000_000,
            }

        return await bed.rounds(play, bed.size(2_500, 100))


async def commits_per_step(bed: Bed) -> list[Sample]:
    """The rounds with 50 runs in hand, their commits counted."""
    async with bed.app(ten_steps, concurrency=50).running() as app:
        commits = 0

        async def count_commits(_label: str, point: str) -> None:
            nonlocal commits
            commits += point == "committed"

        set_gate(app, count_commits)

        async def play(count: int) -> Sample:
            nonlocal commits
            commits = 0
            await run_all(app, count)
            return {"W2 commits a step, 50 in flight": commits / count / STEPS}

        return await bed.rounds(play, bed.size(500, 50))


async def run_all(app: App[Any], count: int) -> None:
    """Create runs, and wait until the last has ended durably."""
    binding = app.binding(ten_steps)
    ARRIVED.expect(count)
    await create_all(binding, count)
    await ARRIVED.done()
    await none_is(binding, Status.ACTIVE)


WORKLOAD = Workload(
    name="W2",
    title="workflows of ten steps",
    figures=(
        Figure("W2 128 in flight", "steps/s", "higher", rows_100),
        Figure("W2 1,024 in flight", "steps/s", "higher", rows_100),
        Figure("W2 CPU of a step, 128 in flight", "µs", "lower"),
        Figure("W2 CPU of a step, 1,024 in flight", "µs", "lower"),
        Figure("W2 commits a step, 50 in flight", "commits", "lower"),
    ),
    measure=measure,
    peers=True,
)
