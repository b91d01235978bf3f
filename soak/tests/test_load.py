"""The edges of load: very many due runs, resuming work before new, a thread that blocks, a storm of events."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from pathlib import Path
from typing import Any

from keepstep import App, RunnerOptions, WorkflowEvent, WorkflowStep, workflow
from soak.client import client_of
from soak.multiply import multiply_events, multiply_runs
from soak.processes import fleet, until
from soak.rows import count, rows

MANY, FEW = 100_000, 1_000
IN_HAND = 200
DONE = "SELECT count(*) FROM keepstep_run WHERE status = 'complete'"
OWNED = "SELECT count(*) FROM keepstep_task WHERE owner IS NOT NULL"


async def peak_memory(database: str, folder: Path, backlog: int) -> int:
    """A runner's peak memory, in the system's unit, after it has worked on a backlog for a while."""
    async with client_of(database) as client:
        await client.create("walk", [0])
        multiply_runs(database, "walk-0", backlog)
        with fleet(database, folder, "--concurrency", str(IN_HAND), "--drain", "1s") as runners:
            (runner,) = await runners.started(1)
            held: list[int] = []

            def enough() -> bool:
                held.append(count(database, OWNED))
                return count(database, DONE) >= FEW // 2

            await until(enough, "hundreds of runs have ended")
            runners.end()
            assert 0 < max(held) <= IN_HAND
            found = re.search(r"peak memory: (\d+)", runner.text)
            assert found, runner.text
            return int(found[1])


async def test_memory_does_not_grow_with_what_is_due(postgres_databases: Any, tmp_path: Path) -> None:
    """B2: of 100,000 due runs a runner holds no more than it may, and needs no more memory than for a thousand."""
    peaks = {}
    for backlog in (FEW, MANY):
        for_file, for_server = (tmp_path / f"{name}-{backlog}" for name in ("file", "server"))
        for_file.mkdir()
        for_server.mkdir()
        with postgres_databases() as database:
            peaks[backlog] = (
                await peak_memory(f"sqlite:///{for_file}/keepstep.db", for_file, backlog),
                await peak_memory(database, for_server, backlog),
            )
    for few, many in zip(peaks[FEW], peaks[MANY], strict=True):
        assert many < 1.3 * few, f"{few} for {FEW} due runs, {many} for {MANY}"


async def quick(number: int) -> int:
    """A step that takes a little."""
    await asyncio.sleep(0.005)
    return number


@workflow(name="queued")
async def queued(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """One of very many."""
    return await step.do("quick", quick, event.payload)


@workflow(name="resumed")
async def resumed(event: WorkflowEvent[None], step: WorkflowStep) -> int:
    """Wait for a word, then go on."""
    await step.wait_for_event("word", "word", timeout="1 hour")
    return await step.do("quick", quick, 1)


async def test_resuming_work_passes_the_queue_of_new_runs(database_url: str) -> None:
    """B2: a run that an event resumes ends while thousands of new runs, due long before it, still wait for their turn."""
    workflows = {"QUEUED": queued, "RESUMED": resumed}
    client = App(database_url, workflows=workflows, dispatcher=None)
    await client.migrate()
    waiting = await client.workflows.RESUMED.create("waits")
    await client.tick()
    await client.workflows.QUEUED.create("queued", params=1)
    multiply_runs(database_url, "queued", 5_000)
    runner = App(database_url, workflows=workflows, runner=RunnerOptions(concurrency=10))
    async with runner.running():
        await until(lambda: count(database_url, DONE) > 10, "the runner works on its queue")
        await waiting.send_event("word")
        assert await waiting.result(timeout=20) == 1
        assert count(database_url, "SELECT count(*) FROM keepstep_task") > 1_000
    await client.stop()


go_on = threading.Event()


def blocks() -> int:
    """Keep a thread of the pool for as long as the test likes."""
    assert go_on.wait(60)
    return 1


def glance() -> int:
    """A thread's step that ends at once."""
    return 2


@workflow(name="stuck")
async def stuck(event: WorkflowEvent[None], step: WorkflowStep) -> int:
    """Block a thread."""
    return await step.do("blocks", blocks)


@workflow(name="mixed")
async def mixed(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """One step of each colour."""
    return await step.do("quick", quick, event.payload) + await step.do("glance", glance)


async def test_a_step_that_blocks_a_thread_stops_nobody_else(database_url: str) -> None:
    """A4, B4: while a callback blocks its thread, other steps of both colours run and the lease is renewed."""
    go_on.clear()
    options = RunnerOptions(sync_steps_max=2, lease="1 second")
    app = App(database_url, workflows={"STUCK": stuck, "MIXED": mixed}, runner=options)
    async with app.running():
        blocked = await app.workflows.STUCK.create("blocked")
        leases = "SELECT locked_until FROM keepstep_runner"
        first = rows(database_url, leases)
        await until(lambda: rows(database_url, leases) > first, "the lease has been renewed")
        made = await app.workflows.MIXED.create_batch({"params": n} for n in range(100))
        assert [await each.result(timeout=30) for each in made] == [n + 2 for n in range(100)]
        second = rows(database_url, leases)
        await until(lambda: rows(database_url, leases) > second, "the lease has been renewed again")
        assert (await blocked.details()).status == "active"
        go_on.set()
        assert await blocked.result(timeout=30) == 1
    assert (
        count(database_url, "SELECT count(*) FROM keepstep_run_step WHERE key = 'do:blocks' AND attempt = 1")
        == 1
    )


@workflow(name="sink")
async def sink(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Take so many events."""
    total = 0
    for _ in range(event.payload):
        total += (await step.wait_for_event("drop", "drop", timeout=None)).payload
    return total


async def storm(database: str, events: int) -> float:
    """Seconds of CPU until one run has taken so many events."""
    app = App(database, workflows={"SINK": sink})
    await app.migrate()
    instance = await app.workflows.SINK.create("sink", params=events)
    await instance.send_event("drop", 1)
    multiply_events(database, events - 1)
    began = time.process_time()
    async with app.running():
        assert await instance.result(timeout=60) == events
    assert rows(database, "SELECT count(*), count(consumed_by) FROM keepstep_event") == [(events, events)]
    return time.process_time() - began


async def test_a_storm_of_events_costs_time_in_proportion(postgres_databases: Any, tmp_path: Path) -> None:
    """D4, defect 17: 10,000 events to one run cost about four times what 2,500 do."""
    for name, few, many in ((each, 2_500, 10_000) for each in ("sqlite", "postgresql")):
        seconds = []
        for events in (few, many):
            if name == "sqlite":
                seconds.append(await storm(f"sqlite:///{tmp_path}/{events}.db", events))
            else:
                with postgres_databases() as database:
                    seconds.append(await storm(database, events))
        assert seconds[1] < 7 * seconds[0], (
            f"{name}: {seconds[0]:.2f} s for {few}, {seconds[1]:.2f} s for {many}"
        )
