"""Optimistic ticks: one run, one boundary, one transaction, no lease (B9). Time stands still unless it is moved."""

import asyncio
from typing import Any, ClassVar

import pytest
from sqlalchemy import text

from keepstep import (
    Limits,
    Retry,
    StepContext,
    WorkflowCancelledError,
    WorkflowEvent,
    WorkflowFailedError,
    WorkflowStep,
)
from keepstep import workflow as define
from keepstep.errors import StoreConflictError, StoreUnavailableError
from keepstep.store import tables

INSERT = text("INSERT INTO effect (value) VALUES (:value)")


class Outside:
    """What callbacks did."""

    calls: ClassVar[list[str]] = []


@pytest.fixture(autouse=True)
def _reset():
    Outside.calls.clear()


async def note(name: str, context: StepContext) -> str:
    """Leave a trace."""
    Outside.calls.append(f"{context.instance_id} {name}")
    return name


@define(name="walk")
async def walk(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Steps in sequence."""
    for number in range(event.payload):
        await step.do(f"s{number}", note, str(number))
    return event.payload


def writes(node) -> int:
    """How many transactions the ticks of a node have written."""
    return node.tap.labels["tick"]


async def test_a_step_and_what_follows_it_is_one_transaction(still):
    """B9: each boundary of a tick is exactly one write; the last step and the end share theirs."""
    node = still.node(walk)
    instance = await node.workflows.walk.create("i", params=3)
    result = await node.engine.tick()
    assert (result.processed, result.next_due) == (1, None)
    assert await instance.result(timeout=0) == 3
    assert writes(node) == 3
    assert Outside.calls == ["i 0", "i 1", "i 2"]


async def test_a_tick_loads_a_run_once(frozen):
    """Defect 17, A6: the cost of a run is linear in its steps also without a runner."""
    node = frozen.node(walk)
    await node.workflows.walk.create("i", params=20)
    await node.engine.tick()
    assert node.tap.labels["load"] == 2, "its steps and its events"
    assert writes(node) == 20


@define(name="rendezvous")
async def rendezvous(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """A step that two ticks execute at the same time."""
    return await step.do("meet", Meeting.meet)


class Meeting:
    """Holds callbacks until all are there."""

    wanted = 2
    here: ClassVar[list[asyncio.Future[None]]] = []

    @classmethod
    async def meet(cls) -> str:
        """Wait for the others."""
        Outside.calls.append("met")
        cls.here.append(asyncio.get_running_loop().create_future())
        if len(cls.here) == cls.wanted:
            for each in cls.here:
                each.set_result(None)
        await cls.here[-1]
        return f"the first of {len(Outside.calls)}"


async def test_of_two_ticks_at_once_one_writes(still):
    """B8, B9: both may execute the attempt; the guard lets one of them record it."""
    Meeting.here.clear()
    nodes = [still.node(rendezvous), still.node(rendezvous)]
    instance = await nodes[0].workflows.rendezvous.create("i")
    await nodes[1].engine.open()
    await asyncio.gather(*(node.engine.tick() for node in nodes))
    assert await instance.result(timeout=0) == "the first of 2"
    (row,) = still.rows(tables.run_step)
    assert (row.seq, row.attempt) == (1, 1)


@define(name="hearing")
async def hearing(event: WorkflowEvent[None], step: WorkflowStep) -> list[str]:
    """A step, then an event."""
    first = await step.do("calling", calling)
    word = await step.wait_for_event("word", "word", timeout=None)
    return [first, word.payload]


class Caller:
    """What a step does while it runs."""

    act: Any = None


async def calling() -> str:
    """Do what the test wants in the middle of the step."""
    Outside.calls.append("calling")
    await Caller.act()
    return "called"


async def test_an_event_during_a_tick_costs_no_result(still):
    """B6, B9, defect 4: the write that it refuses is planned again; the step is not executed again."""
    node = still.node(hearing)
    instance = await node.workflows.hearing.create("i")
    Caller.act = lambda: instance.send_event("word", "heard")
    await node.engine.tick()
    assert await instance.result(timeout=0) == ["called", "heard"]
    assert Outside.calls == ["calling"]


async def test_a_cancellation_during_a_tick_is_delivered(frozen):
    """B6, E5, E7: it reaches the body with the step's result, which is recorded."""
    node = frozen.node(hearing)
    instance = await node.workflows.hearing.create("i")
    Caller.act = lambda: instance.cancel("enough")
    await node.engine.tick()
    with pytest.raises(WorkflowCancelledError):
        await instance.result(timeout=0)
    assert Outside.calls == ["calling"]


@pytest.mark.parametrize("verb", ["pause", "terminate", "restart"])
async def test_a_run_taken_away_during_a_tick_is_not_written(frozen, verb):
    """B3, E3, E6, E7, defect 6: the tick's result goes nowhere."""
    node = frozen.node(hearing)
    instance = await node.workflows.hearing.create("i")
    done: list[str] = []

    async def act() -> None:
        if not done:
            done.append(verb)
            await getattr(instance, verb)()

    Caller.act = act
    await node.engine.tick(max_instances=1)
    old = await instance.history(run=1)
    assert old.steps == ()
    wanted = {"pause": "paused", "terminate": "terminated", "restart": "active"}[verb]
    assert (await instance.status()).status == wanted


@define(name="siblings", retry=Retry(max_attempts=1))
async def siblings(event: WorkflowEvent[None], step: WorkflowStep) -> list[str]:
    """Steps side by side: two that write through ``tx``, one that does not, one transaction."""
    return list(
        await asyncio.gather(
            step.do("plain", note, "plain"),
            step.do("first", buffering, 1),
            step.do("second", buffering, 2),
            step.transaction("own", own, 3),
        )
    )


async def buffering(value: int, context: StepContext) -> str:
    """A write that joins the boundary."""
    Outside.calls.append(f"{context.instance_id} {value}")
    context.tx.execute(INSERT, {"value": value})
    return str(value)


def own(session, value: int, context: StepContext) -> str:
    """A write in the boundary's own transaction."""
    Outside.calls.append(f"{context.instance_id} {value}")
    session.execute(INSERT, {"value": value})
    return str(value)


async def test_siblings_are_executed_once_whoever_writes(still):
    """B9, C8, defect 5: what ended beside a step with its own transaction is kept, and all rows are there once."""
    still.execute("CREATE TABLE effect (value INTEGER PRIMARY KEY)")
    node = still.node(siblings)
    instance = await node.workflows.siblings.create("i")
    await node.engine.tick()
    assert await instance.result(timeout=0) == ["plain", "1", "2", "3"]
    assert sorted(Outside.calls) == ["i 1", "i 2", "i 3", "i plain"]
    assert sorted(row[0] for row in still.execute("SELECT value FROM effect")) == [1, 2, 3]
    assert sorted(row.seq for row in still.rows(tables.run_step)) == [1, 2, 3, 4]


@define(name="clashing", retry=Retry(max_attempts=3))
async def clashing(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """Two writes of one key."""
    await step.do("first", buffering, 1)
    await step.do("second", buffering, 1)
    return "both"


async def test_a_violation_in_a_tick_ends_the_step(frozen):
    """C8: a unique violation is the step's failure, in ticks too."""
    frozen.execute("CREATE TABLE effect (value INTEGER PRIMARY KEY)")
    node = frozen.node(clashing)
    instance = await node.workflows.clashing.create("i")
    await node.engine.tick()
    with pytest.raises(WorkflowFailedError, match="IntegrityError"):
        await instance.result(timeout=0)
    assert frozen.execute("SELECT count(*) FROM effect") == [(1,)]


@define(name="timed", retry=Retry(max_attempts=3, delay="1 minute", backoff="constant"))
async def timed(event: WorkflowEvent[None], step: WorkflowStep) -> list[object]:
    """A sleep, a timeout and a retry."""

    async def heard() -> object:
        return await step.wait_for_event("word", "word", timeout="3 minutes", default=None)

    return list(await asyncio.gather(step.sleep("rest", "2 minutes"), heard(), step.do("flaky", flaky)))


async def flaky(context: StepContext) -> int:
    """Fail once."""
    Outside.calls.append(f"flaky {context.attempt}")
    if context.attempt == 1:
        raise ConnectionError("first")
    return context.attempt


async def test_ticks_say_when_to_look_next(frozen, clock):
    """B9, D2, C4: each deadline in its order, none early, none lost."""
    node = frozen.node(timed)
    instance = await node.workflows.timed.create("i")
    seen = []
    for _ in range(4):
        result = await node.engine.tick()
        early = await node.engine.tick()
        assert early.processed == 0
        if result.next_due is not None:
            seen.append(int(result.next_due.timestamp() * 1000) - 1_800_000_000_000)
            clock.ms = int(result.next_due.timestamp() * 1000)
    assert seen == [60_000, 120_000, 180_000]
    assert await instance.result(timeout=0) == [None, None, 2]
    assert Outside.calls == ["flaky 1", "flaky 2"]


async def test_a_run_that_cannot_be_advanced_holds_up_no_other(frozen, clock, monkeypatch):
    """C5: a defect met by one run leaves it for later; all others are ticked."""
    node = frozen.node(walk)
    for name in ("a", "b", "c"):
        await node.workflows.walk.create(name, params=1)
        clock.ms += 1
    load = node.engine._optimist._load

    async def broken(due, stale):
        if due.run.instance_id == "a":
            raise AssertionError("a defect")
        return await load(due, stale)

    monkeypatch.setattr(node.engine._optimist, "_load", broken)
    result = await node.engine.tick()
    assert Outside.calls == ["b 0", "c 0"]
    assert result.next_due is not None
    assert int(result.next_due.timestamp() * 1000) == clock.ms + 60_000
    monkeypatch.undo()
    clock.advance(60)
    await node.engine.tick()
    assert Outside.calls == ["b 0", "c 0", "a 0"]


async def test_a_conflict_leaves_the_run_to_another_tick(lite):
    """C5, defect 7: a tick that meets a conflict is given up; the run is not errored, others are ticked."""
    node = lite.node(walk)
    made = [await node.workflows.walk.create(name, params=1) for name in ("a", "b")]
    met = []

    async def conflict(label):
        if label == "tick" and not met:
            met.append(label)
            raise StoreConflictError("deadlock")

    node.tap.before = conflict
    await node.engine.tick()
    statuses = [(await each.status()).status for each in made]
    assert sorted(statuses) == ["active", "complete"]
    await node.engine.tick()
    assert [await each.result(timeout=0) for each in made] == [1, 1]


async def test_an_outage_is_told_to_the_caller_and_repeated_work_is_safe(lite):
    """C5: a tick without its database raises; the next one goes on, also when a write's answer was lost."""
    node = lite.node(walk)
    instance = await node.workflows.walk.create("i", params=3)
    lost = []

    async def lose(label):
        if label == "tick" and len(lost) < 2:
            lost.append(label)
            raise StoreUnavailableError("the answer is lost")

    node.tap.after = lose
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await node.engine.tick()
    await node.engine.tick()
    assert await instance.result(timeout=0) == 3
    assert Outside.calls == ["i 0", "i 1", "i 2"]


def test_ticks_leave_held_runs_alone_until_their_lease_ends(virtually):
    """B2, B9: a run in a runner's hands is not ticked; when the lease has ended it is."""
    gates: list[asyncio.Event] = []

    async def gated() -> str:
        Outside.calls.append("gated")
        await gates[0].wait()
        return "ended"

    @define(name="held")
    async def held(event: WorkflowEvent[None], step: WorkflowStep) -> str:
        return await step.do("gated", gated)

    async def main(fleet):
        gates.append(asyncio.Event())
        node = await fleet.started(held)
        await node.workflows.held.create("i")
        await fleet.until(lambda: Outside.calls)
        ticker = fleet.node(held)
        await ticker.engine.open()
        assert (await ticker.engine.tick()).processed == 0
        await node.crash()
        gates[0].set()
        result = await ticker.engine.tick()
        assert (result.processed, result.next_due is None) == (0, False)
        await fleet.passing(31)
        assert (await ticker.engine.tick()).processed == 1
        assert Outside.calls == ["gated", "gated"]

    virtually(main)


async def test_a_crash_loop_is_seen_by_ticks_too(frozen):
    """B7: a run that was taken over too often is errored, not executed."""
    node = frozen.node(walk, limits=Limits(takeovers_max=3))
    instance = await node.workflows.walk.create("i", params=1)
    frozen.execute("UPDATE keepstep_task SET takeovers = 3")
    await node.engine.tick()
    with pytest.raises(WorkflowFailedError, match="RunnerCrashLoopError"):
        await instance.result(timeout=0)
    assert Outside.calls == []
