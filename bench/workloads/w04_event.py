"""W4: an event sent to a waiting workflow, until its body goes on; sent by the same process and by another one."""

from __future__ import annotations

import asyncio
import sys
import time

from bench import loops
from bench.watch import Countdown, create_all, none_is
from bench.workload import Bed, Figure, Sample, Workload, commit_ms, percentile
from keepstep import EventModel, Status, WorkflowEvent, WorkflowStep, workflow

PAUSE_S = 0.005
TOOK_MS: list[float] = []
RESUMED = Countdown()


class Ping(EventModel, type="ping"):
    """Carries when it was sent, on the clock that all processes of a host share."""

    sent: float


@workflow(name="bench-wait", events=[Ping])
async def wait(event: WorkflowEvent[int], step: WorkflowStep) -> None:  # noqa: ARG001  # a body has these arguments
    """Wait for one event, and note how long it took to come here."""
    ping = await step.wait_for_event("ping", Ping)
    TOOK_MS.append((time.monotonic() - ping.payload.sent) * 1000)
    RESUMED.one()


async def measure(bed: Bed) -> list[Sample]:
    """Events one after another, each to an instance that is parked."""
    number = 0
    async with bed.app(wait).running() as app:
        binding = app.binding(wait)

        async def play(count: int) -> Sample:
            nonlocal number
            number += 1
            sample: Sample = {}
            for where in ("same", "other") if bed.dialect == "postgresql" else ("same",):
                prefix = f"{where}-{number}-"
                parked = await create_all(binding, count, prefix)
                await none_is(binding, Status.ACTIVE)
                TOOK_MS.clear()
                if where == "same":
                    for instance in parked:
                        RESUMED.expect(1)
                        await instance.send_event(Ping(sent=time.monotonic()))
                        await RESUMED.done()
                else:
                    RESUMED.expect(count)
                    await send_elsewhere(bed.url, prefix, count)
                    await RESUMED.done()
                sample[f"W4 {where} process p50"] = percentile(TOOK_MS, 0.50)
                sample[f"W4 {where} process p99"] = percentile(TOOK_MS, 0.99)
            return sample

        return await bed.rounds(play, bed.size(400, 20))


async def send_elsewhere(url: str, prefix: str, count: int) -> None:
    """Send from a process of its own."""
    sender = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, url, prefix, str(count))
    if await sender.wait():
        raise RuntimeError("the sending process failed")


async def send(url: str, prefix: str, count: int) -> None:
    """What the other process does: it has no runner, it only sends."""
    app = Bed(url).app(wait, dispatcher=None)
    binding = app.binding(wait)
    for number in range(count):
        await binding.instance(f"{prefix}{number}").send_event(Ping(sent=time.monotonic()))
        await asyncio.sleep(PAUSE_S)
    await app.stop()


WORKLOAD = Workload(
    name="W4",
    title="event sent to a parked workflow, until its body goes on",
    figures=(
        Figure("W4 same process p50", "ms", "lower", commit_ms),
        Figure("W4 same process p99", "ms", "lower", commit_ms),
        Figure("W4 other process p50", "ms", "lower", commit_ms),
        Figure("W4 other process p99", "ms", "lower", commit_ms),
    ),
    measure=measure,
    peers=True,
)

if __name__ == "__main__":
    loops.run(send(sys.argv[1], sys.argv[2], int(sys.argv[3])))
