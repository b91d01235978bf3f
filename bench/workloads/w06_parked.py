"""W6: memory of a run that waits, with its body in memory and evicted, and the time to park 2,000."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from pathlib import Path
from typing import Any

from bench.watch import create_all, none_is
from bench.workload import Bed, Figure, Raw, Sample, Workload
from keepstep import Binding, EventModel, Status, WorkflowEvent, WorkflowStep, workflow

RUNS = 2_000
PAGE = 4096
SETTLE_S = 0.2
"""What is durable is let go of a moment later, where a commit has its own thread."""


class Never(EventModel, type="never"):
    """Nobody sends it."""


@workflow(name="bench-park", events=[Never])
async def park(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Wait for an event that does not come."""
    number = event.payload
    await step.wait_for_event("never", Never)
    return number


async def measure(bed: Bed) -> list[Sample]:
    """With the default cache, then without one."""
    kept = await parked(bed, 100_000, "body in memory")
    evicted = await parked(bed, 0, "evicted")
    return [one | other for one, other in zip(kept, evicted, strict=True)]


async def parked(bed: Bed, cache: int, where: str) -> list[Sample]:
    """Memory and time of the rounds with this cache."""
    async with bed.app(park, cache=cache).running() as app:
        binding = app.binding(park)

        async def play(count: int) -> Sample:
            before = resident()
            took = await timed(binding, count)
            grown = (resident() - before) / count / 1024
            tracemalloc.start()
            before = traced()
            await timed(binding, count)
            await asyncio.sleep(SETTLE_S)
            held = (traced() - before) / count / 1024
            tracemalloc.stop()
            return {
                f"W6 {where}": held,
                f"W6 {where}, resident": grown,
                f"W6 to park {RUNS:,}, {where}": took * RUNS / count,
            }

        return await bed.rounds(play, bed.size(RUNS, 100))


async def timed(binding: Binding[Any, Any], count: int) -> float:
    """Seconds from the first create until all are parked."""
    started = time.perf_counter()
    await create_all(binding, count)
    await none_is(binding, Status.ACTIVE)
    return time.perf_counter() - started


def traced() -> int:
    """Bytes that Python objects hold."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def resident() -> int:
    """Bytes of this process in memory, the database's page cache included."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def parking_s(raw: Raw) -> float:
    """The limit of parking: each run is two rows."""
    return 2 * RUNS / raw["rows/s, 100 a commit"]


WORKLOAD = Workload(
    name="W6",
    title="a run that waits: its memory, and the time to park 2,000",
    figures=(
        Figure("W6 body in memory", "KiB", "lower"),
        Figure("W6 evicted", "KiB", "lower"),
        Figure("W6 body in memory, resident", "KiB", "lower"),
        Figure("W6 evicted, resident", "KiB", "lower"),
        Figure("W6 to park 2,000, body in memory", "s", "lower", parking_s),
        Figure("W6 to park 2,000, evicted", "s", "lower", parking_s),
    ),
    measure=measure,
    peers=True,
)
