"""W7: 500 runs in flight, kill -9, a new process finishes all.

(a) on the same host, where the dead process is recognised; (b) as if on another host, so that its lease must expire:
its row in ``keepstep_runner`` is given another host's name, which is all by which a process is recognised.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from bench.databases import execute
from bench.workload import Bed, Figure, Sample, Workload


async def measure(bed: Bed) -> list[Sample]:
    """Kill and start again, in both ways, with processes of their own."""

    async def play(count: int) -> Sample:
        return {
            "W7 same host, with start-up": await same_host(bed.url, count),
            "W7 beyond the lease": await beyond_lease(bed.url, count),
        }

    return await bed.rounds(play, bed.size(500, 20))


async def same_host(url: str, count: int) -> float:
    """Seconds from the start of the new process until all have ended."""
    await start_and_kill(url, count)
    started = time.time()
    return await finish(url, count) - started


async def beyond_lease(url: str, count: int) -> float:
    """Seconds from the end of the dead process's lease until all have ended."""
    await start_and_kill(url, count)
    moved = "UPDATE keepstep_runner SET host = 'elsewhere'"
    ((lease_ends,),) = execute(url, moved, "SELECT max(locked_until) FROM keepstep_runner")
    return await finish(url, count) - lease_ends / 1000


async def start_and_kill(url: str, count: int) -> None:
    """Bring runs into flight in a process, and kill that."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.killed", "first", url, str(count), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    if not await process.stdout.readline():
        raise RuntimeError("the first process did not come as far as to be killed")
    process.send_signal(signal.SIGKILL)
    await process.wait()


async def finish(url: str, count: int) -> float:
    """Let a new process finish; when (on the wall clock) it had."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.killed", "second", url, str(count), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the second process did not finish")
    return float(out)


WORKLOAD = Workload(
    name="W7",
    title="500 runs in flight, kill -9, a new process finishes all",
    figures=(
        Figure("W7 same host, with start-up", "s", "lower"),
        Figure("W7 beyond the lease", "s", "lower"),
    ),
    measure=measure,
    peers=True,
)
