"""The edges of load: resuming work before new, and a thread that blocks. ``soak/tests`` has those that take longer."""

from __future__ import annotations

import threading

from keepstep import App, RunnerOptions, WorkflowEvent, WorkflowStep, workflow
from soak.multiply import multiply_runs
from soak.processes import pause, until
from soak.rows import count, rows

DONE = "SELECT count(*) FROM keepstep_run WHERE status = 'complete'"


async def quick(number: int) -> int:
    """A step that takes a little."""
    await pause(0.005)
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
