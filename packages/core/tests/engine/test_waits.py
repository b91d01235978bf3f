"""Timers, events and steering while a run executes, waits or rests (B6, D1-D5, E3-E7). Virtual time."""

import asyncio
from typing import Any, ClassVar

import pytest

from keepstep import (
    EventTimeoutError,
    Retry,
    RunnerOptions,
    StepContext,
    WorkflowCancelledError,
    WorkflowEvent,
    WorkflowStep,
    workflow,
)
from keepstep.store import tables

NO_CACHE = RunnerOptions(cache=0)


class Outside:
    """What callbacks did, and what lets them end."""

    began: ClassVar[list[str]] = []
    cancelled: ClassVar[list[str]] = []
    gates: ClassVar[dict[str, asyncio.Event]] = {}

    @classmethod
    def gate(cls, name: str) -> asyncio.Event:
        """What a callback waits for."""
        return cls.gates.setdefault(name, asyncio.Event())


@pytest.fixture(autouse=True)
def _reset():
    for each in (Outside.began, Outside.cancelled, Outside.gates):
        each.clear()


async def gated(name: str) -> str:
    """End when the test says so."""
    Outside.began.append(name)
    try:
        await Outside.gate(name).wait()
    except asyncio.CancelledError:
        Outside.cancelled.append(name)
        raise
    return name


async def quick(value: Any) -> Any:
    """Take no time."""
    Outside.began.append(str(value))
    return value


@workflow(name="sleeper")
async def sleeper(event: WorkflowEvent[None], step: WorkflowStep) -> list[float]:
    """Three sleeps side by side: when each ended, in seconds from the start."""
    start = step.now()

    async def one(name: str, length: str) -> float:
        await step.sleep(name, length)
        return (step.now() - start).total_seconds()

    return list(await asyncio.gather(one("a", "30 seconds"), one("b", "10 seconds"), one("c", "20 seconds")))


@pytest.mark.parametrize("cache", [0, 100])
def test_each_sleep_ends_at_its_own_deadline(virtually, cache):
    """D2, D3, A6, defect 2: a wake completes what is due and nothing else, in memory or replayed."""

    async def main(fleet):
        node = await fleet.started(sleeper, options=RunnerOptions(cache=cache))
        instance = await node.workflows.sleeper.create("i")
        for at in (1, 12):
            await fleet.passing(at)
            await node.runner.look()  # early: changes nothing
        assert await instance.result() == pytest.approx([30, 10, 20], abs=0.01)

    virtually(main)


@workflow(name="listener")
async def listener(event: WorkflowEvent[None], step: WorkflowStep) -> list[object]:
    """A step, then two waits of one type, the second with a timeout."""
    await step.do("gated", gated, "step")
    first, second = await asyncio.gather(
        step.wait_for_event("first", "word", timeout=None),
        step.wait_for_event("second", "word", timeout="1 minute", default=None),
    )
    return [first.payload, None if second is None else second.payload]


@pytest.mark.parametrize("cache", [0, 100])
def test_events_of_any_moment_are_kept(virtually, cache):
    """D4, D5, B6, defect 4: before the wait, during a step, and later; two waits take two events in order of call."""

    async def main(fleet):
        node = await fleet.started(listener, options=RunnerOptions(cache=cache))
        instance = await node.workflows.listener.create("i")
        await fleet.until(lambda: Outside.began)
        await instance.send_event("other", 0)
        await instance.send_event("word", "during the step")
        Outside.gate("step").set()
        await fleet.until(lambda: not node.held)
        await instance.send_event("word", "later")
        assert await instance.result() == ["during the step", "later"]

    virtually(main)


def test_an_event_counts_by_when_it_was_accepted(virtually):
    """D4: accepted before the deadline it is taken though the runner comes late; accepted after it stays buffered."""

    async def main(fleet):
        outcomes = []
        for delay in (59, 61):
            node = await fleet.started(listener, dispatch=False)
            instance = await node.workflows.listener.create(f"i{delay}")
            await fleet.until(lambda: Outside.began)
            Outside.gate("step").set()
            await fleet.until(lambda node=node: not node.held)
            await instance.send_event("word", "first")
            await node.runner.look()
            await fleet.passing(delay)
            await instance.send_event("word", "second")
            await fleet.passing(100)
            await node.runner.look()
            outcomes.append(await instance.result())
            await node.stop()
        assert outcomes == [["first", "second"], ["first", None]]

    virtually(main)


@workflow(name="parking")
async def parking(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """A wait after a step that takes no time."""
    await step.do("quick", quick, 1)
    return (await step.wait_for_event("word", "word", timeout=None)).payload


@pytest.mark.parametrize("verb", ["send_event", "cancel", "pause", "terminate"])
def test_what_comes_between_read_and_park_is_not_lost(virtually, verb):
    """B6, E3, E5, E7, defects 4 and 6: the park that was planned before it does not commit."""

    async def main(fleet):
        node = await fleet.started(parking)
        other = fleet.node(parking)
        done: list[str] = []

        async def between(label):
            ended = any(row.key == "do:quick" for row in fleet.rows(tables.run_step))
            if label == "commit" and Outside.began and not ended and not done:
                done.append(verb)
                instance = await other.workflows.parking.get("i")
                await (
                    instance.send_event("word", "heard")
                    if verb == "send_event"
                    else getattr(instance, verb)()
                )

        node.tap.before = between
        instance = await node.workflows.parking.create("i")
        await fleet.until(lambda: done)
        if verb == "send_event":
            assert await instance.result() == "heard"
        elif verb == "cancel":
            with pytest.raises(WorkflowCancelledError):
                await instance.result()
        else:
            wanted = "paused" if verb == "pause" else "terminated"
            await fleet.until(lambda: not node.held)
            assert (await instance.status()).status == wanted
        assert Outside.began.count("1") == 1 or verb == "terminate"

    virtually(main)


@workflow(name="busy")
async def busy(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Many quick steps, each of which commits alone."""
    for number in range(event.payload):
        await step.do(f"s{number}", quick, number)
    return event.payload


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_a_busy_run_hears_of_it_at_the_next_look(virtually, verb):
    """B6, E3, E5: a run that is nearly always committing is steered by the first look all the same."""

    async def main(fleet):
        node = await fleet.started(busy, dispatch=False)
        other = fleet.node(busy)
        committing = asyncio.Event()
        go = asyncio.Event()

        async def hold(label):
            if label == "commit" and len(Outside.began) == 3:
                committing.set()
                await go.wait()

        node.tap.before = hold
        instance = await node.workflows.busy.create("i", params=50)
        await committing.wait()
        await getattr(await other.workflows.busy.get("i"), verb)()
        await node.runner.look()
        go.set()
        await fleet.until(lambda: not node.held)
        assert len(Outside.began) == 3, "no step began after the look"
        wanted = {"pause": "paused", "cancel": "cancelled"}[verb]
        assert (await instance.status()).status == wanted

    virtually(main)


@workflow(name="resting", retry=Retry(max_attempts=3, delay="1 minute", backoff="constant"))
async def resting(event: WorkflowEvent[None], step: WorkflowStep) -> list[object]:
    """A sleep, a wait with a timeout and a retry that all fall due within minutes."""

    async def wait() -> str:
        try:
            await step.wait_for_event("word", "word", timeout="5 minutes")
        except EventTimeoutError:
            return "timed out"
        return "heard"

    return list(await asyncio.gather(step.sleep("sleep", "10 minutes"), wait(), step.do("flaky", flaky)))


async def flaky(context: StepContext) -> int:
    """Fail once."""
    Outside.began.append(f"flaky {context.attempt}")
    if context.attempt == 1:
        raise ConnectionError("first")
    return context.attempt


def test_what_falls_due_while_paused_takes_effect_on_resume(virtually):
    """E3, E4, D2, defect 1: no timer, timeout or retry is swallowed, and nothing happens before the resume."""

    async def main(fleet):
        node = await fleet.started(resting)
        instance = await node.workflows.resting.create("i")
        await fleet.until(lambda: not node.held)
        await instance.pause()
        await instance.pause()
        await fleet.passing(900)
        assert Outside.began == ["flaky 1"]
        assert (await instance.status()).status == "paused"
        start = fleet.clock.now_ms()
        await instance.resume()
        assert await instance.result() == [None, "timed out", 2]
        assert fleet.clock.now_ms() - start < 1_000

    virtually(main)


@pytest.mark.parametrize("paused", [False, True])
def test_a_late_runner_settles_in_the_order_of_the_deadlines(virtually, paused):
    """D2, D3, A2: what would have gone first in time goes first, however late the look is."""

    @workflow(name="racing")
    async def racing(event: WorkflowEvent[None], step: WorkflowStep) -> list[str]:
        order: list[str] = []

        async def one(name: str, length: str) -> None:
            await step.sleep(name, length)
            order.append(name)

        await asyncio.gather(one("c", "3 minutes"), one("a", "1 minute"), one("b", "2 minutes"))
        return order

    async def main(fleet):
        node = await fleet.started(racing, dispatch=False)
        instance = await node.workflows.racing.create("i")
        await fleet.until(lambda: not node.held)
        if paused:
            await instance.pause()
        await fleet.passing(600)
        if paused:
            await instance.resume()
        await node.runner.look()
        assert await instance.result() == ["a", "b", "c"]

    virtually(main)


@workflow(name="timing")
async def timing(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """A step with a timeout of the body's, and a timer that falls due while the step runs."""
    alarm = asyncio.ensure_future(step.sleep("alarm", "1 minute"))
    try:
        async with asyncio.timeout(120):
            return await step.do("gated", gated, "step", timeout="1 day")
    except TimeoutError:
        await alarm
        return "timeout"


def test_deadlines_fall_due_while_a_step_executes(virtually):
    """A1, D2: a timer is recorded at its time beside a step, and asyncio.timeout cancels the step's callback."""

    async def main(fleet):
        node = await fleet.started(timing)
        start = fleet.clock.now_ms()
        instance = await node.workflows.timing.create("i")
        await fleet.passing(61)
        assert [row.key for row in fleet.rows(tables.run_step)] == ["sleep:alarm"]
        assert await instance.result() == "timeout"
        assert Outside.cancelled == ["step"]
        assert fleet.clock.now_ms() - start == pytest.approx(120_000, abs=50)
        rows = {row.key: row for row in fleet.rows(tables.run_step)}
        assert rows["sleep:alarm"].at - start == pytest.approx(60_000, abs=50)

    virtually(main)


def test_a_pause_waits_for_the_step_that_executes(virtually):
    """E3, E4: requested at once, taken at the step's end, which is recorded; a resume before that withdraws it."""

    async def main(fleet):
        node = await fleet.started(listener)
        instance = await node.workflows.listener.create("i")
        await fleet.until(lambda: Outside.began)
        await instance.pause()
        await fleet.passing(2)
        assert ((await instance.details()).pausing, (await instance.status()).status) == (True, "active")
        await instance.resume()
        assert not (await instance.details()).pausing
        await instance.pause()
        Outside.gate("step").set()
        await fleet.until(lambda: not node.held)
        assert (await instance.status()).status == "paused"
        assert [row.key for row in fleet.rows(tables.run_step) if row.seq] == ["do:gated"]
        await instance.send_event("word", "while paused")
        await instance.resume()
        await fleet.passing(61)
        assert await instance.result() == ["while paused", None]

    virtually(main)


@workflow(name="careful")
async def careful(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """Clean up when cancelled."""
    try:
        return await step.do("gated", gated, "step", timeout="1 day")
    except asyncio.CancelledError:
        await step.do("cleanup", quick, "cleanup")
        raise


def test_a_cancellation_runs_the_cleanup(virtually):
    """E5: the callback is cancelled, the body receives it at its await, its cleanup steps run, it ends cancelled."""

    async def main(fleet):
        node = await fleet.started(careful)
        instance = await node.workflows.careful.create("i")
        await fleet.until(lambda: Outside.began)
        await instance.cancel("enough")
        await instance.cancel("again")
        with pytest.raises(WorkflowCancelledError):
            await instance.result()
        assert (Outside.cancelled, Outside.began) == (["step"], ["step", "cleanup"])
        assert (await instance.status()).error.message == "enough"

    virtually(main)


def test_a_cancelled_callback_that_ends_late_changes_nothing(virtually):
    """A7, B3, C6: a callback that nobody waits for any more may end when it likes; its run rests undisturbed."""
    suppressed = asyncio.Event()

    async def stubborn() -> str:
        Outside.began.append("stubborn")
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            await suppressed.wait()
        return "late"

    @workflow(name="leaving")
    async def leaving(event: WorkflowEvent[None], step: WorkflowStep) -> str:
        try:
            async with asyncio.timeout(1):
                await step.do("stubborn", stubborn)
        except TimeoutError:
            await step.sleep("rest", "3 minutes")
        return await step.do("after", quick, "after") and "ended"

    async def main(fleet):
        node = await fleet.started(leaving)
        instance = await node.workflows.leaving.create("i")
        await fleet.passing(2)
        assert node.held == []
        commits = node.tap.labels["commit"]
        suppressed.set()
        await fleet.passing(1)
        assert node.tap.labels["commit"] == commits
        assert node.held == []
        await node.stop()
        again = await fleet.started(leaving)
        assert await (await again.workflows.leaving.get(instance.id)).result() == "ended"
        assert Outside.began == ["stubborn", "after"]

    virtually(main)


@workflow(name="ending")
async def ending(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """End after a step."""
    return await step.do("gated", gated, "step")


@pytest.mark.parametrize("verb", ["terminate", "cancel", "restart", "pause"])
def test_whoever_commits_first_wins_against_the_end(virtually, verb):
    """E7, defect 6: what steers the run between its last step's end and that commit is not overwritten."""

    async def main(fleet):
        node = await fleet.started(ending)
        other = fleet.node(ending)
        done: list[str] = []

        async def between(label):
            if label == "commit" and Outside.gate("step").is_set() and not done:
                done.append(label)
                await getattr(await other.workflows.ending.get("i"), verb)()

        node.tap.before = between
        instance = await node.workflows.ending.create("i")
        await fleet.until(lambda: Outside.began)
        Outside.gate("step").set()
        await fleet.until(lambda: done and not node.held)
        details = await instance.details()
        if verb == "restart":
            assert (await instance.result(), details.run_number) == ("step", 2)
            assert [row.status for row in fleet.rows(tables.run) if row.run_number == 1] == ["terminated"]
        else:
            wanted = {"terminate": "terminated", "cancel": "cancelled", "pause": "complete"}[verb]
            assert details.status == wanted

    virtually(main)


def test_a_late_alarm_after_the_end_changes_nothing(virtually):
    """E7, defect 14: looks and ticks after completion write nothing."""

    async def main(fleet):
        node = await fleet.started(timing)
        instance = await node.workflows.timing.create("i")
        await fleet.until(lambda: Outside.began)
        Outside.gate("step").set()
        assert await instance.result() == "step"
        before = fleet.rows(tables.run) + fleet.rows(tables.run_step)
        await fleet.passing(300)
        await node.runner.look()
        await node.engine.tick()
        assert fleet.rows(tables.run) + fleet.rows(tables.run_step) == before

    virtually(main)
