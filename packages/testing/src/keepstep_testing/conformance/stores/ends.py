"""What an end makes of run and task, and boundaries outside a group: in a user's transaction, and without a lease."""

from typing import Any

import pytest

from keepstep.model.plan import Consumed, ContinueAsNew, End, Finish, Hold, Park, Pause, Release, Steering
from keepstep.model.records import RunRecord, TaskRecord
from keepstep.model.status import Priority, Status
from keepstep.store import tables
from keepstep.store.boundaries import commit_leased, commit_optimistic
from keepstep.store.runs import apply_steering
from keepstep_testing.conformance.rows import NOW, RUN_ID, RUNNER_ID, event_row, run_row, step_row, task_row
from keepstep_testing.conformance.stores.world import StoreWorld, boundary

LATER = NOW + 60_000


def held(**changes: Any) -> RunRecord:
    """The run that ``world.hold`` inserts."""
    return run_row(instance_id=f"o-{RUN_ID}", **changes)


def owned(**changes: Any) -> TaskRecord:
    """Its task."""
    return task_row(**{"owner": RUNNER_ID, **changes})


ENDS: dict[str, tuple[End, RunRecord, TaskRecord | None]] = {
    "hold": (Hold(), held(), owned()),
    "park": (
        Park(LATER),
        held(status=Status.WAITING, version=6, updated_at=NOW),
        owned(owner=None, run_at=LATER, priority=Priority.RESUME, takeovers=0),
    ),
    "park for ever": (
        Park(None),
        held(status=Status.WAITING, version=6, updated_at=NOW),
        owned(owner=None, run_at=None, priority=Priority.RESUME, takeovers=0),
    ),
    "park code that does not fit": (
        Park(LATER, '{"name":"N"}'),
        held(status=Status.WAITING, version=6, updated_at=NOW, error='{"name":"N"}'),
        owned(owner=None, run_at=LATER, priority=Priority.RESUME, takeovers=0),
    ),
    "release": (
        Release(NOW),
        held(version=6, updated_at=NOW),
        owned(owner=None, run_at=NOW, priority=Priority.RESUME),
    ),
    "pause": (
        Pause(),
        held(status=Status.PAUSED, version=6, updated_at=NOW, pause_requested=False),
        owned(owner=None, run_at=None, priority=Priority.RESUME, takeovers=0),
    ),
    "complete": (
        Finish(Status.COMPLETE, '"ok"', None),
        held(status=Status.COMPLETE, version=6, updated_at=NOW, completed_at=NOW, output='"ok"'),
        None,
    ),
    "error": (
        Finish(Status.ERRORED, None, '{"name":"E"}'),
        held(status=Status.ERRORED, version=6, updated_at=NOW, completed_at=NOW, error='{"name":"E"}'),
        None,
    ),
}


OPTIMISTIC = {name: each for name, each in ENDS.items() if name != "hold"}


class Ends:
    """What an end makes of run and task, in a group, in a transaction of the user and without a lease."""

    @pytest.mark.parametrize(("end", "run", "task"), ENDS.values(), ids=ENDS)
    async def test_an_end_in_a_group(
        self, world: StoreWorld, end: End, run: RunRecord, task: TaskRecord | None
    ) -> None:
        """Each end changes exactly what it says, and rows of runs beside it do not change."""
        await world.runner()
        await world.hold(RUN_ID, 8)
        beside = await world.row(8), await world.task_or_none(8)
        result = await world.group([boundary(end=end, steps=(step_row("do:a", 1),))])
        assert result.kept == {RUN_ID}
        assert (await world.row(), await world.task_or_none()) == (run, task)
        assert (await world.row(8), await world.task_or_none(8)) == beside

    async def test_every_end_in_one_group(self, world: StoreWorld) -> None:
        """Ends of different kinds share a commit without touching each other's rows (B1)."""
        await world.runner()
        run_ids = range(10, 10 + len(ENDS))
        await world.hold(*run_ids)
        await world.group(
            [boundary(each, end=end) for each, (end, *_) in zip(run_ids, ENDS.values(), strict=True)]
        )
        for run_id, (_, run, task) in zip(run_ids, ENDS.values(), strict=True):
            assert await world.row(run_id) == run._replace(id=run_id, instance_id=f"o-{run_id}")
            assert await world.task_or_none(run_id) == (task and task._replace(run_id=run_id))

    async def test_a_pause_answers_its_request(self, world: StoreWorld) -> None:
        """A pause that takes effect is no longer requested (E3)."""
        await world.runner()
        await world.add(run_row(pause_requested=True), owned())
        await world.group([boundary(end=Pause())])
        run = await world.row()
        assert (run.status, run.pause_requested) == ("paused", False)
        assert run.pause_requested is not True

    async def test_continue_as_new_starts_the_next_run(self, world: StoreWorld) -> None:
        """The old run completes and stays readable, the next one is the newest (C10, E6)."""
        await world.runner()
        await world.hold()
        following = held(id=8, run_number=4, version=1, params="2"), task_row(run_id=8, fence=0)
        result = await world.group([boundary(end=ContinueAsNew(*following))])
        assert result.kept == {RUN_ID}
        ended = held(
            status=Status.COMPLETE, latest=False, version=6, updated_at=NOW, completed_at=NOW, output=None
        )
        assert await world.rows(tables.run) == [tuple(ended), tuple(following[0])]
        assert await world.rows(tables.task) == [tuple(following[1])]

    async def test_events_move_to_the_run_that_continues(self, world: StoreWorld) -> None:
        """Those that nothing has consumed; what the old run consumed stays with it (C10)."""
        await world.runner()
        await world.hold()
        for version in (5, 5):
            steering = Steering(run_id=RUN_ID, expect_version=version, event=event_row(0))
            assert await world.run(apply_steering(world.dialect, steering))
        taken, left = [row[0] for row in await world.rows(tables.event)]
        following = held(id=8, run_number=4, version=1), task_row(run_id=8, fence=0)
        end = ContinueAsNew(*following, events=(left,))
        result = await world.group([boundary(end=end, consumed=(Consumed(taken, "wait:approval"),))])
        assert result.kept == {RUN_ID}
        assert [(row[1], row[-1]) for row in await world.rows(tables.event)] == [
            (RUN_ID, "wait:approval"),
            (8, None),
        ]

    async def test_many_runs_continue_as_new_at_once(self, world: StoreWorld) -> None:
        """Each instance has one newest run after it."""
        await world.runner()
        await world.hold(*range(10, 20))
        await world.group(
            [
                boundary(
                    each,
                    end=ContinueAsNew(
                        run_row(id=each + 100, instance_id=f"o-{each}", run_number=4),
                        task_row(run_id=each + 100),
                    ),
                )
                for each in range(10, 20)
            ]
        )
        newest = [row[0] for row in await world.rows(tables.run) if row[4]]
        assert newest == list(range(110, 120))
        assert [row[0] for row in await world.rows(tables.task)] == newest

    @pytest.mark.parametrize(("end", "run", "task"), ENDS.values(), ids=ENDS)
    async def test_an_end_in_a_users_transaction(
        self, world: StoreWorld, end: End, run: RunRecord, task: TaskRecord | None
    ) -> None:
        """``step.transaction`` writes what a group would write (C8)."""
        await world.runner()
        await world.hold()
        script = commit_leased(world.dialect, RUNNER_ID, 1, boundary(end=end, steps=(step_row("do:a", 1),)))
        assert await world.run(script)
        assert (await world.row(), await world.task_or_none()) == (run, task)
        assert len(await world.rows(tables.run_step)) == 1

    @pytest.mark.parametrize(
        ("epoch", "stale"),
        [(2, {}), (1, {"fence": 3}), (1, {"wake_seq": 8}), (1, {"version": 4})],
        ids=["epoch", "fence", "wake_seq", "version"],
    )
    async def test_a_users_transaction_is_told_to_roll_back(
        self, world: StoreWorld, epoch: int, stale: dict[str, Any]
    ) -> None:
        """A guard that no longer holds refuses the whole step (C8, B3)."""
        await world.runner()
        await world.hold()
        script = commit_leased(
            world.dialect, RUNNER_ID, epoch, boundary(end=Park(None), steps=(step_row("do:a", 1),), **stale)
        )
        assert not await world.run(script)
        assert await world.rows(tables.run_step) == []
        assert await world.row() == held()

    @pytest.mark.parametrize(("end", "run", "task"), OPTIMISTIC.values(), ids=OPTIMISTIC)
    async def test_an_end_without_a_lease(
        self, world: StoreWorld, end: End, run: RunRecord, task: TaskRecord | None
    ) -> None:
        """A tick of one transaction writes the same rows and raises the fence (B9)."""
        await world.add(held(), task_row())
        script = commit_optimistic(world.dialect, boundary(end=end, steps=(step_row("do:a", 1),)))
        assert await world.run(script)
        assert await world.row() == run
        assert await world.task_or_none() == (task and task._replace(fence=5))

    async def test_of_two_ticks_that_read_the_same_one_wins(self, world: StoreWorld) -> None:
        """The fence that the first raised refuses the second (B9, B3)."""
        await world.add(held(), task_row())
        ticks = [boundary(end=Release(NOW), steps=(step_row("do:a", 1, result=each),)) for each in ("1", "2")]
        assert [await world.run(commit_optimistic(world.dialect, each)) for each in ticks] == [True, False]
        assert (await world.rows(tables.run_step))[0][9] == "1"

    @pytest.mark.parametrize("stale", [{"fence": 3}, {"wake_seq": 8}, {"version": 4}])
    async def test_a_tick_that_read_old_rows_loses(self, world: StoreWorld, stale: dict[str, Any]) -> None:
        """Without a lease all three are compared (B9)."""
        await world.add(held(), task_row())
        script = commit_optimistic(world.dialect, boundary(end=Park(None), **stale))
        assert not await world.run(script)
        assert await world.row() == held()
        assert await world.task_or_none() == task_row()

    async def test_a_tick_leaves_held_runs_alone_until_their_lease_expires(self, world: StoreWorld) -> None:
        """Nobody advances a run that a live runner holds (B9, B2)."""
        await world.runner(lease_ms=1_000)
        await world.hold()
        tick = boundary(end=Release(NOW))
        assert not await world.run(commit_optimistic(world.dialect, tick))
        world.clock.now += 1_001
        assert await world.run(commit_optimistic(world.dialect, tick))
        task = await world.task()
        assert (task.owner, task.fence) == (None, 5)

    async def test_a_tick_loses_to_what_an_expired_holder_still_recorded(self, world: StoreWorld) -> None:
        """A result that holds its run raises no guard: the place that it took in the order says so (B9, A2)."""
        await world.runner(lease_ms=1_000)
        await world.hold()
        world.clock.now += 1_001
        assert (await world.group([boundary(steps=(step_row("do:a", 1),))])).kept == {RUN_ID}
        late = boundary(end=Release(NOW), steps=(step_row("do:b", 1),))
        assert not await world.run(commit_optimistic(world.dialect, late))
        assert [row[1] for row in await world.rows(tables.run_step)] == ["do:a"]
        later = boundary(end=Release(NOW), steps=(step_row("do:b", 2),))
        assert await world.run(commit_optimistic(world.dialect, later))

    async def test_the_holder_loses_to_a_tick_that_took_its_run(self, world: StoreWorld) -> None:
        """What the expired runner still sends is refused (B3)."""
        await world.runner(lease_ms=1_000)
        await world.hold()
        world.clock.now += 1_001
        await world.run(commit_optimistic(world.dialect, boundary(end=Release(NOW))))
        result = await world.group([boundary(steps=(step_row("do:a", 1),))])
        assert (result.kept, result.epoch_held) == (frozenset(), True)

    async def test_a_first_tick_stores_when_the_run_started(self, world: StoreWorld) -> None:
        """A run that no claim started gets its start from its first tick, and keeps it (A3, B9)."""
        await world.add(held(started_at=None), task_row())
        await world.run(commit_optimistic(world.dialect, boundary(end=Release(NOW), started_at=NOW - 1)))
        assert (await world.row()).started_at == NOW - 1
        again = boundary(end=Release(NOW), started_at=NOW, fence=5, version=6)
        assert await world.run(commit_optimistic(world.dialect, again))
        assert (await world.row()).started_at == NOW - 1

    async def test_a_tick_of_a_run_that_ended_is_refused(self, world: StoreWorld) -> None:
        """A run without a task has nothing to advance (E7)."""
        assert not await world.run(commit_optimistic(world.dialect, boundary(end=Park(None))))
