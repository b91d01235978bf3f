"""Several engines on one database: nothing is done twice while nobody dies (B2, B3, B8)."""

import asyncio
from collections import Counter
from typing import ClassVar

from keepstep import Retry, RunnerOptions, StepContext, WorkflowEvent, WorkflowStep, workflow
from keepstep.store import tables

RUNS = 50


class Effects:
    """Every call of a step, by process."""

    calls: ClassVar[Counter[str]] = Counter()


async def effect(name: str, context: StepContext) -> str:
    """Leave a trace; fail at first now and then."""
    Effects.calls[f"{context.idempotency_key} {context.attempt}"] += 1
    await asyncio.sleep(0)
    if name == "flaky" and context.attempt == 1:
        raise ConnectionError("first")
    return name


def blocking(name: str, context: StepContext) -> str:
    """The same in a thread."""
    Effects.calls[f"{context.idempotency_key} {context.attempt}"] += 1
    return name


@workflow(name="mixed", retry=Retry(max_attempts=3, delay="20ms", backoff="constant"))
async def mixed(event: WorkflowEvent[int], step: WorkflowStep) -> list[str]:
    """Steps in sequence and side by side, a rest, an event, a retry."""
    found = [await step.do("first", effect, "first")]
    found += await asyncio.gather(step.do("left", effect, "left"), step.do("right", blocking, "right"))
    await step.sleep("rest", "20ms")
    found.append((await step.wait_for_event("word", "word", timeout="1 hour")).payload)
    found.append(await step.do("flaky", effect, "flaky"))
    return found


async def test_two_engines_share_the_work_and_double_nothing(fleet):
    """B2, B3, B8: 50 runs on two runners; each attempt of each step is made once, whoever holds the run."""
    Effects.calls.clear()
    options = RunnerOptions(concurrency=10)
    creator = fleet.node(mixed)
    items = [{"id": f"i{n}", "params": n} for n in range(RUNS)]
    made = await creator.workflows.mixed.create_batch(items)
    nodes = [await fleet.started(mixed, options=options, host=f"host-{n}") for n in range(2)]
    for each in made:
        await each.send_event("word", "heard")
    results = await asyncio.gather(*(each.result(timeout=60) for each in made))
    assert results == [["first", "left", "right", "heard", "flaky"]] * RUNS
    assert set(Effects.calls.values()) == {1}
    assert len(Effects.calls) == RUNS * 5
    steps = fleet.rows(tables.run_step)
    assert Counter(row.run_id for row in steps) == Counter({row.id: 6 for row in fleet.rows(tables.run)})
    assert all(node.tap.labels["commit"] for node in nodes), "both took part"
