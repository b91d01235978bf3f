"""Steering instances from outside, in the database: pause, resume, cancel, terminate, restart, retry (E3-E7)."""

import pytest

from keepstep.errors import (
    InstanceNotFoundError,
    InstanceStateError,
    InstanceTerminalError,
    InvalidInputError,
    StoreConflictError,
)
from keepstep.model.plan import Finish, Hold, Park
from keepstep.model.status import Status
from keepstep.services import create, read, steer
from keepstep.services.steer import READS_MAX
from keepstep.services.target import Target

ONE = Target("order", "o-1")
GONE = Target("order", "gone")


async def test_a_pause_of_an_idle_instance_is_immediate(world):
    """Nobody holds it, so it is paused at once and cannot be claimed; a repeat is a no-op (E3)."""
    await world.create("o-1")
    await world.run(steer.pause(world.dialect, ONE))
    before = await world.snapshot()
    assert (before.run.status, before.task.run_at) == ("paused", None)
    assert await world.claim() == {}
    await world.run(steer.pause(world.dialect, ONE))
    assert await world.snapshot() == before._replace(now=before.now)


async def test_a_pause_of_an_executing_instance_is_a_wish(world):
    """A held run goes on to its next boundary; details say `pausing` (E3)."""
    await world.create("o-1")
    claimed = (await world.claim())["o-1"]
    await world.run(steer.pause(world.dialect, ONE))
    details = await world.details()
    assert (details.status, details.pausing) == (Status.ACTIVE, True)
    assert not await world.commit(claimed, Park(None)), "a park that has not seen the pause commits (B6)"


async def test_resume_makes_a_paused_instance_due(world):
    """One tick now settles what fell due (E4)."""
    await world.create("o-1")
    await world.run(steer.pause(world.dialect, ONE))
    world.clock.now += 5_000
    await world.run(steer.resume(world.dialect, ONE))
    now = await world.snapshot()
    assert (now.run.status, now.task.run_at) == ("active", world.clock.now)
    assert "o-1" in await world.claim()


async def test_resume_of_what_is_not_paused_changes_nothing(world):
    """E4: a no-op, also on an ended instance."""
    await world.create("o-1")
    before = await world.snapshot()
    await world.run(steer.resume(world.dialect, ONE))
    assert await world.snapshot() == before
    await world.finish()
    await world.run(steer.resume(world.dialect, ONE))


async def test_terminate_ends_at_once_and_keeps_the_reason(world):
    """The run is terminated, its task is gone, a late boundary of its holder writes nothing (E5, E7)."""
    await world.create("o-1")
    claimed = (await world.claim())["o-1"]
    await world.run(steer.terminate(world.dialect, ONE, "fraud"))
    details = await world.details()
    assert (details.status, details.error.message) == (Status.TERMINATED, "fraud")
    assert (await world.snapshot()).task is None
    assert not await world.commit(claimed, Finish(Status.COMPLETE, "1", None))
    assert (await world.details()).status is Status.TERMINATED


async def test_cancel_wakes_the_body_and_a_repeat_is_nothing(world):
    """A cancellation makes the run due and is shown; the first reason stands (E5)."""
    await world.create("o-1")
    await world.wait_for("approval")
    await world.run(steer.cancel(world.dialect, ONE, "changed my mind"))
    await world.run(steer.cancel(world.dialect, ONE, "again"))
    now = await world.snapshot()
    assert (now.run.cancel_reason, now.task.run_at) == ("changed my mind", world.clock.now)
    assert (await world.details()).cancelling


@pytest.mark.parametrize("verb", [steer.pause, steer.terminate, steer.cancel])
async def test_an_ended_instance_cannot_be_steered(world, verb):
    """Pause, terminate and cancel of an ended instance say so (E3, E5, E7)."""
    await world.create("o-1")
    await world.finish()
    reason = () if verb is steer.pause else ("why",)
    with pytest.raises(InstanceTerminalError, match="instance 'o-1' is complete"):
        await world.run(verb(world.dialect, ONE, *reason))


@pytest.mark.parametrize(
    ("verb", "rest"),
    [
        (steer.pause, ()),
        (steer.resume, ()),
        (steer.terminate, ("r",)),
        (steer.cancel, ("r",)),
        (steer.restart, (9, None, None)),
        (steer.restart, (9, None, "do:a")),
        (steer.retry_failed_step, ()),
    ],
)
async def test_what_is_not_there_cannot_be_steered(world, verb, rest):
    """Each verb names the instance that is missing, and what to do (H)."""
    with pytest.raises(
        InstanceNotFoundError, match=r"workflow 'order' instance 'gone' does not exist.*create\(\)"
    ):
        await world.run(verb(world.dialect, GONE, *rest))


async def test_restart_begins_the_next_run_and_leaves_the_old_one_readable(world):
    """Same id, next number, new params, nothing of the old run's events or lease (E6)."""
    await world.create("o-1", params=1)
    await world.send("note", {"text": "for run 1"})
    claimed = (await world.claim())["o-1"]
    await world.run(steer.restart(world.dialect, ONE, 77, "2", None))
    details = await world.details()
    assert (details.run_number, details.params, details.buffered_events) == (2, 2, 0)
    assert not await world.commit(claimed, Hold(), [])
    old = await world.run(read.history(ONE, 1), "read")
    assert [event.payload for event in old.events] == [{"text": "for run 1"}]
    assert (await world.run(read.history(ONE, None), "read")).events == ()


async def test_restart_from_a_step_keeps_the_results_before_it(world):
    """The next run is seeded with what was recorded before that step (E6)."""
    await world.create("o-1")
    await world.fail("do:b")
    await world.run(steer.restart(world.dialect, ONE, 77, None, "do:b"))
    history = await world.run(read.history(ONE, None), "read")
    assert [(each.key, each.seq) for each in history.steps] == [("do:a", 1)]


async def test_restart_from_an_unknown_step_is_refused_with_the_known_ones(world):
    """E6, H: the message lists the steps there are."""
    await world.create("o-1")
    await world.fail("do:b")
    with pytest.raises(InvalidInputError, match="'do:a', 'do:b'"):
        await world.run(steer.restart(world.dialect, ONE, 77, None, "do:c"))


async def test_a_failed_step_is_re_opened_in_place(world):
    """The same run goes on, due now; the failure is forgotten (E6)."""
    await world.create("o-1")
    await world.fail("do:b")
    await world.run(steer.retry_failed_step(world.dialect, ONE))
    now = await world.snapshot()
    assert (now.run.status, now.run.run_number, now.run.error) == ("active", 1, None)
    history = await world.run(read.history(ONE, None), "read")
    assert [each.key for each in history.steps] == ["do:a"]
    assert "o-1" in await world.claim()


async def test_retry_of_what_did_not_fail_is_refused(world):
    """E6: there is no failed step to retry."""
    await world.create("o-1")
    with pytest.raises(InstanceStateError):
        await world.run(steer.retry_failed_step(world.dialect, ONE))


def restart_or_create(world, params=None, *, statuses=(Status.COMPLETE,), run=None):
    """The script for `o-1`, with a request that is checked."""
    first = create.read_new(world.order, "o-1", params, world.next_id(), world.limits)
    encoded = None if params is None else first.params
    return steer.restart_or_create(
        world.dialect,
        ONE,
        first.run_id,
        params=encoded,
        first=lambda: first,
        if_status_in=statuses,
        if_run=run,
    )


async def test_restart_or_create_creates_what_is_missing(world):
    """E6: no instance, so it is created."""
    await world.run(restart_or_create(world, 1))
    assert (await world.details()).run_number == 1


async def test_restart_or_create_restarts_what_stands_as_asked(world):
    """E6: the next run begins, with the params given or the same again."""
    await world.create("o-1", params=1)
    await world.finish()
    await world.run(restart_or_create(world, run=1))
    assert ((await world.details()).run_number, (await world.details()).params) == (2, 1)
    await world.finish()
    await world.run(restart_or_create(world, 5))
    assert ((await world.details()).run_number, (await world.details()).params) == (3, 5)


@pytest.mark.parametrize(
    ("statuses", "run", "said"),
    [
        ([Status.COMPLETE], None, "only when complete"),
        ([Status.ACTIVE], 4, "not in run 4"),
        ([], None, "no status"),
    ],
)
async def test_restart_or_create_leaves_alone_what_stands_otherwise(world, statuses, run, said):
    """E6: decided and done in one transaction, so a refusal changes nothing."""
    await world.create("o-1")
    before = await world.snapshot()
    with pytest.raises(InstanceStateError, match=said):
        await world.run(restart_or_create(world, statuses=statuses, run=run))
    assert await world.snapshot() == before


def driven(script, answers):
    """Drive a script by hand: each statement is answered by its label."""
    try:
        call = next(script)
        while True:
            call = script.send(answers(call))
    except StopIteration as stop:
        return stop.value


async def test_a_run_that_keeps_moving_is_given_up_as_a_conflict(world):
    """A refused plan is made again on a fresh read, a bounded number of times (B3, C5)."""
    await world.create("o-1")
    now = await world.snapshot()
    row = [now.now, *now.run, *now.task]
    reads = 0

    def answers(call):
        nonlocal reads
        if call.statement.label == "lock instance":
            reads += 1
            return [row]
        return [] if call.statement.label == "put run" else [(now.run.id,)]

    with pytest.raises(StoreConflictError, match="try again"):
        driven(steer.pause("sqlite", ONE), answers)
    assert reads == READS_MAX
