"""Group commits beside other transactions on PostgreSQL: each interleaving is forced by locks, none by time.

A second connection holds what the group needs, the test waits until the server says that the group waits for it, and
only then lets it go on. Or the group itself is held open at its commit, through the store's gate.
"""

import asyncio

import asyncpg
import pytest

from keepstep.errors import StoreConflictError
from keepstep.model.plan import Consumed, ContinueAsNew, Creation, Finish, Hold, Park, Release
from keepstep.model.status import Priority, Status, StepStatus
from keepstep.store import tables
from keepstep.store.boundaries import commit_optimistic
from keepstep.store.boundaries_pg import commit_group
from keepstep.store.claims import claim, renew
from keepstep.store.group import GroupResult
from keepstep.store.postgres import PostgresStore
from keepstep.store.rescue import rescue, rescue_process
from tests.support.rows import NOW, RUN_ID, RUNNER_ID, event_row, run_row, step_row, task_row

OTHER_RUN = 8
DONE = Finish(Status.COMPLETE, '"done"', None)


@pytest.fixture
def database_url(postgres_database):
    """These tests are about PostgreSQL's locks."""
    return postgres_database


@pytest.fixture
async def other(world):
    """A second connection, as another process or a host would have."""
    connection = await asyncpg.connect(world.store.url)
    yield connection
    await connection.close()


@pytest.fixture
async def watch(world):
    """Waits until so many statements of this database wait for a lock."""
    connection = await asyncpg.connect(world.store.url)

    async def blocked(count=1):
        async with asyncio.timeout(10):
            while await connection.fetchval(BLOCKED) < count:
                pass

    yield blocked
    await connection.close()


BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class Latch:
    """A gate that stops one label at its commit until it is told to go on."""

    def __init__(self, label):
        self.label = label
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, label, point):
        """Wait at the commit of that label."""
        if (label, point) == (self.label, "commit"):
            self.reached.set()
            await self.go_on.wait()


@pytest.fixture
async def held_open(world):
    """A store of the same database whose transaction ``"slow"`` stays open after its statements."""
    latch = Latch("slow")
    store = PostgresStore(world.store.url, clock=world.clock, gate=latch)
    await store.open()
    yield store, latch
    await store.close()


async def terminate(connection, run_id=RUN_ID):
    """What ``terminate`` writes: task first, then run; in the connection's transaction."""
    await connection.execute("SELECT FROM keepstep_task WHERE run_id = $1 FOR UPDATE", run_id)
    await connection.execute("SELECT FROM keepstep_run WHERE id = $1 FOR UPDATE", run_id)
    await connection.execute("DELETE FROM keepstep_task WHERE run_id = $1", run_id)
    await connection.execute(
        "UPDATE keepstep_run SET status = 'terminated', version = version + 1 WHERE id = $1", run_id
    )


async def wake(connection, run_id=RUN_ID):
    """What ``send_event`` does to the task."""
    await connection.execute("SELECT FROM keepstep_task WHERE run_id = $1 FOR UPDATE", run_id)
    await connection.execute("UPDATE keepstep_task SET wake_seq = wake_seq + 1 WHERE run_id = $1", run_id)


async def start(coroutine, watch):
    """Begin something and return once it waits for a lock."""
    task = asyncio.get_running_loop().create_task(coroutine)
    await watch()
    return task


ENDS = [Hold(), Park(NOW + 5), Release(NOW + 5), DONE]


@pytest.mark.parametrize("end", ENDS, ids=lambda each: type(each).__name__)
async def test_terminate_that_commits_first_wins(world, boundary, other, watch, end):
    """The group waits for it, judges the run as it then is, and commits the others (B3, E5, E7; defect 6)."""
    await world.runner()
    await world.hold(RUN_ID, OTHER_RUN)
    transaction = other.transaction()
    await transaction.start()
    await terminate(other)
    steps = [step_row("do:x", 1, run_id=run_id) for run_id in (RUN_ID, OTHER_RUN)]
    pair = [boundary(step.run_id, end, steps=(step,)) for step in steps]
    group = await start(world.group(pair), watch)
    await transaction.commit()
    assert await group == GroupResult(frozenset({OTHER_RUN}), epoch_held=True)
    assert (await world.row()).status == "terminated"
    assert [row[0] for row in await world.rows(tables.run_step)] == [OTHER_RUN]


@pytest.mark.parametrize("end", ENDS, ids=lambda each: type(each).__name__)
async def test_terminate_that_is_rolled_back_changes_nothing(world, boundary, other, watch, end):
    """The group waits and wins."""
    await world.runner()
    await world.hold()
    transaction = other.transaction()
    await transaction.start()
    await terminate(other)
    group = await start(world.group([boundary(end=end, steps=(step_row("do:x", 1),))]), watch)
    await transaction.rollback()
    assert (await group).kept == {RUN_ID}
    assert len(await world.rows(tables.run_step)) == 1


@pytest.mark.parametrize("end", ENDS, ids=lambda each: type(each).__name__)
async def test_terminate_waits_for_a_group_on_its_way(  # noqa: PLR0917  # fixtures are asked for by name
    world, boundary, other, watch, held_open, end
):
    """Once ``terminate`` has returned nothing of the run is written any more: a group on its way comes before it."""
    store, latch = held_open
    await world.runner()
    await world.hold()
    script = commit_group(RUNNER_ID, 1, [boundary(end=end, steps=(step_row("do:x", 1),))])
    group = asyncio.get_running_loop().create_task(store.transaction("slow", script))
    await latch.reached.wait()
    async with other.transaction():
        steering = await start(terminate(other), watch)
        latch.go_on.set()
        assert (await group).kept == {RUN_ID}
        await steering
        assert await other.fetchval("SELECT count(*) FROM keepstep_run_step") == 1


@pytest.mark.parametrize("end", [Park(None), DONE], ids=lambda each: type(each).__name__)
async def test_an_event_that_commits_first_keeps_the_run_awake(world, boundary, other, watch, end):
    """The end was planned without it: it loses, and the wake-up is not lost (B6; defect 4)."""
    await world.runner()
    await world.hold()
    transaction = other.transaction()
    await transaction.start()
    await wake(other)
    group = await start(world.group([boundary(end=end)]), watch)
    await transaction.commit()
    assert (await group).kept == frozenset()
    assert (await world.task()).owner == RUNNER_ID


async def test_an_event_that_commits_first_does_not_cost_a_result(world, boundary, other, watch):
    """A boundary that only records a step waits for it and wins (B6)."""
    await world.runner()
    await world.hold()
    transaction = other.transaction()
    await transaction.start()
    await wake(other)
    group = await start(world.group([boundary(steps=(step_row("do:x", 1),))]), watch)
    await transaction.commit()
    assert (await group).kept == {RUN_ID}


async def test_what_changes_only_the_schedule_passes_a_boundary_that_holds(world, boundary, other):
    """A lock that leaves the fence alone (NO KEY UPDATE) and a step's result do not wait for each other."""
    await world.runner()
    await world.hold()
    async with other.transaction():
        await other.execute("UPDATE keepstep_task SET run_at = 5 WHERE run_id = $1", RUN_ID)
        assert (await world.group([boundary(steps=(step_row("do:x", 1),))])).kept == {RUN_ID}


async def test_writes_follow_what_was_changed_while_they_waited(world, boundary, other, watch):
    """A park lands on the row's newest version and keeps what it does not change itself."""
    await world.runner()
    await world.hold()
    transaction = other.transaction()
    await transaction.start()
    await other.execute("UPDATE keepstep_task SET seen_seq = 77 WHERE run_id = $1", RUN_ID)
    group = await start(world.group([boundary(end=Park(NOW + 5))]), watch)
    await transaction.commit()
    assert (await group).kept == {RUN_ID}
    task = await world.task()
    assert (task.seen_seq, task.owner, task.run_at, task.takeovers) == (77, None, NOW + 5, 0)


async def test_a_run_that_changed_while_its_end_waited_is_not_ended(world, boundary, other, watch):
    """The version is judged on the run's newest row too, and the task stays (B1, B3)."""
    await world.runner()
    await world.hold()
    transaction = other.transaction()
    await transaction.start()
    await other.execute("UPDATE keepstep_run SET version = version + 1 WHERE id = $1", RUN_ID)
    group = await start(world.group([boundary(end=DONE, steps=(step_row("do:x", 1),))]), watch)
    await transaction.commit()
    assert (await group).kept == frozenset()
    assert (await world.task()).owner == RUNNER_ID
    assert await world.rows(tables.run_step) == []


async def test_a_takeover_that_commits_first_stops_the_whole_group(world, boundary, other, watch):
    """The lease is judged as it is after the wait; nothing is written (B3)."""
    await world.runner()
    await world.hold(RUN_ID, OTHER_RUN)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM keepstep_runner WHERE id = $1 FOR UPDATE", RUNNER_ID)
    await other.execute("UPDATE keepstep_runner SET epoch = epoch + 1 WHERE id = $1", RUNNER_ID)
    creation = Creation(run_row(id=9, instance_id="new"), task_row(run_id=9, owner=RUNNER_ID))
    group = await start(world.group([boundary(), boundary(OTHER_RUN, DONE)], [creation]), watch)
    await transaction.commit()
    assert await group == GroupResult(frozenset(), epoch_held=False)
    assert (await world.row(OTHER_RUN)).status == "active"
    assert len(await world.rows(tables.run)) == 2


async def test_a_takeover_waits_for_a_group_on_its_way(world, boundary, watch, held_open):
    """It then counts what that group wrote: the run had a boundary since, so it is no crash loop (B7)."""
    store, latch = held_open
    await world.runner()
    await world.hold(takeovers=3, seen_seq=0)
    script = commit_group(RUNNER_ID, 1, [boundary(steps=(step_row("do:x", 1),))])
    group = asyncio.get_running_loop().create_task(store.transaction("slow", script))
    await latch.reached.wait()
    taking = await start(world.run(rescue_process("postgresql", [RUNNER_ID])), watch)
    latch.go_on.set()
    assert (await group).kept == {RUN_ID}
    assert await taking == [RUN_ID]
    task = await world.task()
    assert (task.owner, task.fence, task.takeovers, task.seen_seq) == (None, 5, 1, 1)


async def test_an_expired_runner_whose_group_is_on_its_way_is_rescued_later(world, boundary, held_open):
    """A rescue passes by what it would have to wait for (B2)."""
    store, latch = held_open
    await world.runner()
    await world.hold()
    group = asyncio.get_running_loop().create_task(
        store.transaction("slow", commit_group(RUNNER_ID, 1, [boundary()]))
    )
    await latch.reached.wait()
    world.clock.now += 60_000
    assert await world.run(rescue("postgresql", 10)) == []
    latch.go_on.set()
    assert (await group).kept == {RUN_ID}
    assert await world.run(rescue("postgresql", 10)) == [RUN_ID]


async def test_a_renewal_does_not_wait_for_a_group(world, boundary, held_open):
    """However long a group takes, the lease is kept (B4; defect 9)."""
    store, latch = held_open
    await world.runner()
    await world.hold()
    group = asyncio.get_running_loop().create_task(
        store.transaction("slow", commit_group(RUNNER_ID, 1, [boundary()]))
    )
    await latch.reached.wait()
    assert await world.run(renew(RUNNER_ID, 1, 30_000), "single") is not None
    latch.go_on.set()
    assert (await group).epoch_held


async def test_a_group_does_not_wait_for_a_renewal(world, boundary, other):
    """Nor the other way round."""
    await world.runner()
    await world.hold()
    async with other.transaction():
        await other.execute("UPDATE keepstep_runner SET locked_until = locked_until + 1")
        assert (await world.group([boundary()])).kept == {RUN_ID}


async def test_a_tick_that_took_over_an_expired_run_shuts_its_holder_out(world, boundary, watch, held_open):
    """The holder's lease ended, but nobody raised its epoch: the fence alone decides, after the wait (B3, B9)."""
    store, latch = held_open
    await world.runner()
    await world.hold()
    world.clock.now += 60_000
    ticked = boundary(end=Release(NOW), steps=(step_row("do:x", 1),))
    tick = asyncio.get_running_loop().create_task(
        store.transaction("slow", commit_optimistic("postgresql", ticked))
    )
    await latch.reached.wait()
    group = await start(world.group([boundary(steps=(step_row("do:y", 1),))]), watch)
    latch.go_on.set()
    assert await tick is True
    assert (await group).kept == frozenset()
    assert [row[1] for row in await world.rows(tables.run_step)] == ["do:x"]


async def test_a_claim_passes_by_what_is_locked(world, other):
    """One steered task holds up nobody's claim (B2)."""
    await world.runner()
    for run_id in (RUN_ID, OTHER_RUN):
        await world.add(run_row(id=run_id, instance_id=f"o-{run_id}"), task_row(run_id=run_id, run_at=NOW))
    async with other.transaction():
        await wake(other)
        taken = await world.run(claim("postgresql", RUNNER_ID, 1, 10, ["order"]), "single")
    assert [each.run.id for each in taken.claimed] == [OTHER_RUN]


@pytest.mark.parametrize("end", ENDS, ids=lambda each: type(each).__name__)
async def test_a_group_that_does_not_wait_leaves_busy_runs_for_later(world, boundary, other, end):
    """A host's open transaction holds back its own run and nobody else's; nothing of that is lost (B3)."""
    await world.runner()
    await world.hold(RUN_ID, OTHER_RUN)
    pair = [
        boundary(run_id, end, steps=(step_row("do:x", 1, run_id=run_id),)) for run_id in (RUN_ID, OTHER_RUN)
    ]
    async with other.transaction():
        await other.execute("SELECT FROM keepstep_task WHERE run_id = $1 FOR UPDATE", RUN_ID)
        found = await world.run(commit_group(RUNNER_ID, 1, pair, wait=False), "single")
    assert found == GroupResult(frozenset({OTHER_RUN}), True, busy=frozenset({RUN_ID}))
    again = await world.run(commit_group(RUNNER_ID, 1, pair[:1], wait=False), "single")
    assert again == GroupResult(frozenset({RUN_ID}), True)
    assert len(await world.rows(tables.run_step)) == 2


async def test_a_locked_run_row_makes_an_end_busy(world, boundary, other):
    """Busy says that the guard held and only the lock was missing; a stale boundary is lost at once."""
    await world.runner()
    await world.hold(RUN_ID, OTHER_RUN)
    async with other.transaction():
        await other.execute("SELECT FROM keepstep_run FOR UPDATE")
        pair = [boundary(RUN_ID, DONE), boundary(OTHER_RUN, DONE, version=4)]
        found = await world.run(commit_group(RUNNER_ID, 1, pair, wait=False), "single")
    assert found == GroupResult(frozenset(), True, busy=frozenset({RUN_ID}))
    assert (await world.task()).owner == RUNNER_ID


async def test_a_wait_that_takes_too_long_is_a_conflict(world, boundary, other):
    """Nothing was written, and the connection is as good as before (C5)."""
    await world.runner()
    await world.hold()
    store = PostgresStore(world.store.url, clock=world.clock, lock_timeout_ms=20)
    async with other.transaction():
        await wake(other)
        with pytest.raises(StoreConflictError):
            await store.transaction("commit", commit_group(RUNNER_ID, 1, [boundary()]), "single")
    found = await store.transaction("commit", commit_group(RUNNER_ID, 1, [boundary()]), "single")
    assert found.kept == {RUN_ID}
    await store.close()


def creations(first_id, names):
    """Creations of these instances, their run ids counted from ``first_id``."""
    return [
        Creation(
            run_row(id=first_id + n, instance_id=name), task_row(run_id=first_id + n, priority=Priority.NEW)
        )
        for n, name in enumerate(names)
    ]


async def test_two_groups_that_create_the_same_instances_do_not_deadlock(world, watch, held_open):
    """Whatever order they were asked for in, each instance is created once (E2)."""
    store, latch = held_open
    await world.runner()
    names = [f"o-{n}" for n in range(20)]
    first = asyncio.get_running_loop().create_task(
        store.transaction("slow", commit_group(RUNNER_ID, 1, [], creations(100, names)))
    )
    await latch.reached.wait()
    second = await start(world.group([], creations(200, names[::-1])), watch)
    latch.go_on.set()
    assert (await first).kept == frozenset(range(100, 120))
    assert (await second).kept == frozenset()
    assert len(await world.rows(tables.run)) == len(await world.rows(tables.task)) == 20


async def test_a_creation_whose_outcome_was_unknown_is_recognised(world):
    """The same group again, after a connection was lost at its commit, says what the first one did."""
    await world.runner()
    new = creations(100, ["o-1", "o-2"])
    await world.group([], new[:1])
    assert (await world.group([], new)).kept == {100, 101}
    assert (await world.group([], new)).kept == {100, 101}
    assert (await world.group([], creations(300, ["o-1"]))).kept == frozenset()


async def test_a_step_that_comes_twice_in_a_group_is_stored_as_it_was_last(world, boundary):
    """A failed attempt and the next one's result, of one run in one group: the result counts (C2)."""
    await world.runner()
    await world.hold()
    retrying = step_row("do:x", None, StepStatus.RETRYING)
    done = step_row("do:x", 1, attempt=2)
    assert (await world.group([boundary(steps=(retrying,)), boundary(steps=(done,))])).kept == {RUN_ID}
    assert [row[2:5] for row in await world.rows(tables.run_step)] == [(1, "completed", 2)]


async def test_of_a_step_that_comes_twice_only_what_holds_is_stored(world, boundary):
    """The later boundary loses: the earlier one's row stays."""
    await world.runner()
    await world.hold()
    retrying = step_row("do:x", None, StepStatus.RETRYING)
    lost = boundary(end=DONE, wake_seq=3, steps=(step_row("do:x", 1),))
    found = await world.group([boundary(steps=(retrying,)), lost])
    assert RUN_ID not in found.kept
    assert [row[2:5] for row in await world.rows(tables.run_step)] == [(None, "retrying", 1)]


async def test_an_event_is_consumed_with_the_boundary_that_took_it(world, boundary, other):
    """Only the run's own, still unconsumed event is marked (D4)."""
    await world.runner()
    await world.hold(RUN_ID, OTHER_RUN)
    for event_id in (1, 2):
        await other.execute(
            "INSERT INTO keepstep_event OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7)",
            *event_row(event_id),
        )
    taken = (Consumed(1, "wait:a"),)
    await world.group([boundary(consumed=taken), boundary(OTHER_RUN, consumed=(Consumed(2, "wait:b"),))])
    assert [row[-1] for row in await world.rows(tables.event)] == ["wait:a", None]


async def test_hundreds_of_runs_continue_as_new_under_other_creations(world, boundary):
    """The next run takes the place of the one before within one statement (C10)."""
    await world.runner()
    ids = range(100, 400)
    await world.hold(*ids)

    def following(run_id):
        run = run_row(id=run_id + 1000, instance_id=f"o-{run_id}", run_number=4)
        return ContinueAsNew(run, task_row(run_id=run.id, owner=None))

    group = [boundary(run_id, following(run_id)) for run_id in ids]
    assert (await world.group(group, creations(5000, ["new"]))).kept == {*ids, 5000}
    latest = [row[0] for row in await world.rows(tables.run) if row[4]]
    assert latest == [*(run_id + 1000 for run_id in ids), 5000]


async def test_columns_that_differ_and_columns_that_do_not_are_stored_alike(world, boundary):
    """Values that all rows share are sent once; what is stored does not tell."""
    await world.runner()
    await world.hold(*range(10, 14))
    plain = [step_row("do:a", 1, run_id=10), step_row("do:a", 1, run_id=11)]
    mixed = [
        plain[0]._replace(key="do:b", seq=2),
        step_row("do:b", 2, StepStatus.FAILED, run_id=11, error="{}"),
    ]
    for steps in (plain, mixed):
        await world.group([boundary(step.run_id, steps=(step,)) for step in steps])
    assert [tuple(row) for row in await world.rows(tables.run_step)] == [
        tuple(row) for row in (plain[0], mixed[0], plain[1], mixed[1])
    ]
    ends = [DONE, DONE, DONE, Finish(Status.ERRORED, None, "{}")]
    await world.group([boundary(10, ends[0]), boundary(11, ends[1])])
    await world.group([boundary(12, ends[2]), boundary(13, ends[3])])
    ended = [(row[6], row[15], row[16]) for row in await world.rows(tables.run)]
    assert ended == [(str(end.status), end.output, end.error) for end in ends]
    new = [*creations(100, ["a", "b"])]
    other = [
        *creations(200, ["c"]),
        Creation(run_row(id=300, instance_id="d", run_number=9), task_row(run_id=300)),
    ]
    for group in (new, other):
        await world.group([], group)
    assert [tuple(row) for row in await world.rows(tables.run)][4:] == [each.run for each in (*new, *other)]
    assert [tuple(row) for row in await world.rows(tables.task)] == [each.task for each in (*new, *other)]
