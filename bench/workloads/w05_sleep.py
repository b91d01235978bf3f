"""W5: how much longer than 50 ms a durable sleep of 50 ms takes."""

from __future__ import annotations

import time

from bench.workload import Bed, Figure, Sample, Workload, commit_ms, percentile
from keepstep import WorkflowEvent, WorkflowStep, workflow

SLEEP_MS = 50
OVERSHOOT_MS: list[float] = []


@workflow(name="bench-sleep")
async def sleep(event: WorkflowEvent[int], step: WorkflowStep) -> None:
    """Sleep, several times over."""
    for _ in range(event.payload):
        before = time.perf_counter()
        await step.sleep("nap", "50 ms")
        OVERSHOOT_MS.append((time.perf_counter() - before) * 1000 - SLEEP_MS)


async def measure(bed: Bed) -> list[Sample]:
    """From the await to the body's next line, less the 50 ms."""
    async with bed.app(sleep).running() as app:
        binding = app.binding(sleep)

        async def play(count: int) -> Sample:
            OVERSHOOT_MS.clear()
            await (await binding.create(params=count)).result()
            return {"W5 overshoot p50": percentile(OVERSHOOT_MS, 0.5)}

        return await bed.rounds(play, bed.size(40, 5))


WORKLOAD = Workload(
    name="W5",
    title="durable sleep of 50 ms, overshoot",
    figures=(Figure("W5 overshoot p50", "ms", "lower", commit_ms),),
    measure=measure,
    peers=True,
)
