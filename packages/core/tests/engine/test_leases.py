"""Leases: renewed, lost, taken over, given back (B2-B4, B7, E5-E7). Virtual time; processes are nodes of a fleet."""

import asyncio
from typing import ClassVar

import pytest

from keepstep import (
    Limits,
    RunnerOptions,
    StepContext,
    WorkflowEvent,
    WorkflowFailedError,
    WorkflowStep,
    workflow,
)
from keepstep.errors import StoreUnavailableError
from keepstep.store import tables


class Outside:
    """What callbacks did, and what lets them end."""

    began: ClassVar[list[str]] = []
    ended: ClassVar[list[str]] = []
    cancelled_at: ClassVar[list[float]] = []
    gates: ClassVar[dict[str, asyncio.Event]] = {}

    @classmethod
    def reset(cls) -> None:
        """A new test."""
        for each in (cls.began, cls.ended, cls.cancelled_at, cls.gates):
            each.clear()

    @classmethod
    def gate(cls, instance_id: str) -> asyncio.Event:
        """What the callbacks of an instance wait for."""
        return cls.gates.setdefault(instance_id, asyncio.Event())


async def hang(context: StepContext) -> str:
    """Take as long as the test likes."""
    Outside.began.append(context.instance_id)
    try:
        await Outside.gate(context.instance_id).wait()
    except asyncio.CancelledError:
        Outside.cancelled_at.append(asyncio.get_running_loop().time())
        raise
    Outside.ended.append(context.instance_id)
    return "done"


async def quick(number: int) -> int:
    """Take no time."""
    return number


@workflow(name="slow")
async def slow(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """One quick step, one that hangs."""
    await step.do("quick", quick, 1)
    return await step.do("hang", hang, timeout="1 day")


@pytest.fixture(autouse=True)
def _reset():
    Outside.reset()


def test_a_runner_that_cannot_renew_cancels_its_steps_before_its_lease_ends(virtually):
    """B4: steps end before anybody else may take over, and nothing is committed afterwards."""

    async def main(fleet):
        node = await fleet.started(slow, options=RunnerOptions(lease="30 seconds"))
        await node.workflows.slow.create("i")
        await fleet.until(lambda: Outside.began)
        (runner,) = fleet.rows(tables.runner)
        node.tap.down = True
        await fleet.passing(35)
        assert len(Outside.cancelled_at) == 1
        assert 1_800_000_000_000 + Outside.cancelled_at[0] * 1000 < runner.locked_until
        assert node.held == []
        node.tap.down = False
        await fleet.until(lambda: len(Outside.began) == 2)
        assert [row.key for row in fleet.rows(tables.run_step)] == ["do:quick"]
        Outside.gate("i").set()
        assert await (await node.workflows.slow.get("i")).result() == "done"
        assert Outside.began == ["i", "i"]

    virtually(main)


def test_a_process_that_stood_still_starts_nothing_under_its_old_lease(virtually):
    """B4: after a stall longer than the lease no step starts before there is a new lease; late commits lose (B3)."""

    async def main(fleet):
        options = RunnerOptions(lease="30 seconds")
        stalled = await fleet.started(slow, options=options)
        other = await fleet.started(slow, options=options)
        held = asyncio.Event()
        reached = asyncio.Event()

        async def hold(label):
            if label == "commit" and not Outside.began:
                reached.set()
                await held.wait()

        stalled.tap.after = hold
        made = asyncio.ensure_future(stalled.workflows.slow.create("i"))
        await reached.wait()
        asyncio.get_running_loop().jump(60)
        held.set()
        await made
        await fleet.until(lambda: Outside.began)
        await asyncio.sleep(0)
        holders = {row.owner for row in fleet.rows(tables.task)}
        assert holders <= {stalled.runner.lease.runner_id, other.runner.lease.runner_id}
        assert stalled.held + other.held == ["i"]
        Outside.gate("i").set()
        assert await (await other.workflows.slow.get("i")).result() == "done"
        assert Outside.began == ["i"], (
            "one start: the stalled runner began nothing before it looked at its lease"
        )

    virtually(main)


@workflow(name="onward")
async def onward(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """A step that hangs, then one that must not begin."""
    await step.do("hang", hang, timeout="1 day")
    return await step.do("next", following)


async def following(context: StepContext) -> str:
    """Leave a trace."""
    Outside.began.append("next")
    return "done"


def test_no_step_begins_after_the_lease_has_ended_unnoticed(virtually):
    """B4: a runner whose heartbeat stood still looks at its lease before it starts anything."""

    async def main(fleet):
        node = await fleet.started(onward, dispatch=False)
        await node.workflows.onward.create("i")
        await fleet.until(lambda: Outside.began)
        node.runner.lease._renewals.cancel()
        await fleet.passing(40)
        Outside.gate("i").set()
        await fleet.until(lambda: not node.held)
        assert Outside.began == ["i"]
        await node.runner.look()
        assert await (await node.workflows.onward.get("i")).result() == "done"
        assert Outside.began[-1] == "next"

    virtually(main)


def test_a_dead_process_is_taken_over_when_its_lease_ends(virtually):
    """B2, B3, B7: not before, and soon after; the takeover is counted, what was durable stays."""

    async def main(fleet):
        first = await fleet.started(slow, options=RunnerOptions(lease="30 seconds"))
        await first.workflows.slow.create("i")
        await fleet.until(lambda: Outside.began)
        await first.crash()
        (dead,) = fleet.rows(tables.runner)
        second = await fleet.started(slow)
        await fleet.until(lambda: len(Outside.began) == 2)
        late_ms = fleet.clock.now_ms() - dead.locked_until
        assert 0 < late_ms <= 100
        (task,) = fleet.rows(tables.task)
        assert (task.takeovers, task.owner) == (1, second.runner.lease.runner_id)
        Outside.gate("i").set()
        instance = await second.workflows.slow.get("i")
        assert await instance.result() == "done"
        assert [each.attempts for each in (await instance.history()).steps] == [1, 1]

    virtually(main)


def test_a_dead_process_of_this_host_is_recognised_at_once(virtually):
    """B2: a restart after a crash waits for no lease."""

    async def main(fleet):
        first = await fleet.started(slow)
        await first.workflows.slow.create("i")
        await fleet.until(lambda: Outside.began)
        await first.crash()
        fleet.dead.add(first.pid)
        start = fleet.clock.now_ms()
        await fleet.started(slow)
        await fleet.until(lambda: len(Outside.began) == 2)
        assert fleet.clock.now_ms() - start < 10

    virtually(main)


async def deadly(context: StepContext) -> str:
    """Kill the process: the test does so when it sees this."""
    Outside.began.append(context.step_key)
    await asyncio.get_running_loop().create_future()
    return "never"


@workflow(name="poison")
async def poison(event: WorkflowEvent[int], step: WorkflowStep) -> str:
    """Survives ``payload`` quick steps a life, then dies."""
    for number in range(event.payload):
        await step.do(f"quick-{number}", quick, number)
    return await step.do("deadly", deadly)


async def _die(fleet, instance_id, times, params):
    """Have so many processes die of an instance; the next one lives."""
    for number in range(times):
        node = await fleet.started(poison, limits=Limits(takeovers_max=5))
        if number == 0:
            await node.workflows.poison.create(instance_id, params=params)
        await fleet.until(lambda count=number + 1: len(Outside.began) == count)
        await node.crash()
        fleet.dead.add(node.pid)
    return await fleet.started(poison)


def test_a_run_that_kills_its_runners_is_errored(virtually):
    """B7: after five takeovers without a boundary between them the run is errored, and no sixth process dies."""

    async def main(fleet):
        last = await _die(fleet, "i", 5, params=1)
        instance = await last.workflows.poison.get("i")
        with pytest.raises(WorkflowFailedError, match="RunnerCrashLoopError"):
            await instance.result()
        assert len(Outside.began) == 5
        assert fleet.rows(tables.task) == []

    virtually(main)


@workflow(name="unlucky")
async def unlucky(event: WorkflowEvent[None], step: WorkflowStep) -> int:
    """A life for each step."""
    for number in range(8):
        await step.do(f"step-{number}", Lives.step, number)
    return 8


class Lives:
    """Each process gets one step further than the one before."""

    allowed = 0

    @classmethod
    async def step(cls, number: int) -> int:
        """End if this process may."""
        Outside.began.append(str(number))
        if number >= cls.allowed:
            await asyncio.get_running_loop().create_future()
        return number


def test_a_run_that_gets_on_between_takeovers_is_spared(virtually):
    """B7: a boundary between two takeovers starts the count again."""

    async def main(fleet):
        for life in range(8):
            Lives.allowed = life
            node = await fleet.started(unlucky)
            if life == 0:
                await node.workflows.unlucky.create("i")
            await fleet.until(lambda number=str(life): Outside.began[-1:] == [number])
            await node.crash()
            fleet.dead.add(node.pid)
        Lives.allowed = 99
        node = await fleet.started(unlucky)
        assert await (await node.workflows.unlucky.get("i")).result() == 8

    virtually(main)


@pytest.mark.parametrize("verb", ["terminate", "restart"])
def test_a_run_that_is_ended_during_a_step_commits_nothing(virtually, verb):
    """B3, E5, E6, E7, defect 6: its callback is cancelled, its result goes nowhere; others of the group commit."""

    async def main(fleet):
        node = await fleet.started(slow)
        ended = await node.workflows.slow.create("ended")
        kept = await node.workflows.slow.create("kept")
        await fleet.until(lambda: len(Outside.began) == 2)
        other = fleet.node(slow)
        await getattr(await other.workflows.slow.get("ended"), verb)()
        Outside.gate("kept").set()  # both callbacks end before the runner has heard of it
        Outside.gate("ended").set()
        assert await kept.result() == "done"
        if verb == "terminate":
            assert (await ended.status()).status == "terminated"
        else:
            assert await ended.result() == "done"
            assert (await ended.details()).run_number == 2
        old = await ended.history(run=1)
        assert [each.key for each in old.steps] == ["do:quick"]

    virtually(main)


def test_a_terminated_runs_callback_is_cancelled(virtually):
    """E5: executing callbacks are cancelled where possible, within a second also when another process terminates."""

    async def main(fleet):
        node = await fleet.started(slow)
        await node.workflows.slow.create("i")
        await fleet.until(lambda: Outside.began)
        other = fleet.node(slow)
        start = asyncio.get_running_loop().time()
        await (await other.workflows.slow.get("i")).terminate("enough")
        await fleet.until(lambda: Outside.cancelled_at)
        assert Outside.cancelled_at[0] - start <= 1
        assert node.held == []

    virtually(main)


def test_a_drained_runner_gives_its_runs_back_at_once(virtually):
    """B2: steps in flight get the grace period, then another runner goes on without waiting for a lease."""

    async def main(fleet):
        first = await fleet.started(slow, options=RunnerOptions(drain="10 seconds"))
        for name in ("ends", "hangs"):
            await first.workflows.slow.create(name)
        await fleet.until(lambda: len(Outside.began) == 2)
        loop = asyncio.get_running_loop()
        start = loop.time()
        loop.call_later(5, Outside.gate("ends").set)
        await first.stop()
        assert loop.time() - start == pytest.approx(10, abs=0.2)
        assert Outside.ended == ["ends"]
        assert len(Outside.cancelled_at) == 1
        assert fleet.rows(tables.runner) == []
        assert [(row.owner, row.takeovers) for row in fleet.rows(tables.task)] == [(None, 0)]
        second = await fleet.started(slow)
        await fleet.until(lambda: len(Outside.began) == 3)
        assert loop.time() - start == pytest.approx(10, abs=0.2)
        Outside.gate("hangs").set()
        assert await (await second.workflows.slow.get("hangs")).result() == "done"

    virtually(main)


def test_a_drain_waits_for_what_is_read_again(virtually):
    """B3, B6: a run that somebody steered is read again before a drain commits it again."""

    async def main(fleet):
        node = await fleet.started(slow, options=RunnerOptions(drain="10 seconds"))
        other = fleet.node(slow)
        await node.workflows.slow.create("i")
        await fleet.until(lambda: Outside.began)
        commits = 0

        async def late(label):
            nonlocal commits
            if label in {"look_held", "reread"}:
                await fleet.passing(2)
            commits += label == "commit"
            if commits > 50:
                raise StoreUnavailableError("enough")

        node.tap.before = late
        await other.engine.open()
        await (await other.workflows.slow.get("i")).pause()
        Outside.gate("i").set()
        await node.stop()
        assert commits <= 3
        assert [row.status for row in fleet.rows(tables.run)] == ["complete"]

    virtually(main)


def test_a_runner_starts_again_after_a_stop(virtually):
    """An engine that was stopped can be started again, and heeds doubts and wakes as before."""

    async def main(fleet):
        node = await fleet.started(slow)
        await node.stop()
        await node.start()
        instance = await node.workflows.slow.create("i")
        await fleet.until(lambda: Outside.began)
        await instance.cancel("no more")
        await fleet.until(lambda: Outside.cancelled_at)
        await fleet.until(lambda: not fleet.rows(tables.task))

    virtually(main)


def test_a_stop_without_a_database_ends(virtually):
    """A drain does not wait for a database that is away, and burns no time on it."""

    async def main(fleet):
        node = await fleet.started(slow, options=RunnerOptions(drain="5 seconds"))
        await node.workflows.slow.create("i")
        await fleet.until(lambda: Outside.began)
        node.tap.down = True
        Outside.gate("i").set()
        await fleet.passing(0.2)
        start = asyncio.get_running_loop().time()
        await node.stop()
        assert asyncio.get_running_loop().time() - start <= 8

    virtually(main)
