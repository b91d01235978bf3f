"""A group commit and an operation of the outside on one of its runs, each way round: one loses, and alone (B3, B6, E7)."""

import pytest

from keepstep.errors import InstanceTerminalError
from keepstep.model.plan import Finish, Hold, Park
from keepstep.model.status import Status
from keepstep.services import steer
from keepstep.services.events import NewEvent, send_event
from keepstep.services.target import Target
from keepstep.store.boundaries import commit_group
from keepstep.store.claims import claim, renew, rescue_process
from tests.support.rows import NOW, RUN_ID, RUNNER_ID, run_row, step_row, task_row

BESIDE = 8
NEXT = 9
TARGET = Target("order", f"o-{RUN_ID}")
ENDS = {
    "hold": Hold(),
    "park": Park(NOW + 5),
    "finish": Finish(Status.COMPLETE, '"done"', None),
}
ASKED = {
    "pause": lambda: steer.pause("postgresql", TARGET),
    "cancel": lambda: steer.cancel("postgresql", TARGET, "no more"),
    "terminate": lambda: steer.terminate("postgresql", TARGET, None),
    "restart": lambda: steer.restart("postgresql", TARGET, NEXT, None, None),
    "event": lambda: send_event("postgresql", TARGET, NewEvent("go", "1", None), if_waiting=False),
}
KEPT_AFTER = {("pause", "hold"), ("cancel", "hold"), ("event", "hold")}
"""Operations that leave a step's result its place: they raise no fence, and a run that goes on compares only that."""
STATUS_AFTER_BOTH = {
    # what was asked for first, then the run's end: the status of the run when both are over
    "pause": "active",
    "cancel": "active",
    "terminate": "terminated",
    "restart": "terminated",
    "event": "active",
}
STATUS_OF_LATER = {
    # an end first, then what was asked for: the status of the run when both are over
    ("pause", "hold"): "active",
    ("pause", "park"): "paused",
    ("cancel", "hold"): "active",
    ("cancel", "park"): "active",
    ("event", "hold"): "active",
    ("event", "park"): "waiting",
    ("terminate", "hold"): "terminated",
    ("terminate", "park"): "terminated",
    ("restart", "hold"): "terminated",
    ("restart", "park"): "terminated",
    ("restart", "finish"): "complete",
}


@pytest.fixture
async def held(arena, boundary):
    """Two runs that a runner holds, and makers of its group: one records a step for each, with an end for the first."""
    await arena.runner()
    await arena.hold(RUN_ID, BESIDE)

    def group(end):
        pair = [
            boundary(run_id, each, steps=(step_row("do:x", 1, run_id=run_id),))
            for run_id, each in ((RUN_ID, end), (BESIDE, Hold()))
        ]
        return commit_group("postgresql", RUNNER_ID, 1, pair)

    return group


async def stored(arena):
    """Status of the run, and whose steps are stored."""
    ((status,),) = await arena.fetch("SELECT status FROM keepstep_run WHERE id = $1", RUN_ID)
    return status, {row[0] for row in await arena.fetch("SELECT run_id FROM keepstep_run_step")}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("asked", ASKED)
async def test_what_is_asked_first_is_judged_by_the_group(arena, held, asked, end):
    """The group waits for it; where it has lost its guard it loses alone, the other run is written (B3, B6, E7)."""
    raced = await arena.race(ASKED[asked](), held(ENDS[end]))
    assert raced.waited
    kept = (asked, end) in KEPT_AFTER
    assert raced.second.epoch_held
    assert raced.second.kept == ({RUN_ID, BESIDE} if kept else {BESIDE})
    assert await stored(arena) == (STATUS_AFTER_BOTH[asked], {RUN_ID, BESIDE} if kept else {BESIDE})


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("asked", ASKED)
async def test_a_group_that_came_first_is_judged_by_what_is_asked(arena, held, asked, end):
    """What is asked waits for the group, and then is of a run that is further on, or has ended (E3, E5, E6, E7, D7)."""
    raced = await arena.race(held(ENDS[end]), ASKED[asked]())
    assert raced.waited
    assert raced.first.kept == {RUN_ID, BESIDE}
    status, steps = await stored(arena)
    assert steps == {RUN_ID, BESIDE}
    if end == "finish" and asked != "restart":
        assert isinstance(raced.second, InstanceTerminalError)
        assert status == "complete"
        assert await arena.fetch("SELECT run_id FROM keepstep_event") == []
    else:
        assert not isinstance(raced.second, Exception)
        assert status == STATUS_OF_LATER[asked, end]


@pytest.mark.parametrize("asked", ASKED)
async def test_what_is_rolled_back_costs_the_group_nothing(arena, held, asked):
    """A waiting group finds the run as it was (B1)."""
    raced = await arena.race(ASKED[asked](), held(ENDS["finish"]), commits=False)
    assert raced.waited
    assert raced.second.kept == {RUN_ID, BESIDE}
    assert (await stored(arena))[0] == "complete"


@pytest.mark.parametrize("end", ENDS)
async def test_a_takeover_first_stops_the_group(arena, held, end):
    """The epoch was raised: nothing of the group is written (B3)."""
    raced = await arena.race(rescue_process("postgresql", [RUNNER_ID]), held(ENDS[end]))
    assert raced.waited
    assert (raced.second.kept, raced.second.epoch_held) == (frozenset(), False)
    assert await stored(arena) == ("active", set())


@pytest.mark.parametrize("end", ENDS)
async def test_a_group_first_is_written_and_then_taken_over(arena, held, end):
    """The takeover waits for what is on its way and frees what is left (B2, B3)."""
    raced = await arena.race(held(ENDS[end]), rescue_process("postgresql", [RUNNER_ID]))
    assert raced.waited
    assert raced.first.kept == {RUN_ID, BESIDE}
    assert sorted(raced.second) == ([RUN_ID, BESIDE] if end == "hold" else [BESIDE])
    assert await arena.fetch("SELECT DISTINCT owner FROM keepstep_task") == [(None,)]


@pytest.mark.parametrize("first", ["group", "renewal"])
async def test_a_renewal_and_a_group_pass_each_other(arena, held, first):
    """However long either takes, the other does not wait (B4)."""
    pair = [held(Hold()), renew(RUNNER_ID, 1, 30_000)]
    raced = await arena.race(*(pair if first == "group" else reversed(pair)))
    assert not raced.waited
    assert None not in (raced.first, raced.second)


async def due(arena, *run_ids):
    """Insert runs that are due, and two runners."""
    await arena.runner(RUNNER_ID)
    await arena.runner(RUNNER_ID + 1)
    for run_id in run_ids:
        await arena.add(run_row(id=run_id, instance_id=f"o-{run_id}"), task_row(run_id=run_id, run_at=NOW))


@pytest.mark.parametrize("commits", [True, False])
async def test_two_claims_take_different_runs(arena, commits):
    """The second passes by what the first has locked, without waiting; nothing is claimed twice (B2)."""
    await due(arena, 1, 2, 3)
    scripts = [claim("postgresql", RUNNER_ID + n, 1, 2, ["order"]) for n in (0, 1)]
    raced = await arena.race(*scripts, commits=commits)
    assert not raced.waited
    assert [each.run.id for each in raced.second.claimed] == [3]
    owners = await arena.fetch("SELECT run_id, owner, fence FROM keepstep_task ORDER BY run_id")
    first = (RUNNER_ID, 5) if commits else (None, 4)
    assert owners == [(1, *first), (2, *first), (3, RUNNER_ID + 1, 5)]


@pytest.mark.parametrize("asked", ["pause", "cancel", "terminate", "restart"])
async def test_a_claim_and_an_operation(arena, asked):
    """A claim passes by a run that is being steered; an operation waits for a claim and follows it (B2, E5)."""
    await due(arena, RUN_ID)
    claiming = [claim("postgresql", RUNNER_ID, 1, 9, ["order"]) for _ in range(2)]
    raced = await arena.race(ASKED[asked](), claiming[0], commits=False)
    assert (raced.waited, raced.second.claimed) == (False, [])
    raced = await arena.race(claiming[1], ASKED[asked]())
    assert raced.waited
    assert [each.run.id for each in raced.first.claimed] == [RUN_ID]
    expected = {"pause": "active", "cancel": "active"}.get(asked, "terminated")
    assert (await stored(arena))[0] == expected
