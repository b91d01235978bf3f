"""The processes of W7: one brings runs into flight and is killed, one goes on. Imports nothing but what a host has.

``python -m bench.killed first URL COUNT``, then ``second``.
"""

from __future__ import annotations

import asyncio
import sys
import time

from bench.watch import Countdown, create_all, none_is
from bench.workload import Bed
from keepstep import Status, WorkflowEvent, WorkflowStep, workflow

LEASE = "2 seconds"
IN_FLIGHT, ARRIVED = Countdown(), Countdown()
held_up = False
"""Whether this process is the one to be killed: its second steps never end."""


async def quick(number: int) -> int:
    """A step that costs nothing itself."""
    return number


async def held(number: int) -> int:
    """A step that the process to be killed never ends."""
    if held_up:
        IN_FLIGHT.one()
        await asyncio.sleep(3600)
    return number


@workflow(name="bench-killed")
async def killed(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Three steps; the kill comes in the second."""
    await step.do("before", quick, event.payload)
    await step.do("killed", held, event.payload)
    await step.do("after", quick, event.payload)
    ARRIVED.one()
    return event.payload


async def first(url: str, count: int) -> None:
    """The process that is killed."""
    IN_FLIGHT.expect(count)
    async with Bed(url).app(killed, lease=LEASE).running() as app:
        await create_all(app.binding(killed), count)
        await IN_FLIGHT.done()
        print("in flight", flush=True)
        await asyncio.sleep(3600)


async def second(url: str, count: int) -> None:
    """The process that goes on."""
    ARRIVED.expect(count)
    async with Bed(url).app(killed, lease=LEASE).running() as app:
        await ARRIVED.done()
        await none_is(app.binding(killed), Status.ACTIVE)
        print(time.time(), flush=True)


if __name__ == "__main__":
    held_up = sys.argv[1] == "first"
    asyncio.run((first if held_up else second)(sys.argv[2], int(sys.argv[3])))
