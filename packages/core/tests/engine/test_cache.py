"""Bodies that stay in memory change what a wake costs, never what comes of it (A2, A5, A6)."""

import asyncio
import gc
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest

from keepstep import (
    EventTimeoutError,
    InstanceTerminalError,
    Retry,
    RunnerOptions,
    StepContext,
    StepFailedError,
    WorkflowCancelledError,
    WorkflowEvent,
    WorkflowStep,
)
from keepstep import workflow as define
from keepstep.store import tables


async def flaky(number: int, context: StepContext) -> int:
    """Fail at first, by number; for good for every fifth."""
    if number % 5 == 0 or context.attempt <= number % 3:
        raise ValueError(f"{number} in attempt {context.attempt}")
    return number


@define(name="everything", retry=Retry(max_attempts=3, delay="7 seconds", backoff="constant"))
async def everything(event: WorkflowEvent[int], step: WorkflowStep) -> list[Any]:
    """Branches with steps, retries, failures, sleeps, timers, races, events and timeouts."""
    found: list[Any] = []

    async def branch(number: int) -> None:
        own = step.scope(f"branch-{number}")
        try:
            found.append(await own.do("flaky", flaky, event.payload + number))
        except StepFailedError as error:
            found.append(f"{error.name} {error.attempts}")
        await own.sleep("rest", f"{1 + (event.payload * 7 + number * 13) % 30} seconds")
        try:
            word = await own.wait_for_event("word", "word", timeout=f"{5 + number * 9} seconds")
            found.append(word.payload)
        except EventTimeoutError:
            found.append(f"nobody spoke to {number} until {step.now():%S}")
        try:
            async with asyncio.timeout(3):
                await own.sleep("long", "1 hour")
        except TimeoutError:
            found.append(f"{number} went on")

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(branch(number))
    tasks = [asyncio.create_task(step.sleep(f"race-{n}", f"{n + 1} seconds")) for n in range(3)]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    found.append(len(done))
    found.append(step.random().randrange(1000))
    step.log.info("at the end", found=len(found))
    return found


def _history(fleet) -> list[Any]:
    names = {row.id: row.instance_id for row in fleet.rows(tables.run)}
    runs = [(row.instance_id, row.status, row.output, row.error) for row in fleet.rows(tables.run)]
    steps = sorted(
        (names[row.run_id], row.seq or 0, row.key, row.status, row.attempt, row.result, row.error, row.at)
        for row in fleet.rows(tables.run_step)
    )
    logs = sorted((names[row.run_id], row.number, row.message, row.data) for row in fleet.rows(tables.log))
    return [sorted(runs), steps, logs]


async def _campaign(fleet, options) -> list[Any]:
    """Ten runs with events at fixed times; what the database holds at the end."""
    node = await fleet.started(everything, options=options)
    made = [await node.workflows.everything.create(f"i{n}", params=n) for n in range(6)]
    for second in range(40):
        await fleet.passing(1)
        with suppress(InstanceTerminalError):
            await made[second % 6].send_event("word", f"at {second}")
    for each in made:
        await each.result()
    return _history(fleet)


def test_histories_are_equal_with_and_without_a_cache(virtually, tmp_path):
    """A2, A6: cache 0, a small one and a large one give the same runs, steps, results, times and log lines."""
    found: list[Any] = []
    for cache in (0, 2, 10_000):

        async def main(fleet, cache=cache):
            found.append(await _campaign(fleet, RunnerOptions(cache=cache)))

        for path in tmp_path.glob("keepstep.db*"):
            path.unlink()
        virtually(main)
    assert found[0] == found[1] == found[2]
    assert len(found[0][1]) > 100


@define(name="relay")
async def relay(event: WorkflowEvent[int], step: WorkflowStep) -> list[int]:
    """Count steps and words in turn."""
    counted = []
    for number in range(event.payload):
        counted.append(await step.do(f"count-{number}", count, number))
        await step.wait_for_event(f"word-{number}", "word", timeout=None)
    return counted


class Counted:
    """How often each step ran."""

    calls: list[int] = []  # noqa: RUF012


async def count(number: int) -> int:
    """Count."""
    Counted.calls.append(number)
    return number


@pytest.mark.parametrize("between", ["runner", "tick"])
def test_a_parked_body_is_dropped_when_others_advanced_the_run(virtually, between):
    """A6, B3: a body in memory goes on only if nobody else advanced its run since; nothing is done twice."""
    Counted.calls.clear()

    async def main(fleet):
        first = await fleet.started(relay, dispatch=False)
        second = await fleet.started(relay, dispatch=False)
        instance = await first.workflows.relay.create("i", params=6)
        await fleet.until(lambda: not first.held)
        for number in range(6):
            await instance.send_event("word", number)
            if number % 2:
                await first.runner.look()
            elif between == "runner":
                await second.runner.look()
            else:
                await second.engine.tick()
            await fleet.until(lambda: not first.held and not second.held)
        assert await instance.result() == list(range(6))
        assert Counted.calls == list(range(6))

    virtually(main)


@define(name="tidy")
async def tidy(event: WorkflowEvent[None], step: WorkflowStep) -> None:  # a body has these arguments
    """Wait until it is cancelled, then clean up at leisure."""
    try:
        await step.wait_for_event("word", "word", timeout=None)
    finally:
        for number in range(3):
            await step.sleep("rest", "1 minute")
            await step.do("count", count, number)


def test_a_cancellation_that_was_delivered_does_not_come_again_with_a_replay(virtually):
    """A2, E5: cleanup goes on where it was, whether its body stayed in memory or is made anew at each step."""

    async def main(fleet, cache):
        Counted.calls.clear()
        node = await fleet.started(tidy, options=RunnerOptions(cache=cache))
        instance = await node.workflows.tidy.create(f"i{cache}")
        await fleet.until(lambda: not node.held)
        await instance.cancel("enough")
        with pytest.raises(WorkflowCancelledError, match="enough"):
            await instance.result()
        assert Counted.calls == [0, 1, 2]
        assert [each.key for each in (await instance.history()).steps].count("cancel:request") == 1

    virtually(lambda fleet: main(fleet, 100))
    virtually(lambda fleet: main(fleet, 0))


def test_a_cached_body_is_woken_without_reading_its_history(virtually):
    """A6: a wake of a body in memory reads its events, not its steps; without a cache it reads both."""
    loads = {}

    async def main(fleet, cache):
        node = await fleet.started(relay, dispatch=False, options=RunnerOptions(cache=cache))
        instance = await node.workflows.relay.create(f"i{cache}", params=3)
        for number in range(3):
            await fleet.until(lambda: not node.held)
            await instance.send_event("word", number)
            await node.runner.look()
        assert await instance.result() == [0, 1, 2]
        loads[cache] = node.tap.labels["load"]

    virtually(lambda fleet: main(fleet, 100))
    virtually(lambda fleet: main(fleet, 0))
    assert loads == {100: 3, 0: 6}


def test_a_parked_run_takes_little_memory(virtually):
    """A6: a run that waits costs about its body, cached or not; measured 3.7 KiB, bounded here with room to spare."""
    held = {}

    async def main(fleet, cache):
        node = await fleet.started(relay, options=RunnerOptions(cache=cache))

        async def park(first, count):
            items = [{"id": f"i{n}", "params": 1} for n in range(first, first + count)]
            await node.workflows.relay.create_batch(items)
            await fleet.until(lambda: not node.held)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        await park(0, 50)
        tracemalloc.start()
        try:
            held[cache] = await park(50, 100)
        finally:
            tracemalloc.stop()

    virtually(lambda fleet: main(fleet, 1000))
    virtually(lambda fleet: main(fleet, 0))
    assert held[1000] / 100 < 5_000
    assert held[0] / 100 < 1_500


def test_a_run_woken_in_the_millisecond_of_its_start_remembers_its_steps(virtually):
    """C2, A6: what a run recorded is loaded even if the clock has not moved since it began."""
    Counted.calls.clear()

    async def main(fleet):
        node = await fleet.started(relay, dispatch=False, options=RunnerOptions(cache=0))
        start = fleet.clock.now_ms()
        instance = await node.workflows.relay.create("i", params=2)
        await fleet.until(lambda: not node.held)
        await instance.send_event("word", 0)
        await node.runner.look()
        await fleet.until(lambda: not node.held)
        assert fleet.clock.now_ms() == start
        assert Counted.calls == [0, 1]

    virtually(main)


def test_a_look_while_a_park_is_on_its_way_drops_nothing(virtually):
    """A6, B6: a runner that reads its own park before it hears of it keeps the body."""
    Counted.calls.clear()

    async def main(fleet):
        node = await fleet.started(relay, dispatch=False)
        reached, go = asyncio.Event(), asyncio.Event()

        async def hold(label):
            if label == "commit" and Counted.calls:
                reached.set()
                await go.wait()

        node.tap.after = hold
        await node.workflows.relay.create("i", params=1)
        await reached.wait()
        await node.runner.look()
        assert node.held == ["i"]
        go.set()
        await fleet.until(lambda: not node.held)
        assert len(node.runner._parts.cache) == 1

    virtually(main)


def test_the_cache_is_bounded_and_emptied(virtually):
    """A6: no more bodies than its bound; a stop closes all."""

    async def main(fleet):
        node = await fleet.started(relay, dispatch=False, options=RunnerOptions(cache=3))
        for number in range(10):
            await node.workflows.relay.create(f"i{number}", params=1)
        await fleet.until(lambda: not node.held)
        cache = node.runner._parts.cache
        assert len(cache) == 3
        await node.stop()
        assert len(cache) == 0
        assert cache._bytes == 0

    virtually(main)
