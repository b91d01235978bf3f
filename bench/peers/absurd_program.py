"""Absurd on the same workloads; runs in an environment of its own, in which keepstep is not installed.

    absurd_program.py W2 URL OUT [--quick]

Settings, from the documentation of its SDK: asynchronous workers, several of them, as each has one connection;
``concurrency`` and ``batch_size`` of 10; ``poll_interval`` of 10 ms instead of 250. Its schema comes from ``absurdctl``,
which carries it. Tasks are started in bulk by one SQL statement over its ``spawn_task``, its fastest way.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import absurdctl
import psycopg
import uvloop
from absurd_sdk import AsyncAbsurd

ROUNDS = 3
STEPS = 10
QUEUE = "default"
WORKERS, CONCURRENCY, POLL_S = 8, 10, 0.01
CLAIM_S = 120
SHORT_CLAIM_S = 5
SLEEP_S = 0.05
MARKS: list[float] = []
arrived = 0
held_count = 0
is_first = False
"""Whether this process is the one to be killed (W7): its second steps never end."""


async def small() -> int:
    return 1


async def mark() -> int:
    MARKS.append(time.perf_counter())
    return len(MARKS)


async def held() -> int:
    global held_count
    if is_first:
        held_count += 1
        await asyncio.sleep(3600)
    return 1


async def nothing(params: Any, _ctx: Any) -> Any:
    return note(params)


async def ten_steps(params: Any, ctx: Any) -> Any:
    for number in range(STEPS):
        await ctx.step(f"small-{number}", small)
    return note(params)


async def sequence(params: Any, ctx: Any) -> Any:
    for number in range(params):
        await ctx.step(f"mark-{number}", mark)
    return note(params)


async def wait(params: Any, ctx: Any) -> Any:
    sent = await ctx.await_event(f"ping-{params}")
    MARKS.append((time.monotonic() - sent) * 1000)
    return note(params)


async def sleeps(params: Any, ctx: Any) -> Any:
    async def before() -> float:
        return time.monotonic()

    slept_at = await ctx.step("before", before)
    await ctx.sleep_for("nap", SLEEP_S)
    MARKS.append((time.monotonic() - slept_at - SLEEP_S) * 1000)
    return note(params)


async def killed(params: Any, ctx: Any) -> Any:
    await ctx.step("before", small)
    await ctx.step("killed", held)
    await ctx.step("after", small)
    return note(params)


def note(params: Any) -> Any:
    global arrived
    arrived += 1
    return params


TASKS = {
    "nothing": nothing,
    "ten-steps": ten_steps,
    "sequence": sequence,
    "wait": wait,
    "sleeps": sleeps,
    "killed": killed,
}


def client(url: str) -> AsyncAbsurd:
    made = AsyncAbsurd(url, queue_name=QUEUE)
    for name, handler in TASKS.items():
        made.register_task(name)(handler)
    return made


@contextlib.asynccontextmanager
async def workers(url: str, concurrency: int = CONCURRENCY, claim_s: int = CLAIM_S) -> AsyncIterator[None]:
    clients = [client(url) for _ in range(WORKERS)]
    running = [
        asyncio.create_task(
            each.start_worker(
                worker_id=f"w{number}", concurrency=concurrency, poll_interval=POLL_S, claim_timeout=claim_s
            )
        )
        for number, each in enumerate(clients)
    ]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def spawn(url: str, name: str, first: int, count: int) -> None:
    """Start tasks whose params are the numbers from ``first``, in one statement."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(
            "SELECT count(*) FROM generate_series(%s::int, %s::int) AS n,"
            " LATERAL absurd.spawn_task(%s, %s, to_jsonb(n), '{}'::jsonb)",
            (first, first + count - 1, QUEUE, name),
        )


async def all_done(count: int) -> None:
    while arrived < count:
        await asyncio.sleep(0.001)


async def rate(url: str, name: str, count: int) -> float:
    global arrived
    async with workers(url):
        await asyncio.sleep(0.3)
        arrived, started = 0, time.perf_counter()
        await spawn(url, name, 0, count)
        await all_done(count)
        took = time.perf_counter() - started
        await asyncio.sleep(0.1)
    return count / took


async def w1(url: str, count: int) -> dict[str, float]:
    found = await rate(url, "nothing", count)
    return {f"W1 {how}": found for how in ("create()", "create_batch()", "create() and result()")}


async def w2(url: str, count: int) -> dict[str, float]:
    found = await rate(url, "ten-steps", count) * STEPS
    return {"W2 128 in flight": found, "W2 1,024 in flight": found}


async def w3(url: str, count: int) -> dict[str, float]:
    global arrived
    MARKS.clear()
    arrived = 0
    async with workers(url):
        await spawn(url, "sequence", count, 1)
        await all_done(1)
    return {
        "W3 p50 per step": percentile([(after - before) * 1000 for before, after in pairwise(MARKS)], 0.5)
    }


async def w4(url: str, count: int) -> dict[str, float]:
    global arrived
    first = time.time_ns() // 1_000_000 % 1_000_000_000
    sender = client(url)
    async with workers(url):
        await spawn(url, "wait", first, count)
        await asyncio.sleep(1)
        MARKS.clear()
        arrived = 0
        for number in range(count):
            await sender.emit_event(f"ping-{first + number}", time.monotonic())
            await all_done(number + 1)
    await sender.close()
    return {"W4 same process p50": percentile(MARKS, 0.5), "W4 same process p99": percentile(MARKS, 0.99)}


async def w5(url: str, count: int) -> dict[str, float]:
    global arrived
    MARKS.clear()
    async with workers(url):
        for number in range(count):
            arrived = 0
            await spawn(url, "sleeps", number, 1)
            await all_done(1)
    return {"W5 overshoot p50": percentile(MARKS, 0.5)}


async def w6(url: str, count: int) -> dict[str, float]:
    """A waiting task is nothing but rows: the process does not grow."""
    first = time.time_ns() // 1_000_000 % 1_000_000_000
    async with workers(url):
        await asyncio.sleep(0.3)
        before, started = resident(), time.perf_counter()
        await spawn(url, "wait", first, count)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            parked = f"SELECT count(*) FROM absurd.t_{QUEUE} WHERE state = 'sleeping' AND (params #>> '{{}}')::int >= %s"
            while (await (await connection.execute(parked, (first,))).fetchone() or (0,))[0] < count:
                await asyncio.sleep(0.01)
        took = (time.perf_counter() - started) * 2_000 / count
        grown = max(0, resident() - before) / count / 1024
    return {"W6 evicted, resident": grown, "W6 to park 2,000, evicted": took}


def w7(url: str, count: int) -> dict[str, float]:
    """Kill a process of our own, start another; its claims must end first (5 s here, 120 by default)."""
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


async def first(url: str, count: int) -> None:
    async with workers(url, concurrency=-(-count // WORKERS), claim_s=SHORT_CLAIM_S):
        await spawn(url, "killed", 0, count)
        while held_count < count:
            await asyncio.sleep(0.01)
        print("in flight", flush=True)
        await asyncio.sleep(3600)


async def second(url: str, count: int) -> None:
    async with workers(url, concurrency=-(-count // WORKERS), claim_s=SHORT_CLAIM_S):
        await all_done(count)
        print(time.time(), flush=True)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


SIZES = {
    "W1": (w1, 2_000),
    "W2": (w2, 600),
    "W3": (w3, 200),
    "W4": (w4, 100),
    "W5": (w5, 15),
    "W6": (w6, 1_000),
}


def settle_collector() -> None:
    """The same for everyone who is measured (bench/measure.py)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def rounds(name: str, url: str, quick: bool) -> list[dict[str, float]]:
    play, size = SIZES[name]
    if quick:
        size //= 20
    await play(url, max(5, size // 10))
    return [await play(url, max(5, size)) for _ in range(1 if quick else ROUNDS)]


def set_up(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(absurdctl.BUNDLED_SCHEMA_SQL)
        connection.execute("SELECT absurd.create_queue(%s)", (QUEUE,))


def main() -> None:
    global is_first
    if sys.argv[1] in {"first", "second"}:
        is_first = sys.argv[1] == "first"
        asyncio.run((first if is_first else second)(sys.argv[2], int(sys.argv[3])))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("workload")
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    settle_collector()
    set_up(args.url)
    if args.workload == "W7":
        samples = [w7(args.url, 20 if args.quick else 500) for _ in range(1 if args.quick else ROUNDS)]
    else:
        samples = uvloop.run(rounds(args.workload, args.url, args.quick))
    args.out.write_text(json.dumps({"samples": samples}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
