"""Beginnings, ticks, hooks and migrations that meet on PostgreSQL, each pair in a forced order (E2, E6, B9, F1)."""

import pytest

from keepstep.errors import InstanceStateError, InstanceTerminalError
from keepstep.model.hooks import Again, Delivered, Finished
from keepstep.model.outcome import ErrorInfo
from keepstep.model.plan import Consumed, Creation, Finish, Hold, Park, Release
from keepstep.model.recorded import error_text
from keepstep.model.status import Status, StepStatus
from keepstep.services import steer
from keepstep.services.create import NewInstance, create
from keepstep.services.events import NewEvent, send_event
from keepstep.services.target import Target
from keepstep.store.boundaries import commit_group, commit_optimistic
from keepstep.store.claims import claim
from keepstep.store.hooks import Trigger, claim_hooks, finish_hooks, insert_trigger
from keepstep.store.rescue import rescue
from keepstep.store.runs import ADD_STEP, insert_creations, load_events
from keepstep.store.script import Call
from tests.support.rows import NOW, RUN_ID, RUNNER_ID, run_row, step_row, task_row

TARGET = Target("order", f"o-{RUN_ID}")
DONE = Finish(Status.COMPLETE, '"done"', None)


def new(run_id, instance_id="o-7"):
    """A request for an instance."""
    return NewInstance("order", 1, instance_id, run_id, "1")


def add_steps(rows):
    """Put these rows there."""
    yield Call(ADD_STEP, rows)


def begin(run_id):
    """What ``restart_or_create`` does."""
    over = [Status.COMPLETE]
    first = lambda: new(run_id)  # noqa: E731
    return steer.restart_or_create(
        "postgresql", TARGET, run_id, params=None, first=first, if_status_in=over, if_run=None
    )


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize(("first", "second"), [([21], [22]), ([21, 23], [24, 22])], ids=["one", "batch"])
async def test_one_id_is_created_once(arena, first, second, commits):
    """The second waits for the first: it finds the instance there, or makes it after a rollback (E2)."""
    ids = {21: "a", 22: "a", 23: "b", 24: "b"}
    requests = [[new(each, ids[each]) for each in side] for side in (first, second)]
    raced = await arena.race(*(create("postgresql", each) for each in requests), commits=commits)
    assert raced.waited
    expected = first if commits else second
    assert [row[0] for row in await arena.fetch("SELECT id FROM keepstep_run ORDER BY id")] == sorted(
        expected
    )
    assert [row[0] for row in await arena.fetch("SELECT run_id FROM keepstep_task ORDER BY 1")] == sorted(
        expected
    )


@pytest.mark.parametrize("first", ["group", "script"])
async def test_an_id_of_a_group_and_of_a_script_is_created_once(arena, first):
    """A runner's own starts and those of other processes exclude each other (E2)."""
    await arena.runner()
    group = commit_group("postgresql", RUNNER_ID, 1, [], [Creation(run_row(id=21), task_row(run_id=21))])
    script = insert_creations("postgresql", [Creation(run_row(id=22), task_row(run_id=22))])
    raced = await arena.race(*((group, script) if first == "group" else (script, group)))
    assert raced.waited
    lost = raced.second if first == "group" else raced.second.kept
    assert lost == frozenset()
    assert await arena.fetch("SELECT id FROM keepstep_run") == [(21 if first == "group" else 22,)]


@pytest.mark.parametrize("commits", [True, False])
async def test_an_instance_is_begun_once_by_two(arena, commits):
    """Of two that find none, the second sees the first's instance live, and refuses (E6)."""
    raced = await arena.race(begin(21), begin(22), commits=commits)
    assert raced.waited
    assert isinstance(raced.second, InstanceStateError) is commits
    assert await arena.fetch("SELECT id, run_number, latest FROM keepstep_run") == [
        (21 if commits else 22, 1, True)
    ]


@pytest.mark.parametrize("commits", [True, False])
async def test_an_instance_that_has_ended_is_begun_again_once_by_two(arena, commits):
    """Of two that find it ended one makes the next run, and there is one newest run (E6)."""
    ended = run_row(Status.COMPLETE, run_number=1, instance_id=TARGET.instance_id)
    await arena.add(ended, task_row())
    await arena.bare.execute("DELETE FROM keepstep_task")
    raced = await arena.race(begin(21), begin(22), commits=commits)
    assert raced.waited
    assert isinstance(raced.second, InstanceStateError) is commits
    found = await arena.fetch("SELECT id, run_number, latest FROM keepstep_run ORDER BY id")
    assert found == [(RUN_ID, 1, False), (21 if commits else 22, 2, True)]


@pytest.mark.parametrize("commits", [True, False])
async def test_an_event_for_a_run_that_is_being_reopened(arena, commits):
    """It waits, and then finds the run live with the task that was inserted meanwhile, or ended as it was (E4, E7)."""
    error = error_text(ErrorInfo("E", "no", None, "do:x"))
    await arena.add(run_row(Status.ERRORED, instance_id=TARGET.instance_id, error=error), task_row())
    await arena.bare.execute("DELETE FROM keepstep_task")
    await arena.run(add_steps([step_row("do:x", 1, StepStatus.FAILED, error=error)]))
    again = steer.retry_failed_step("postgresql", TARGET)
    event = send_event("postgresql", TARGET, NewEvent("go", "1", None), if_waiting=False)
    raced = await arena.race(again, event, commits=commits)
    assert raced.waited
    assert isinstance(raced.second, InstanceTerminalError) is not commits
    assert [row[0] for row in await arena.fetch("SELECT type FROM keepstep_event")] == ["go"] * commits
    assert len(await arena.fetch("SELECT run_id FROM keepstep_task")) == commits


def tick(boundary, end=None, **changes):
    """An optimistic tick that records a step."""
    boundary_ = boundary(end=end or Release(NOW), steps=(step_row("do:x", 1, **changes),))
    return commit_optimistic("postgresql", boundary_)


@pytest.mark.parametrize("commits", [True, False])
async def test_of_two_ticks_one_writes(arena, boundary, commits):
    """Both read the same; the fence that the first raised refuses the second (B9, B3)."""
    await arena.add(run_row(), task_row())
    raced = await arena.race(tick(boundary, result="1"), tick(boundary, result="2"), commits=commits)
    assert raced.waited
    assert raced.second is not commits
    assert await arena.fetch("SELECT result FROM keepstep_run_step") == [("1" if commits else "2",)]
    assert await arena.fetch("SELECT fence FROM keepstep_task") == [(5,)]


async def test_a_tick_waits_for_a_claim_and_loses(arena, boundary):
    """What a live runner holds no tick advances (B9, B2)."""
    await arena.runner()
    await arena.add(run_row(), task_row(run_at=NOW))
    raced = await arena.race(claim("postgresql", RUNNER_ID, 1, 9, ["order"]), tick(boundary))
    assert (raced.waited, raced.second) == (True, False)
    assert await arena.fetch("SELECT key FROM keepstep_run_step") == []


async def test_a_claim_passes_by_a_run_that_a_tick_writes(arena, boundary):
    """The runner takes other runs, and this one when it is due again (B9, B2)."""
    await arena.runner()
    await arena.add(run_row(), task_row(run_at=NOW))
    raced = await arena.race(tick(boundary, Park(NOW + 9)), claim("postgresql", RUNNER_ID, 1, 9, ["order"]))
    assert (raced.waited, raced.first, raced.second.claimed) == (False, True, [])
    assert await arena.fetch("SELECT owner, fence FROM keepstep_task") == [(None, 5)]


@pytest.mark.parametrize("first", ["tick", "rescue"])
async def test_a_tick_and_a_rescue_of_an_expired_run(arena, boundary, first):
    """Both take the run from a dead runner; the fence is raised by each that succeeds, and one boundary is written."""
    await arena.runner(lease_ms=1_000)
    await arena.hold()
    arena.clock.now += 1_001
    pair = [tick(boundary), rescue("postgresql", 10)]
    raced = await arena.race(*(pair if first == "tick" else reversed(pair)))
    assert raced.waited
    ((owner, fence),) = await arena.fetch("SELECT owner, fence FROM keepstep_task")
    assert owner is None
    if first == "tick":
        assert (raced.first, raced.second, fence) == (True, [], 5)
    else:
        assert (raced.first, raced.second, fence) == ([RUN_ID], False, 5)


@pytest.mark.parametrize("first", ["holder", "tick"])
async def test_two_consumers_of_one_event(arena, boundary, first):
    """A tick takes the event from a runner whose lease has ended, while that still commits it: one consumes (B1, D4)."""
    await arena.runner(lease_ms=1_000)
    await arena.hold()
    await arena.bare.execute(
        "INSERT INTO keepstep_event (run_id, type, payload, accepted_at) VALUES ($1, 'go', '1', 1)", RUN_ID
    )
    arena.clock.now += 1_001
    (event,) = (await arena.run(load_events("postgresql", [RUN_ID]), "read"))[RUN_ID]

    def consuming(key, end):
        step = step_row(f"wait:{key}", 1, event_type="go")
        return boundary(end=end, steps=(step,), consumed=(Consumed(event.id, step.key),))

    holder = commit_group("postgresql", RUNNER_ID, 1, [consuming("holder", Hold())])
    pair = [holder, commit_optimistic("postgresql", consuming("tick", Release(NOW)))]
    raced = await arena.race(*(pair if first == "holder" else reversed(pair)))
    assert raced.waited
    consumed = await arena.fetch("SELECT consumed_by FROM keepstep_event")
    steps = await arena.fetch("SELECT key FROM keepstep_run_step ORDER BY key")
    if first == "tick":
        assert raced.second.kept == frozenset()
        assert (consumed, steps) == ([("wait:tick",)], [("wait:tick",)])
    else:
        assert raced.first.kept == {RUN_ID}
        assert consumed == [("wait:holder",)]
        assert raced.second is False


@pytest.mark.parametrize("first", ["event", "park"])
async def test_no_wake_up_is_lost_between_an_event_and_a_suspension(arena, boundary, first):
    """The suspension is refused, or the event finds the wait and makes the run due: never neither (B6, defect 4)."""
    await arena.runner()
    await arena.hold()
    waiting = step_row("wait:go", None, StepStatus.WAITING, event_type="go")
    park = commit_group("postgresql", RUNNER_ID, 1, [boundary(end=Park(None), steps=(waiting,))])
    event = send_event("postgresql", TARGET, NewEvent("go", "1", None), if_waiting=False)
    raced = await arena.race(*((event, park) if first == "event" else (park, event)))
    assert raced.waited
    ((owner, run_at, wake_seq),) = await arena.fetch("SELECT owner, run_at, wake_seq FROM keepstep_task")
    assert wake_seq == 10
    if first == "event":
        assert (raced.second.kept, owner) == (frozenset(), RUNNER_ID)
    else:
        assert (raced.first.kept, owner, run_at) == ({RUN_ID}, None, NOW)


def triggered(id_, key=None):
    """A row of the outbox."""
    return insert_trigger(Trigger(id_, "mail", key, None, "1", None))


async def test_two_claims_of_hooks_take_different_rows(arena):
    """The second passes by what the first has locked (F1)."""
    for each in (1, 2, 3):
        await arena.run(triggered(each))
    raced = await arena.race(*(claim_hooks("postgresql", {"mail": 2}, 1_000, NOW) for _ in range(2)))
    assert not raced.waited
    taken = [sorted(row.id for row in found) for found in (raced.first, raced.second)]
    assert sorted(taken[0] + taken[1]) == [1, 2, 3]
    assert await arena.fetch("SELECT DISTINCT attempt, fence FROM keepstep_hook") == [(1, 1)]


@pytest.mark.parametrize("outcome", [Delivered(), Again(NOW + 9, "{}")], ids=["delivered", "again"])
@pytest.mark.parametrize("first", ["takeover", "end"])
async def test_the_end_of_a_stuck_delivery_and_its_takeover(arena, first, outcome):
    """A delivery that was taken over ends nothing; one that ended in time is not taken over (F1)."""
    await arena.run(triggered(1))
    await arena.run(claim_hooks("postgresql", {"mail": 1}, 1_000, NOW))
    arena.clock.now += 1_001
    end = finish_hooks([Finished(1, 1, outcome, arena.clock.now)])
    takeover = claim_hooks("postgresql", {"mail": 1}, 1_000, arena.clock.now)
    raced = await arena.race(*((takeover, end) if first == "takeover" else (end, takeover)))
    ((status, attempt, fence),) = await arena.fetch("SELECT status, attempt, fence FROM keepstep_hook")
    if first == "takeover":
        assert raced.waited
        assert (status, attempt, fence) == ("delivering", 2, 2)
    else:
        assert (raced.waited, raced.second) == (False, [])
        assert (status, attempt, fence) == ("delivered" if outcome == Delivered() else "pending", 1, 1)


@pytest.mark.parametrize("commits", [True, False])
async def test_triggers_of_one_key_collapse(arena, commits):
    """The second waits, and then joins the first's row, or stands alone (F1)."""
    raced = await arena.race(triggered(1, "k"), triggered(2, "k"), commits=commits)
    assert raced.waited
    left = 1 if commits else 2
    assert raced.second == left
    assert await arena.fetch("SELECT id, status FROM keepstep_hook") == [(left, "pending")]
