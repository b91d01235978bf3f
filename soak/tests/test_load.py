"""The edges of load: very many due runs, a storm of events."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest

from keepstep import App, RunnerOptions, WorkflowEvent, WorkflowStep, workflow
from soak.client import client_of
from soak.multiply import multiply_events, multiply_runs
from soak.processes import fleet, until
from soak.rows import count, rows

pytestmark = pytest.mark.timeout(600)  # on a machine that others use, too

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


@workflow(name="many")
async def many(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """One of very many."""
    return await step.do("same", same, event.payload)


@workflow(name="few")
async def few(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """One of some."""
    return await step.do("same", same, event.payload)


async def same(number: int) -> int:
    """A step that takes a little."""
    await asyncio.sleep(0.005)
    return number


async def test_a_queue_of_a_hundred_thousand_holds_ten_others_back_for_no_time(database_url: str) -> None:
    """B2, decision 0018: ten runs that fell due after 100,000 of another workflow end when nearly all of those still wait."""
    workflows = {"MANY": many, "FEW": few}
    client = App(database_url, workflows=workflows, dispatcher=None)
    await client.migrate()
    await client.workflows.MANY.create("many", params=1)
    multiply_runs(database_url, "many", MANY)
    runner = App(database_url, workflows=workflows, runner=RunnerOptions(concurrency=IN_HAND, drain="1s"))
    late = await runner.workflows.FEW.create_batch(
        {"params": number} for number in range(10)
    )  # with other keys
    async with runner.running():
        assert [await each.result(timeout=60) for each in late] == list(range(10))
        assert count(database_url, "SELECT count(*) FROM keepstep_task") > 0.9 * MANY
    await client.stop()


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
