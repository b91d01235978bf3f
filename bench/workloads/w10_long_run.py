"""W10: what a step costs in a run of 10,000, against a run of 1,000."""

from __future__ import annotations

import time

from bench.replays import recorded_run, replay_ms
from bench.workload import Bed, Figure, Sample, Workload, commit_ms
from keepstep import Binding, Limits, WorkflowEvent, WorkflowStep, workflow

TIMES = 10


async def small(number: int) -> int:
    """A step that costs nothing itself."""
    return number


@workflow(name="bench-long")
async def long(event: WorkflowEvent[int], step: WorkflowStep) -> None:
    """As many steps as the params say."""
    for number in range(event.payload):
        await step.do("small", small, number)


async def measure(bed: Bed) -> list[Sample]:
    """A short run, a long run, and replays of both."""
    async with bed.app(long, limits=Limits(steps_max=1_000_000)).running() as app:
        binding = app.binding(long)

        async def play(count: int) -> Sample:
            short, full = await per_step_ms(binding, count), await per_step_ms(binding, count * TIMES)
            replays = replay_ms(recorded_run(count * TIMES)) / replay_ms(recorded_run(count)) / TIMES
            return {
                "W10 step of 10,000": full,
                "W10 step of 10,000 / of 1,000": full / short,
                "W10 replayed step of 10,000 / of 1,000": replays,
            }

        return await bed.rounds(play, bed.size(1_000, 20))


async def per_step_ms(binding: Binding[int, None], steps: int) -> float:
    """Milliseconds a step, from create to result."""
    started = time.perf_counter()
    await (await binding.create(params=steps)).result()
    return (time.perf_counter() - started) * 1000 / steps


WORKLOAD = Workload(
    name="W10",
    title="a step in a run of 10,000 steps, against one in a run of 1,000",
    figures=(
        Figure("W10 step of 10,000", "ms", "lower", commit_ms),
        Figure("W10 step of 10,000 / of 1,000", "×", "lower"),
        Figure("W10 replayed step of 10,000 / of 1,000", "×", "lower"),
    ),
    measure=measure,
)
