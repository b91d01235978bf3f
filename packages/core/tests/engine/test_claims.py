"""Which runs a runner takes, in which order, and how many (B2)."""

import asyncio
from typing import ClassVar

import pytest

from keepstep import RunnerOptions, StepContext, WorkflowEvent, WorkflowStep, workflow
from keepstep.store import tables


class Outside:
    """What callbacks did, and what lets them end."""

    began: ClassVar[list[str]] = []
    gates: ClassVar[dict[str, asyncio.Event]] = {}


@pytest.fixture(autouse=True)
def _reset():
    Outside.began.clear()
    Outside.gates.clear()


async def gated(context: StepContext) -> str:
    """End when the test says so."""
    Outside.began.append(context.instance_id)
    await Outside.gates.setdefault(context.instance_id, asyncio.Event()).wait()
    return context.instance_id


async def quick(context: StepContext) -> str:
    """Take no time."""
    Outside.began.append(context.instance_id)
    return context.instance_id


@workflow(name="slow")
async def slow(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """One step that hangs."""
    return await step.do("gated", gated)


@workflow(name="waiting")
async def waiting(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """An event, then a step."""
    await step.wait_for_event("word", "word", timeout=None)
    return await step.do("quick", quick)


@workflow(name="unknown")
async def unknown(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """Code that not every process has."""
    return await step.do("quick", quick)


@workflow(name="brief")
async def brief(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """One more kind, that ends at once."""
    return await step.do("quick", quick)


async def test_unregistered_workflows_are_never_touched(fleet):
    """B2, defect 8: a runner without a workflow's code neither claims nor changes its instances."""
    creator = fleet.node(unknown)
    instance = await creator.workflows.unknown.create("i")
    before = fleet.rows(tables.task), fleet.rows(tables.run)
    node = await fleet.started(waiting, dispatch=False)
    for _ in range(3):
        await node.runner.look()
    await node.engine.tick()
    assert (fleet.rows(tables.task), fleet.rows(tables.run)) == before
    knowing = await fleet.started(unknown)
    assert await instance.result(timeout=10) == "i"
    assert knowing.held == []


def test_resuming_work_comes_before_new_runs(virtually):
    """B2: wakes go first, each kind by when it fell due."""

    async def main(fleet):
        creator = await fleet.started(waiting, dispatch=False)
        woken = [await creator.workflows.waiting.create(name) for name in ("woken-1", "woken-2")]
        await fleet.until(lambda: not creator.held)
        await creator.stop()
        planner = fleet.node(waiting, unknown)
        for name in ("new-1", "new-2"):
            await planner.workflows.unknown.create(name)
            await fleet.passing(1)
        for each in reversed(woken):
            handle = await planner.workflows.waiting.get(each.id)
            await handle.send_event("word", 1)
            await fleet.passing(1)
        node = await fleet.started(waiting, unknown, options=RunnerOptions(concurrency=1))
        await fleet.until(lambda: len(Outside.began) == 4)
        assert Outside.began == ["woken-2", "woken-1", "new-1", "new-2"]
        await fleet.until(lambda: not node.held)

    virtually(main)


def test_a_runner_holds_no_more_than_it_may(virtually):
    """B2: concurrency bounds what is in hand, whether claimed or created here; a full runner claims again."""

    async def main(fleet):
        node = await fleet.started(slow, options=RunnerOptions(concurrency=4))
        made = [await node.workflows.slow.create(f"i{n}") for n in range(12)]
        most = 0
        for _ in range(12):
            await fleet.passing(2)
            most = max(most, len(node.held))
            assert len(node.held) == len(Outside.began) - sum(
                each.is_set() for each in Outside.gates.values()
            )
            for name in node.held[:1]:
                Outside.gates[name].set()
        assert most == 4
        for name in list(Outside.gates):
            Outside.gates[name].set()
        await fleet.until(lambda: len(Outside.began) == 12)
        for each in Outside.gates.values():
            each.set()
        assert [await each.result() for each in made] == [f"i{n}" for n in range(12)]

    virtually(main)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_long_queue_holds_no_other_workflow_back(virtually, concurrency):
    """B2, decision 0018: of a workflow with a hundred queued runs and one with five, due later, each gets its turns."""

    async def main(fleet):
        creator = fleet.node(unknown, waiting, brief)
        for number in range(100):
            await creator.workflows.unknown.create(f"many-{number}")
        await fleet.passing(1)
        for number in range(5):
            await creator.workflows.brief.create(f"few-{number}")
        node = await fleet.started(unknown, waiting, brief, options=RunnerOptions(concurrency=concurrency))
        await fleet.until(lambda: len(Outside.began) == 105 and not node.held)
        few = [Outside.began.index(f"few-{number}") for number in range(5)]
        assert few == sorted(few)
        assert max(few) < 2 * 5 + 2 * concurrency

    virtually(main)


def test_ticks_take_turns_too(virtually):
    """B2, B9, decision 0018: a host that advances one run at a time serves workflows in turn."""

    async def main(fleet):
        app = fleet.node(unknown, brief)
        for kind in (app.workflows.unknown, app.workflows.brief):
            for number in range(4):
                await kind.create(f"{kind.name}-{number}")
            await fleet.passing(1)
        for _ in range(4):
            await app.engine.tick(max_instances=1)
        assert sorted(Outside.began) == ["brief-0", "brief-1", "unknown-0", "unknown-1"]

    virtually(main)


def test_new_instances_do_not_overtake_what_is_due(virtually):
    """B2: while a runner is full, what is created queues behind what was woken, however much is created."""

    async def main(fleet):
        node = await fleet.started(slow, waiting, options=RunnerOptions(concurrency=4))
        woken = await node.workflows.waiting.create("woken")
        await fleet.until(lambda: not node.held)
        for number in range(4):
            await node.workflows.slow.create(f"first-{number}")
        await fleet.until(lambda: len(node.held) == 4)
        await woken.send_event("word", 1)
        await fleet.passing(1)
        Outside.gates["first-0"].set()
        await fleet.until(lambda: len(node.held) == 3)
        for number in range(5):
            await node.workflows.slow.create(f"late-{number}")
        assert await woken.result() == "woken"
        assert Outside.began.index("woken") == 4

    virtually(main)


def test_a_created_instance_starts_with_its_creation(virtually):
    """B2, E2: where there is room the commit that creates a run claims it; no look is needed."""

    async def main(fleet):
        node = await fleet.started(unknown, dispatch=False)
        instance = await node.workflows.unknown.create("i")
        assert await instance.result() == "i"
        assert node.tap.labels["claim"] == 0
        assert node.tap.labels["commit"] == 2

    virtually(main)


def test_a_runner_that_stays_up_keeps_nothing_of_runs_that_ended(virtually):
    """Nothing grows with the number of runs that have ended: bodies, tasks, alarms, waiters."""

    async def main(fleet):
        node = await fleet.started(unknown, waiting)
        for number in range(50):
            await (await node.workflows.unknown.create(f"i{number}")).result()
        advancer = node.runner.advancer
        await fleet.passing(1)
        assert len(advancer.held) == len(advancer.callbacks._tasks) == 0
        assert len(node.runner._parts.cache) == 0
        assert len(node.engine.changes._listeners) == 0
        assert len(node.runner.intake.adopting) == 0
        assert node.runner.intake._expected == 0

    virtually(main)
