"""Guards: a boundary is written when all it was decided on still holds, and loses alone otherwise (B1, B3, B6, E7)."""

from typing import Any

import pytest

from keepstep.model.plan import Consumed, Creation, Finish, Park, Steering
from keepstep.model.records import LogRecord
from keepstep.model.status import Priority, Status, StepStatus
from keepstep.store import tables
from keepstep.store.runs import apply_steering, load_steps
from keepstep_testing.conformance.rows import NOW, RUN_ID, RUNNER_ID, event_row, run_row, step_row, task_row
from keepstep_testing.conformance.stores.world import StoreWorld, boundary

DONE = Finish(Status.COMPLETE, '"ok"', None)


class Guards:
    """A boundary is written when its guard holds, and loses alone otherwise."""

    async def test_a_group_writes_every_boundary_that_holds(self, world: StoreWorld) -> None:
        """Many runs share one commit (B1)."""
        await world.runner()
        await world.hold(7, 8)
        result = await world.group(
            [boundary(each, steps=(step_row("do:a", 1, run_id=each),)) for each in (7, 8)]
        )
        assert result.kept == {7, 8}
        assert result.epoch_held
        assert [row[:3] for row in await world.rows(tables.run_step)] == [(7, "do:a", 1), (8, "do:a", 1)]

    @pytest.mark.parametrize(
        "stale",
        [{"fence": 3}, {"fence": 5}, {"wake_seq": 8}, {"version": 4}],
        ids=["older fence", "newer fence", "woken since", "steered since"],
    )
    async def test_a_loser_loses_alone(self, world: StoreWorld, stale: dict[str, Any]) -> None:
        """What was read and no longer holds stops its own run only; nothing of it is written (B3, B6)."""
        await world.runner()
        await world.hold(7, 8, 9)
        before = await world.row(8), await world.task(8)
        result = await world.group(
            [
                boundary(7, end=DONE, steps=(step_row("do:a", 1, run_id=7),)),
                boundary(
                    8,
                    end=DONE,
                    steps=(step_row("do:a", 1, run_id=8),),
                    logs=(LogRecord(8, 0, "info", "hello", None, NOW),),
                    **stale,
                ),
                boundary(9, steps=(step_row("do:a", 1, run_id=9),)),
            ]
        )
        assert result.kept == {7, 9}
        assert result.epoch_held
        assert [row[0] for row in await world.rows(tables.run_step)] == [7, 9]
        assert await world.rows(tables.log) == []
        assert (await world.row(8), await world.task(8)) == before

    async def test_nothing_of_a_loser_is_consumed(self, world: StoreWorld) -> None:
        """A refused boundary leaves its event buffered (B1, D4)."""
        await world.runner()
        await world.hold()
        steering = Steering(run_id=RUN_ID, expect_version=5, event=event_row(0))
        assert await world.run(apply_steering(world.dialect, steering))
        ((event_id, *_),) = await world.rows(tables.event)
        await world.group([boundary(fence=3, consumed=(Consumed(event_id, "wait:approval"),))])
        assert (await world.rows(tables.event))[0][-1] is None
        await world.group([boundary(consumed=(Consumed(event_id, "wait:approval"),))])
        assert (await world.rows(tables.event))[0][-1] == "wait:approval"

    async def test_a_boundary_that_holds_its_run_ignores_wake_ups(self, world: StoreWorld) -> None:
        """An event while a step executes does not refuse that step's result (defect 4, B6)."""
        await world.runner()
        await world.hold(wake_seq=10)
        result = await world.group([boundary(steps=(step_row("do:a", 1),))])
        assert result.kept == {RUN_ID}

    async def test_a_boundary_that_holds_its_run_ignores_the_version(self, world: StoreWorld) -> None:
        """A requested pause moves the run's version; steps that execute still commit (E3)."""
        await world.runner()
        await world.hold()
        result = await world.group([boundary(steps=(step_row("do:a", 1),), version=4)])
        assert result.kept == {RUN_ID}

    async def test_a_runner_whose_epoch_moved_writes_nothing(self, world: StoreWorld) -> None:
        """A takeover stops all that the dead runner still sends (B3)."""
        await world.runner(epoch=2)
        await world.hold()
        creation = Creation(run_row(id=99, instance_id="new"), task_row(run_id=99))
        result = await world.group([boundary(steps=(step_row("do:a", 1),))], [creation], epoch=1)
        assert result.kept == frozenset()
        assert not result.epoch_held
        assert await world.rows(tables.run_step) == []
        assert len(await world.rows(tables.run)) == 1

    async def test_a_runner_without_a_row_writes_nothing(self, world: StoreWorld) -> None:
        """Also when there is nothing but a creation in the group (B3)."""
        result = await world.group([], [Creation(run_row(), task_row(owner=RUNNER_ID))])
        assert not result.epoch_held
        assert await world.rows(tables.task) == []

    async def test_a_run_of_another_runner_is_not_written(self, world: StoreWorld) -> None:
        """The owner is part of the guard, whatever the fence says (B3)."""
        await world.runner()
        await world.runner(RUNNER_ID + 1)
        await world.add(run_row(), task_row(owner=RUNNER_ID + 1))
        result = await world.group([boundary(steps=(step_row("do:a", 1),))])
        assert result.kept == frozenset()
        assert result.epoch_held
        assert await world.rows(tables.run_step) == []

    async def test_a_run_that_ended_meanwhile_is_not_written(self, world: StoreWorld) -> None:
        """A terminate that commits first wins: the task is gone (E7, defect 6)."""
        await world.runner()
        await world.hold()
        ended = run_row(Status.TERMINATED, instance_id="o-7", version=6)
        await world.run(apply_steering(world.dialect, Steering(RUN_ID, 5, run=ended, drop_task=True)))
        result = await world.group([boundary(end=DONE)])
        assert result.kept == frozenset()
        assert (await world.row()).status == "terminated"

    async def test_a_resolved_step_is_never_replaced(self, world: StoreWorld) -> None:
        """A recorded result stays what it is, also when a commit is repeated (C2)."""
        await world.runner()
        await world.hold()
        first = step_row("do:a", 1, result='"first"')
        await world.group([boundary(steps=(first,))])
        again = await world.group([boundary(steps=(first._replace(result='"second"'),))])
        assert again.kept == {RUN_ID}
        assert await world.rows(tables.run_step) == [tuple(first)]

    async def test_an_open_step_is_replaced_by_its_resolution(self, world: StoreWorld) -> None:
        """A retry or a wait keeps its one row until it is resolved (C4, D4)."""
        await world.runner()
        await world.hold()
        opened = step_row("do:a", None, StepStatus.RETRYING, due_at=NOW + 5)
        for row in (opened, opened._replace(attempt=2), step_row("do:a", 1, attempt=3)):
            await world.group([boundary(steps=(row,))])
            assert await world.rows(tables.run_step) == [tuple(row)]

    async def test_open_steps_come_after_resolved_ones(self, world: StoreWorld) -> None:
        """Replay gets resolutions in ``seq`` order, then what is open (A2)."""
        await world.runner()
        await world.hold(7, 8)
        rows = (
            step_row("sleep:z", None, StepStatus.WAITING, due_at=NOW),
            step_row("do:b", 1),
            step_row("do:a", 2),
            step_row("do:c", 10),
        )
        await world.group([boundary(7, steps=tuple(reversed(rows)))])
        loaded = await world.run(load_steps(world.dialect, [8, 7]), "read")
        assert [step.key for step in loaded[7]] == ["do:b", "do:a", "do:c", "sleep:z"]
        assert loaded[8] == []

    async def test_a_log_line_is_stored_once(self, world: StoreWorld) -> None:
        """A replayed line of ``step.log`` is recognised by its number."""
        await world.runner()
        await world.hold()
        line = LogRecord(RUN_ID, 0, "info", "hello", '{"n":1}', NOW)
        for each in (line, line._replace(message="again")):
            await world.group([boundary(logs=(each,))])
        assert await world.rows(tables.log) == [tuple(line)]

    async def test_a_creation_loses_alone_when_its_instance_exists(self, world: StoreWorld) -> None:
        """An id that exists is left out; the others of the group are written (E2)."""
        await world.runner()
        await world.hold(7)
        creations = [
            Creation(run_row(id=20, instance_id="o-7"), task_row(run_id=20, owner=RUNNER_ID)),
            Creation(run_row(id=21, instance_id="fresh"), task_row(run_id=21, priority=Priority.NEW)),
        ]
        result = await world.group([boundary(7, steps=(step_row("do:a", 1, run_id=7),))], creations)
        assert result.kept == {7, 21}
        assert [row[0] for row in await world.rows(tables.run)] == [7, 21]
        assert [row[0] for row in await world.rows(tables.task)] == [7, 21]

    async def test_one_id_twice_in_a_group_is_created_once(self, world: StoreWorld) -> None:
        """Two creations of one instance cannot both win (E2)."""
        await world.runner()
        creations = [
            Creation(run_row(id=each, instance_id="same"), task_row(run_id=each)) for each in (20, 21)
        ]
        result = await world.group([], creations)
        assert len(result.kept) == 1
        assert [row[0] for row in await world.rows(tables.task)] == list(result.kept)

    async def test_a_group_that_is_committed_again_changes_nothing(self, world: StoreWorld) -> None:
        """After a lost connection the outcome is unknown: the same group again must be harmless (B1, defect 7)."""
        await world.runner()
        await world.hold(7)
        creation = Creation(run_row(id=21, instance_id="fresh"), task_row(run_id=21))
        group = [boundary(7, steps=(step_row("do:a", 1, run_id=7), step_row("do:b", 2, run_id=7)))]
        first = await world.group(group, [creation])
        stored = [await world.rows(table) for table in (tables.run, tables.task, tables.run_step)]
        await world.group(group, [creation])
        assert first.kept == {7, 21}
        assert stored == [await world.rows(table) for table in (tables.run, tables.task, tables.run_step)]

    async def test_a_large_group(self, world: StoreWorld) -> None:
        """A thousand runs in one group, every third of them a loser."""
        await world.runner()
        run_ids = range(1_000, 2_000)
        creations = [
            Creation(run_row(id=each, instance_id=f"i-{each}"), task_row(run_id=each, owner=RUNNER_ID))
            for each in run_ids
        ]
        assert (await world.group([], creations)).kept == set(run_ids)
        result = await world.group(
            [
                boundary(
                    each,
                    end=Park(NOW) if each % 2 else None,
                    fence=4 + (each % 3 == 0),
                    steps=(step_row("do:a", 1, run_id=each),),
                )
                for each in run_ids
            ]
        )
        winners = {each for each in run_ids if each % 3}
        assert result.kept == winners
        assert {row[0] for row in await world.rows(tables.run_step)} == winners
