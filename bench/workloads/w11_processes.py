"""W11: one, two and four runner processes on one PostgreSQL, and which share of the cores works meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from bench import loops
from bench.watch import create_all, none_is
from bench.workload import Bed, Figure, Sample, Workload, rows_100
from bench.workloads.w02_ten_steps import STEPS, ten_steps
from keepstep import App, Status

PROCESSES = (1, 2, 4)
LOOK_S = 0.02


async def measure(bed: Bed) -> list[Sample]:
    """The same runs, waiting in the database, for each number of processes."""
    app = bed.app(ten_steps, dispatcher=None)
    await app.migrate()
    async with started(bed.url, max(PROCESSES)) as runners:

        async def play(count: int) -> Sample:
            sample: Sample = {}
            for processes in PROCESSES:
                sample |= await played(app, runners[:processes], count)
            for processes in PROCESSES[1:]:
                sample[f"{key(processes)} / 1"] = sample[key(processes)] / sample[key(1)]
            return sample

        samples = await bed.rounds(play, bed.size(3_000, 100))
    await app.stop()
    return samples


async def played(app: App[Any], runners: list[Process], count: int) -> Sample:
    """Steps a second of these runners, and how many cores worked meanwhile, for whomever."""
    binding = app.binding(ten_steps)
    await create_all(binding, count)
    busy, began = busy_s(), time.perf_counter()
    for runner in runners:
        tell(runner)
    await none_is(binding, Status.ACTIVE, LOOK_S)
    took, busy = time.perf_counter() - began, busy_s() - busy
    for runner in runners:
        tell(runner)
        await heard(runner)
    name = key(len(runners))
    return {name: count * STEPS / took, f"{name}, cores busy": busy / took}


def key(processes: int) -> str:
    """The figure's name."""
    return f"W11 {processes} process{'es' if processes > 1 else ''}"


@contextlib.asynccontextmanager
async def started(url: str, processes: int) -> AsyncGenerator[list[Process]]:
    """Processes that have imported everything and wait for the word; they are ended afterwards."""
    pipe = asyncio.subprocess.PIPE
    runners = [
        await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, url, stdin=pipe, stdout=pipe)
        for _ in range(processes)
    ]
    try:
        for runner in runners:
            await heard(runner)
        yield runners
    finally:
        for runner in runners:
            assert runner.stdin is not None
            runner.stdin.close()
            await runner.wait()


def tell(runner: Process) -> None:
    """Have a process begin to run, or stop."""
    assert runner.stdin is not None
    runner.stdin.write(b"go\n")


async def heard(runner: Process) -> None:
    """Wait until a process is ready: it has started, or it has stopped running."""
    assert runner.stdout is not None
    await runner.stdout.readline()


async def run(url: str) -> None:
    """What a runner process does: run and stop by turns, until its input ends."""
    app = Bed(url).app(ten_steps)
    loop = asyncio.get_running_loop()
    print("ready", flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        async with app.running(migrate=False):
            await loop.run_in_executor(None, sys.stdin.readline)
        print("ready", flush=True)


def busy_s() -> float:
    """Seconds that all cores have worked since boot, for whomever."""
    user, nice, system, *_ = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    return (int(user) + int(nice) + int(system)) / 100


WORKLOAD = Workload(
    name="W11",
    title="runner processes on one PostgreSQL, workflows of ten steps",
    figures=tuple(
        figure
        for processes in PROCESSES
        for figure in (
            Figure(key(processes), "steps/s", "higher", rows_100),
            *([Figure(f"{key(processes)} / 1", "×", "higher")] if processes > 1 else []),
            Figure(f"{key(processes)}, cores busy", "cores", "lower"),
        )
    ),
    measure=measure,
    databases=("postgresql",),
    timeout_s=240,
)

if __name__ == "__main__":
    loops.run(run(sys.argv[1]))
