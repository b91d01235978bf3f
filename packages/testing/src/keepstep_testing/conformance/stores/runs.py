"""Reading runs, creating them, steering them from outside (E1-E7, D4, D5)."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from keepstep.errors import IntegrityError, StoreConflictError
from keepstep.model.plan import Consumed, Creation, Steering
from keepstep.model.records import EventRecord, LogRecord, RunRecord, StepRecord
from keepstep.model.status import Status, StepStatus
from keepstep.store import tables
from keepstep.store.boundaries import commit_group
from keepstep.store.histories import history_events, history_logs, history_steps
from keepstep.store.listings import list_runs
from keepstep.store.runs import (
    apply_steering,
    existing_ids,
    find_event,
    holder,
    insert_creations,
    load_events,
    open_steps,
    read_instance,
    read_run,
    waits_for,
)
from keepstep.store.script import Script
from keepstep_testing.conformance.rows import NOW, RUN_ID, RUNNER_ID, event_row, run_row, step_row, task_row
from keepstep_testing.conformance.stores.world import StoreWorld, boundary

R = TypeVar("R", StepRecord, EventRecord, LogRecord)


async def steer(world: StoreWorld, **changes: Any) -> bool:
    """Apply a steering to the run that :func:`run_row` makes."""
    given: dict[str, Any] = {"run_id": RUN_ID, "expect_version": 5, **changes}
    steering = Steering(**given)
    return await world.run(apply_steering(world.dialect, steering))


async def in_pages(
    world: StoreWorld, page: Callable[..., Script[list[R]]], place: Callable[[R], int], start: int
) -> None:
    """Read seven rows of the run three by three, each once and in order."""
    seen: list[R] = []
    after = start
    while found := await world.run(page(RUN_ID, after, 3), "read"):
        assert len(found) <= 3
        seen += found
        after = place(found[-1])
    assert len(seen) == 7
    assert [place(each) for each in seen] == sorted({place(each) for each in seen})
    assert {each.run_id for each in seen} == {RUN_ID}
    assert await world.run(page(RUN_ID), "read") == seen


class Runs:
    """Reading, creating and steering runs, and their histories."""

    @pytest.mark.parametrize("lock", [False, True])
    async def test_an_instance_is_its_newest_run(self, world: StoreWorld, lock: bool) -> None:
        """Reading by id gives the newest run, its task, and database time (E6, B5)."""
        await world.add(run_row(id=6, run_number=2, latest=False), task_row(run_id=6))
        await world.add(run_row(), task_row())
        snapshot = await world.run(read_instance("order", "o-1", lock))
        assert snapshot is not None
        assert snapshot == (NOW, run_row(), task_row())
        assert snapshot.run.latest is True
        assert await world.run(read_instance("order", "o-2", lock)) is None
        assert await world.run(read_instance("other", "o-1", lock)) is None

    async def test_a_run_that_ended_has_no_task(self, world: StoreWorld) -> None:
        """Finished runs leave no task row."""
        ended = run_row(Status.COMPLETE, version=6)
        await world.add(run_row(), task_row())
        assert await steer(world, run=ended, drop_task=True)
        assert await world.run(read_instance("order", "o-1"), "read") == (NOW, ended, None)

    async def test_old_runs_stay_readable(self, world: StoreWorld) -> None:
        """Each run of an instance is found by its number (E6)."""
        old = run_row(Status.TERMINATED, id=6, run_number=2, latest=False)
        await world.add(old, task_row(run_id=6))
        await world.add(run_row(), task_row())
        assert await world.run(read_run("order", "o-1", 2), "read") == old
        assert await world.run(read_run("order", "o-1", 3), "read") == run_row()
        assert await world.run(read_run("order", "o-1", 4), "read") is None

    async def test_existing_ids(self, world: StoreWorld) -> None:
        """Which of some ids exist, of that workflow only (E2)."""
        await world.add(run_row(), task_row())
        assert await world.run(existing_ids("order", ["o-1", "o-2"]), "read") == {"o-1"}
        assert await world.run(existing_ids("other", ["o-1"]), "read") == set()
        assert await world.run(existing_ids("order", []), "read") == set()

    async def test_creations_skip_what_exists(self, world: StoreWorld) -> None:
        """A batch leaves existing and repeated ids out (E2)."""
        await world.add(run_row(), task_row())
        batch = [
            Creation(run_row(id=each, instance_id=name), task_row(run_id=each))
            for each, name in ((20, "o-1"), (21, "new"), (22, "other"))
        ]
        assert await world.run(insert_creations(world.dialect, batch)) == {21, 22}
        assert [row[0] for row in await world.rows(tables.task)] == [RUN_ID, 21, 22]
        assert await world.run(insert_creations(world.dialect, [])) == frozenset()

    async def test_a_finished_instance_still_exists(self, world: StoreWorld) -> None:
        """An id is used once in an instance's life (E2)."""
        await world.add(run_row(), task_row())
        await steer(world, run=run_row(Status.COMPLETE, version=6), drop_task=True)
        again = Creation(run_row(id=20), task_row(run_id=20))
        assert await world.run(insert_creations(world.dialect, [again])) == frozenset()

    async def test_a_creation_that_comes_again_after_its_run_ended_changes_nothing(
        self, world: StoreWorld
    ) -> None:
        """Defect 14: who lost the answer may ask again at any time; a run that has ended gets no task (B2, E2)."""
        creation = Creation(run_row(), task_row())
        for _ in range(2):
            assert await world.run(insert_creations(world.dialect, [creation])) == {RUN_ID}
        await steer(world, run=run_row(Status.COMPLETE, version=6, completed_at=NOW), drop_task=True)
        assert await world.run(insert_creations(world.dialect, [creation])) == {RUN_ID}
        assert await world.rows(tables.task) == []

    async def test_a_key_that_another_instance_has_creates_nothing(self, world: StoreWorld) -> None:
        """Two processes may draw one internal key: the second creation is refused, not taken for written (E2)."""
        await world.run(insert_creations(world.dialect, [Creation(run_row(), task_row())]))
        stranger = Creation(run_row(instance_id="o-2"), task_row())
        with pytest.raises(StoreConflictError, match="create again"):
            await world.run(insert_creations(world.dialect, [stranger]))
        await world.runner()
        found = await world.run(commit_group(world.dialect, RUNNER_ID, 1, [], [stranger]))
        assert found.kept == frozenset()
        assert await world.run(read_instance("order", "o-2")) is None

    async def test_steering_needs_the_version_that_was_read(self, world: StoreWorld) -> None:
        """Whoever commits first wins; the other writes nothing (E7)."""
        await world.add(run_row(), task_row())
        changed = run_row(Status.PAUSED, version=6)
        assert not await steer(
            world, expect_version=4, run=changed, task=task_row(run_at=None), event=event_row(0)
        )
        assert not await steer(world, expect_version=4, event=event_row(0))
        assert (await world.row(), await world.task()) == (run_row(), task_row())
        assert await world.rows(tables.event) == []
        assert await steer(world, run=changed, task=task_row(run_at=None))
        assert (await world.row(), await world.task()) == (changed, task_row(run_at=None))

    async def test_a_restart_replaces_the_run(self, world: StoreWorld) -> None:
        """The old run is kept, the next one is the newest with its own task and seeded steps (E6)."""
        await world.add(run_row(), task_row())
        ended = run_row(Status.TERMINATED, version=6, latest=False)
        following = Creation(run_row(id=8, run_number=4, version=1), task_row(run_id=8))
        seeded = (step_row("do:a", 1, run_id=8), step_row("do:b", 2, run_id=8))
        assert await steer(world, run=ended, drop_task=True, creation=following, steps=seeded)
        assert await world.rows(tables.run) == [tuple(ended), tuple(following.run)]
        assert await world.rows(tables.task) == [tuple(following.task)]
        assert await world.rows(tables.run_step) == [tuple(each) for each in seeded]

    async def test_retrying_a_failed_step_drops_it_and_all_after(self, world: StoreWorld) -> None:
        """The failed step and open rows go, earlier results stay, the run gets a task again (E6)."""
        await world.runner()
        await world.hold()
        steps = [step_row("do:a", 1), step_row("do:b", 2, StepStatus.FAILED), step_row("do:c", 3)]
        await world.group([boundary(steps=(*steps, step_row("sleep:d", None, StepStatus.WAITING)))])
        await steer(world, run=run_row(Status.ERRORED, version=6), drop_task=True)
        revived = run_row(version=7)
        assert await steer(world, expect_version=6, run=revived, task=task_row(fence=9), drop_from_seq=2)
        assert [row[1] for row in await world.rows(tables.run_step)] == ["do:a"]
        assert (await world.row(), await world.task()) == (revived, task_row(fence=9))

    async def test_events_are_loaded_in_order_of_acceptance(self, world: StoreWorld) -> None:
        """Buffered ones only, for each run asked for (D4, D5)."""
        await world.runner()
        await world.hold(7, 8)
        for run_id, type_ in ((7, "a"), (8, "b"), (7, "c"), (7, "a")):
            await steer(world, run_id=run_id, event=event_row(0, type=type_, run_id=run_id))
        loaded = await world.run(load_events(world.dialect, [7, 8, 9]), "read")
        assert [each.type for each in loaded[7]] == ["a", "c", "a"]
        assert [each.type for each in loaded[8]] == ["b"]
        assert loaded[9] == []
        await world.group([boundary(7, consumed=(Consumed(loaded[7][0].id, "wait:x"),))])
        left = await world.run(load_events(world.dialect, [7]), "read")
        assert left[7] == loaded[7][1:]

    async def test_an_event_is_found_by_its_senders_id(self, world: StoreWorld) -> None:
        """A repeat is recognised, per run (D7)."""
        await world.hold(7, 8)
        await steer(world, event=event_row(0, event_id="e-1"))
        await steer(world, event=event_row(0))
        await steer(world, run_id=8, event=event_row(0, run_id=8, event_id="e-1"))
        found = await world.run(find_event(RUN_ID, "e-1"), "read")
        assert found is not None
        assert (found.run_id, found.event_id, found.consumed_by) == (RUN_ID, "e-1", None)
        assert await world.run(find_event(RUN_ID, "e-2"), "read") is None
        with pytest.raises(IntegrityError):
            await steer(world, event=event_row(0, event_id="e-1"))

    async def test_open_steps_and_waits(self, world: StoreWorld) -> None:
        """What a run waits for (E1)."""
        await world.runner()
        await world.hold()
        rows = (
            step_row("do:a", 1),
            step_row("wait:w", None, StepStatus.WAITING, event_type="approval", started_at=20),
            step_row("do:b", None, StepStatus.RETRYING, started_at=10),
            step_row("wait:old", None, StepStatus.ABANDONED, event_type="refund", started_at=30),
        )
        await world.group([boundary(steps=rows)])
        assert [each.key for each in await world.run(open_steps(RUN_ID), "read")] == [
            "do:b",
            "wait:w",
            "wait:old",
        ]
        assert await world.run(waits_for(RUN_ID, "approval"), "read") is True
        assert await world.run(waits_for(RUN_ID, "refund"), "read") is False

    async def test_the_holder_of_a_run(self, world: StoreWorld) -> None:
        """Who executes it, by the runner's row (E1)."""
        await world.runner()
        await world.hold()
        await world.add(run_row(id=8, instance_id="o-8"), task_row(run_id=8))
        held_by = await world.run(holder(RUN_ID), "read")
        assert held_by is not None
        assert held_by.id == RUNNER_ID
        assert await world.run(holder(8), "read") is None

    async def test_a_history_comes_in_pages(self, world: StoreWorld) -> None:
        """Every row once, in order, whatever the page size (defect 15)."""
        await world.runner()
        await world.hold(RUN_ID, 8)
        for run_id in (RUN_ID, 8):
            steps = tuple(step_row(f"do:{n}", n, run_id=run_id) for n in range(1, 8))
            logs = tuple(LogRecord(run_id, n, "info", f"line {n}", None, NOW) for n in range(7))
            await world.group([boundary(run_id, steps=steps, logs=logs)])
            for _ in range(7):
                await steer(world, run_id=run_id, event=event_row(0, run_id=run_id))
            events = (await world.run(load_events(world.dialect, [run_id]), "read"))[run_id]
            taken = tuple(Consumed(each.id, f"wait:{each.id}") for each in events[1::2])
            await world.group([boundary(run_id, consumed=taken)])
        await in_pages(world, history_steps, lambda step: step.seq or 0, 0)
        await in_pages(world, history_events, lambda event: event.id, 0)
        await in_pages(world, history_logs, lambda line: line.number, -1)

    @pytest.mark.parametrize("status", [None, "active"])
    async def test_a_listing_neither_skips_nor_repeats_rows_of_one_instant(
        self, world: StoreWorld, status: str | None
    ) -> None:
        """Pages are told apart by id where instants are equal (defect 15)."""
        for each in range(1, 21):
            created = NOW + each // 7
            state = Status.PAUSED if each % 5 == 0 else Status.ACTIVE
            run = run_row(state, id=each, instance_id=f"o-{each}", created_at=created)
            await world.add(run, task_row(run_id=each))
        await world.add(run_row(id=98, workflow="other"), task_row(run_id=98))
        await world.add(run_row(id=99, instance_id="old", latest=False), task_row(run_id=99))
        seen: list[RunRecord] = []
        after: tuple[int, int] | None = None
        while found := await world.run(list_runs("order", status, 3, after), "read"):
            seen += found
            after = (found[-1].created_at, found[-1].id)
        expected = [each for each in range(20, 0, -1) if status is None or each % 5]
        assert [run.id for run in seen] == expected
        assert all(run.latest is True for run in seen)
