"""W8: replay of 1,000 recorded steps: the body alone, and an evicted run that an event wakes."""

from __future__ import annotations

import time

from bench.replays import recorded_run, replay_ms
from bench.watch import Countdown, none_is
from bench.workload import Bed, Figure, Sample, Workload
from keepstep import EventModel, Status, WorkflowEvent, WorkflowStep, workflow

TOOK_MS: list[float] = []
RESUMED = Countdown()


class Ping(EventModel, type="ping"):
    """Wakes an evicted run."""

    sent: float


async def result(number: int) -> dict[str, int]:
    """A step with a small result."""
    return {"number": number}


@workflow(name="bench-replay", events=[Ping])
async def replayed(event: WorkflowEvent[int], step: WorkflowStep) -> None:
    """Many steps, then an event."""
    for number in range(event.payload):
        await step.do("result", result, number)
    ping = await step.wait_for_event("ping", Ping)
    TOOK_MS.append((time.perf_counter() - ping.payload.sent) * 1000)
    RESUMED.one()


async def measure(bed: Bed) -> list[Sample]:
    """The body alone does not touch the database; the woken run reads its history."""
    async with bed.app(replayed, cache=0).running() as app:
        binding = app.binding(replayed)

        async def play(count: int) -> Sample:
            recorded = recorded_run(count)
            instance = await binding.create(params=count)
            await none_is(binding, Status.ACTIVE)
            RESUMED.expect(1)
            await instance.send_event(Ping(sent=time.perf_counter()))
            await RESUMED.done()
            return {"W8 body alone": replay_ms(recorded), "W8 event to an evicted run": TOOK_MS[-1]}

        return await bed.rounds(play, bed.size(1_000, 100))


WORKLOAD = Workload(
    name="W8",
    title="replay of 1,000 recorded steps",
    figures=(
        Figure("W8 body alone", "ms", "lower"),
        Figure("W8 event to an evicted run", "ms", "lower"),
    ),
    measure=measure,
)
