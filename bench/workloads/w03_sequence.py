"""W3: one workflow of 200 steps in sequence: what a step costs when nothing else runs."""

from __future__ import annotations

import time
from itertools import pairwise

from bench.workload import Bed, Figure, Sample, Workload, commit_ms, percentile
from keepstep import WorkflowEvent, WorkflowStep, workflow

CALLED_AT: list[float] = []


async def mark() -> int:
    """Note when the step was called."""
    CALLED_AT.append(time.perf_counter())
    return len(CALLED_AT)


@workflow(name="bench-sequence")
async def sequence(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """As many steps as the params say."""
    for _ in range(event.payload):
        await step.do("mark", mark)
    return event.payload


async def measure(bed: Bed) -> list[Sample]:
    """From one step's call to the next one's."""
    async with bed.app(sequence).running() as app:
        binding = app.binding(sequence)

        async def play(count: int) -> Sample:
            CALLED_AT.clear()
            await (await binding.create(params=count)).result()
            gaps = [(after - before) * 1000 for before, after in pairwise(CALLED_AT)]
            return {"W3 p50 per step": percentile(gaps, 0.5)}

        return await bed.rounds(play, bed.size(200, 50))


WORKLOAD = Workload(
    name="W3",
    title="one workflow of 200 steps in sequence",
    figures=(Figure("W3 p50 per step", "ms", "lower", commit_ms),),
    measure=measure,
    peers=True,
)
