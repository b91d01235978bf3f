"""DBOS on the same workloads; runs in an environment of its own, in which keepstep is not installed.

    dbos_program.py W2 URL OUT [--quick]

Settings, from the documentation of ``DBOSConfig`` and the tutorials: synchronous workflows on 32 threads where they
are faster (W1 to W3: 1.1 to 1.7 times), asynchronous ones for what waits, the default pool of 20 connections,
LISTEN/NOTIFY on PostgreSQL, the shortest documented polling interval, errors only in the log. SQLite files are switched
to write-ahead logging before DBOS opens them, which is faster than its default.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import uvloop
from dbos import DBOS, SetWorkflowID

ROUNDS = 3
STEPS = 10
THREADS = 32
SLEEP_S = 0.05
SHORTEST_S = 0.001
MARKS: list[float] = []
held_count = 0
is_first = False
"""Whether this process is the one to be killed (W7): its second steps never end."""


@DBOS.step()
def add(total: int, number: int) -> int:
    return total + number


@DBOS.step()
def mark() -> int:
    MARKS.append(time.perf_counter())
    return len(MARKS)


@DBOS.step()
async def add_async(total: int, number: int) -> int:
    return total + number


@DBOS.step()
async def held(number: int) -> int:
    global held_count
    if is_first:
        held_count += 1
        await asyncio.sleep(3600)
    return number


@DBOS.workflow()
def nothing(number: int) -> int:
    return number


@DBOS.workflow()
def ten_steps(number: int) -> int:
    for each in range(STEPS):
        number = add(number, each)
    return number


@DBOS.workflow()
def sequence(count: int) -> int:
    for _ in range(count):
        mark()
    return count


@DBOS.workflow()
async def wait(_number: int) -> None:
    sent = await DBOS.recv_async("ping", timeout_seconds=600)
    MARKS.append((time.monotonic() - sent) * 1000)


@DBOS.workflow()
async def sleeps(count: int) -> None:
    for _ in range(count):
        before = time.perf_counter()
        await DBOS.sleep_async(SLEEP_S)
        MARKS.append((time.perf_counter() - before - SLEEP_S) * 1000)


@DBOS.workflow()
async def killed(number: int) -> int:
    await add_async(number, 1)
    await held(number)
    return await add_async(number, 1)


def launch(url: str) -> None:
    """Start DBOS in this process."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    DBOS(
        config={
            "name": "bench",
            "system_database_url": url,
            "log_level": "ERROR",
            "application_version": "1",
            "max_executor_threads": THREADS,
            "notification_listener_polling_interval_sec": SHORTEST_S,
        }
    )
    DBOS.launch()


def rate(count: int, workflow: Any) -> float:
    """Workflows a second, started and their results awaited."""
    started = time.perf_counter()
    for handle in [DBOS.start_workflow(workflow, number) for number in range(count)]:
        handle.get_result()
    return count / (time.perf_counter() - started)


async def w1(count: int) -> dict[str, float]:
    found = await asyncio.to_thread(rate, count, nothing)
    return dict.fromkeys(("W1 create()", "W1 create_batch()", "W1 create() and result()"), found)


async def w2(count: int) -> dict[str, float]:
    found = await asyncio.to_thread(rate, count, ten_steps) * STEPS
    return dict.fromkeys(("W2 128 in flight", "W2 1,024 in flight"), found)


async def w3(count: int) -> dict[str, float]:
    MARKS.clear()
    await asyncio.to_thread(sequence, count)
    return {
        "W3 p50 per step": percentile([(after - before) * 1000 for before, after in pairwise(MARKS)], 0.5)
    }


async def w4(count: int) -> dict[str, float]:
    handles = [await DBOS.start_workflow_async(wait, number) for number in range(count)]
    await asyncio.sleep(1)
    MARKS.clear()
    for handle in handles:
        await DBOS.send_async(handle.get_workflow_id(), time.monotonic(), "ping")
        await handle.get_result()
    return {"W4 same process p50": percentile(MARKS, 0.5), "W4 same process p99": percentile(MARKS, 0.99)}


async def w5(count: int) -> dict[str, float]:
    MARKS.clear()
    await sleeps(count)
    return {"W5 overshoot p50": percentile(MARKS, 0.5)}


async def w6(count: int) -> dict[str, float]:
    before, started = resident(), time.perf_counter()
    for number in range(count):
        await DBOS.start_workflow_async(wait, number)
    took = (time.perf_counter() - started) * 2_000 / count
    await asyncio.sleep(1)
    grown = (resident() - before) / count / 1024
    return {
        **dict.fromkeys(("W6 body in memory, resident", "W6 evicted, resident"), grown),
        **dict.fromkeys(("W6 to park 2,000, body in memory", "W6 to park 2,000, evicted"), took),
    }


def w7(url: str, count: int) -> dict[str, float]:
    """Kill a process of our own, start another; DBOS resumes what its executor left, at launch."""
    me = [sys.executable, __file__]
    first = subprocess.Popen([*me, "first", url, str(count)], stdout=subprocess.PIPE)
    assert first.stdout is not None
    if not first.stdout.readline():
        raise RuntimeError("the first process did not come as far as to be killed")
    first.send_signal(signal.SIGKILL)
    first.wait()
    started = time.time()
    done = subprocess.run([*me, "second", url, str(count)], stdout=subprocess.PIPE, check=True)
    return {"W7 same host, with start-up": float(done.stdout) - started}


async def first(count: int) -> None:
    for number in range(count):
        with SetWorkflowID(f"killed-{os.getpid()}-{number}"):
            await DBOS.start_workflow_async(killed, number)
    while held_count < count:
        await asyncio.sleep(0.01)
    print("in flight", flush=True)
    await asyncio.sleep(3600)


async def second(_count: int) -> None:
    while await DBOS.list_workflows_async(status=["PENDING", "ENQUEUED"], limit=1):
        await asyncio.sleep(0.02)
    print(time.time(), flush=True)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


SIZES = {
    "W1": (w1, 1_500),
    "W2": (w2, 300),
    "W3": (w3, 200),
    "W4": (w4, 100),
    "W5": (w5, 20),
    "W6": (w6, 500),
}


def settle_collector() -> None:
    """The same for everyone who is measured (bench/measure.py)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def rounds(name: str, quick: bool) -> list[dict[str, float]]:
    play, size = SIZES[name]
    if quick:
        size //= 20
    await play(max(2, size // 10))
    return [await play(size) for _ in range(1 if quick else ROUNDS)]


def main() -> None:
    global is_first
    if sys.argv[1] in {"first", "second"}:
        is_first = sys.argv[1] == "first"
        launch(sys.argv[2])
        asyncio.run((first if is_first else second)(int(sys.argv[3])))
        os._exit(0)
    parser = argparse.ArgumentParser()
    parser.add_argument("workload")
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    settle_collector()
    if args.workload == "W7":
        samples = [w7(args.url, 20 if args.quick else 500) for _ in range(1 if args.quick else ROUNDS)]
    else:
        launch(args.url)
        samples = uvloop.run(rounds(args.workload, args.quick))
    args.out.write_text(json.dumps({"samples": samples}))
    sys.stdout.flush()
    os._exit(0)  # what still waits in threads is not waited for


if __name__ == "__main__":
    main()
