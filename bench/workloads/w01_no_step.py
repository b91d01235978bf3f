"""W1: workflows without a step, started and finished; at least 128 in flight."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.watch import Countdown, create_all, in_lanes, none_is
from bench.workload import Bed, Figure, Sample, Workload, rows_100
from keepstep import Binding, Status, WorkflowEvent, WorkflowStep, workflow

LANES = 256
ARRIVED = Countdown()


@workflow(name="bench-nothing")
async def nothing(event: WorkflowEvent[int], step: WorkflowStep) -> int:  # noqa: ARG001  # a body has these arguments
    """Return at once."""
    ARRIVED.one()
    return event.payload


async def measure(bed: Bed) -> list[Sample]:
    """Three ways to start: one create() each, in batches, and with each result awaited."""
    async with bed.app(nothing).running() as app:
        binding = app.binding(nothing)

        async def play(count: int) -> Sample:
            cpu = time.process_time()
            singles = await rate(binding, count, singly)
            cpu = time.process_time() - cpu
            return {
                "W1 create()": singles,
                "W1 create_batch()": await rate(binding, count, create_all),
                "W1 create() and result()": await rate(binding, count // 2, with_results),
                "W1 CPU of a workflow": cpu / count * 1_000_000,
            }

        return await bed.rounds(play, bed.size(8_000, 200))


async def rate(binding: Binding[int, int], count: int, start: Callable[[Any, int], Awaitable[Any]]) -> float:
    """Workflows a second from the first create to the last durable end."""
    ARRIVED.expect(count)
    started = time.perf_counter()
    await start(binding, count)
    await ARRIVED.done()
    await none_is(binding, Status.ACTIVE)
    return count / (time.perf_counter() - started)


async def singly(binding: Binding[int, int], count: int) -> None:
    """One create() a workflow."""
    await in_lanes(LANES, [lambda number=number: binding.create(params=number) for number in range(count)])


async def with_results(binding: Binding[int, int], count: int) -> None:
    """One create() a workflow, and its result() awaited."""

    async def one(number: int) -> int:
        return await (await binding.create(params=number)).result()

    await in_lanes(LANES, [lambda number=number: one(number) for number in range(count)])


WORKLOAD = Workload(
    name="W1",
    title="workflows without a step, started and finished, 256 or more in flight",
    figures=(
        Figure("W1 create()", "workflows/s", "higher", rows_100),
        Figure("W1 create_batch()", "workflows/s", "higher", rows_100),
        Figure("W1 create() and result()", "workflows/s", "higher", rows_100),
        Figure("W1 CPU of a workflow", "µs", "lower"),
    ),
    measure=measure,
    peers=True,
)
