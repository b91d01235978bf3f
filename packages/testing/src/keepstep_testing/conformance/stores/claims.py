"""Claims: who takes what, in which order, and what a claim changes (B2)."""

from collections.abc import Sequence
from typing import Any

import pytest

from keepstep.model.status import Priority, Status
from keepstep.store.claims import claim, due, look_held, next_due, read_tasks
from keepstep_testing.conformance.rows import NOW, RUNNER_ID, run_row, task_row
from keepstep_testing.conformance.stores.world import StoreWorld

WORKFLOWS = ["order"]


async def waiting(
    world: StoreWorld,
    run_id: int,
    run_at: int | None = NOW,
    priority: int = Priority.RESUME,
    workflow: str = "order",
    **changes: Any,
) -> None:
    """Insert a parked run."""
    run = run_row(id=run_id, instance_id=f"o-{run_id}", workflow=workflow, status=Status.WAITING)
    await world.add(
        run, task_row(run_id=run_id, workflow=workflow, run_at=run_at, priority=priority, **changes)
    )


async def taken(
    world: StoreWorld, limit: int = 10, epoch: int = 1, workflows: Sequence[str] = ("order",)
) -> list[int]:
    """Run ids that a claim takes, in its order."""
    claims = await world.run(claim(world.dialect, RUNNER_ID, epoch, limit, workflows))
    assert claims.now == world.clock.now
    return [each.run.id for each in claims.claimed]


async def queues(world: StoreWorld, priority: int = Priority.NEW) -> None:
    """Twenty old tasks of one workflow, three young ones of another, one of a third."""
    for each in range(20):
        await waiting(world, each + 1, NOW - 1_000 + each, priority)
    for each in (101, 102, 103):
        await waiting(world, each, NOW - 200 + each, priority, workflow="small")
    await waiting(world, 201, NOW, priority, workflow="tiny")


ALL = ["order", "small", "tiny", "unused"]


class Claims:
    """What a claim takes, in which order, and what it changes."""

    async def test_resuming_work_comes_before_new_runs_then_the_oldest(self, world: StoreWorld) -> None:
        """The order of B2, also across batches."""
        await world.runner()
        await waiting(world, 1, NOW - 50, Priority.NEW)
        await waiting(world, 2, NOW - 60, Priority.NEW)
        await waiting(world, 3, NOW - 10)
        await waiting(world, 4, NOW - 20)
        assert await taken(world, 3) == [4, 3, 2]
        assert await taken(world, 3) == [1]
        assert await taken(world, 3) == []

    async def test_what_is_not_due_paused_held_or_unknown_is_left(self, world: StoreWorld) -> None:
        """A claim takes due tasks without an owner, of workflows that the runner knows (B2, defect 8)."""
        await world.runner()
        await waiting(world, 1, NOW + 1)
        await waiting(world, 2, None)
        await waiting(world, 3, NOW, owner=RUNNER_ID + 1)
        await waiting(world, 4, NOW, workflow="other")
        assert await taken(world) == []
        assert await taken(world, workflows=[]) == []
        assert await taken(world, workflows=["other", "order"]) == [4]
        world.clock.now += 1
        assert await taken(world) == [1]

    async def test_a_claim_without_the_epoch_takes_nothing(self, world: StoreWorld) -> None:
        """A runner that was taken over claims nothing any more (B3)."""
        await world.runner(epoch=2)
        await waiting(world, 1)
        assert await taken(world, epoch=1) == []
        assert (await world.task(1)).owner is None

    async def test_a_claim_sets_the_owner_and_raises_the_fence(self, world: StoreWorld) -> None:
        """What the claim returns is what is stored (B2, B3)."""
        await world.runner()
        await waiting(world, 1)
        claims = await world.run(claim(world.dialect, RUNNER_ID, 1, 10, WORKFLOWS))
        ((task, run),) = claims.claimed
        assert (task.owner, task.fence, task.wake_seq) == (RUNNER_ID, 5, 9)
        assert task == await world.task(1)
        assert (run.status, run.version, run.updated_at, run.started_at) == ("active", 6, NOW, 200)
        assert run == await world.row(1)
        assert run.latest is True
        assert run.pause_requested is False

    async def test_a_first_claim_starts_the_run(self, world: StoreWorld) -> None:
        """The first claim is where loop time begins (A3)."""
        await world.runner()
        run = run_row(id=1, started_at=None)
        await world.add(run, task_row(run_id=1, run_at=NOW, priority=Priority.NEW))
        claims = await world.run(claim(world.dialect, RUNNER_ID, 1, 10, WORKFLOWS))
        assert claims.claimed[0].run == run._replace(started_at=NOW, updated_at=NOW, version=6)
        assert claims.claimed[0].run == await world.row(1)

    async def test_a_run_that_a_claim_does_not_change_keeps_its_version(self, world: StoreWorld) -> None:
        """An active run, released by a drain, is claimed without touching its row."""
        await world.runner()
        run = run_row(id=1)
        await world.add(run, task_row(run_id=1, run_at=NOW))
        claims = await world.run(claim(world.dialect, RUNNER_ID, 1, 10, WORKFLOWS))
        assert claims.claimed[0].run == run == await world.row(1)

    async def test_a_large_batch_mixes_both_priorities(self, world: StoreWorld) -> None:
        """The limit counts both together."""
        await world.runner()
        for each in range(60):
            await waiting(world, each + 1, NOW - each, Priority.NEW if each % 2 else Priority.RESUME)
        first = await taken(world, 40)
        assert len(first) == 40
        assert [each % 2 for each in first] == [1] * 30 + [0] * 10
        assert len(await taken(world, 40)) == 20

    async def test_due_reads_without_claiming(self, world: StoreWorld) -> None:
        """An optimistic tick finds unowned runs and those whose holder's lease has expired (B9)."""
        await world.runner(lease_ms=1_000)
        await waiting(world, 1, NOW - 5, Priority.NEW)
        await waiting(world, 2, NOW - 3)
        await waiting(world, 3, NOW, owner=RUNNER_ID)
        await waiting(world, 4, NOW, workflow="other")
        found = await world.run(due(10, WORKFLOWS), "read")
        assert [each.run.id for each in found] == [2, 1]
        assert found[0].task == await world.task(2)
        assert found[0].run == await world.row(2)
        world.clock.now += 1_001
        assert [each.run.id for each in await world.run(due(10, WORKFLOWS), "read")] == [2, 1, 3]
        assert [each.run.id for each in await world.run(due(1, WORKFLOWS), "read")] == [2]

    async def test_next_due_is_the_earliest_of_tasks_and_leases(self, world: StoreWorld) -> None:
        """A runner knows when to look again (B5)."""
        assert await world.run(next_due(WORKFLOWS), "read") == (NOW, None)
        await waiting(world, 1, NOW + 90_000, Priority.NEW)
        await waiting(world, 2, None)
        await waiting(world, 3, NOW + 1, workflow="other")
        assert await world.run(next_due(WORKFLOWS), "read") == (NOW, NOW + 90_000)
        await world.runner(lease_ms=40_000)
        assert await world.run(next_due(WORKFLOWS), "read") == (NOW, NOW + 90_000)
        await waiting(world, 4, NOW, owner=RUNNER_ID)
        assert await world.run(next_due(WORKFLOWS), "read") == (NOW, NOW + 40_000)
        await waiting(world, 5, NOW + 30_000)
        assert await world.run(next_due(WORKFLOWS), "read") == (NOW, NOW + 30_000)

    async def test_held_tasks_and_tasks_by_id(self, world: StoreWorld) -> None:
        """A runner sees what others changed of what it holds (B6)."""
        await world.runner()
        await world.hold(1, 2)
        await waiting(world, 3)
        assert sorted(each.run_id for each in await world.run(look_held(RUNNER_ID), "read")) == [1, 2]
        assert sorted(each.run_id for each in await world.run(read_tasks([2, 3, 99]), "read")) == [2, 3]
        assert await world.run(read_tasks([]), "read") == []

    async def test_an_expired_lease_on_what_we_cannot_advance_makes_nothing_due(
        self, world: StoreWorld
    ) -> None:
        """B2, B9: who does not know the workflow is not told to look, again and again, at what it never touches."""
        await world.runner(lease_ms=1_000)
        await waiting(world, 1, NOW, workflow="other", owner=RUNNER_ID)
        assert await world.run(next_due(["order", "other"]), "read") == (NOW, NOW + 1_000)
        assert await world.run(next_due(WORKFLOWS), "read") == (NOW, None)
        world.clock.now += 5_000
        assert await world.run(next_due(WORKFLOWS), "read") == (NOW + 5_000, None)


class Shares:
    """How workflows share a claim (B2, decision 0018)."""

    @pytest.mark.parametrize("priority", [Priority.RESUME, Priority.NEW])
    async def test_workflows_share_a_claim(self, world: StoreWorld, priority: int) -> None:
        """A long queue of old tasks holds nobody else back; within a workflow the oldest goes first (B2, decision 0018)."""
        await world.runner()
        await queues(world, priority)
        assert await taken(world, 6, workflows=ALL) == [1, 2, 101, 102, 201]
        assert await taken(world, 6, workflows=ALL) == [3, 4, 5, 103]
        assert await taken(world, 6, workflows=ALL) == [6, 7, 8, 9, 10, 11]

    async def test_with_less_room_than_workflows_the_first_named_have_a_share(
        self, world: StoreWorld
    ) -> None:
        """Who claims says whose turn it is (B2, decision 0018); who has nothing due takes no turn."""
        await world.runner()
        await queues(world)
        assert await taken(world, 1, workflows=["unused", "small", "tiny", "order"]) == [101]
        assert await taken(world, 2, workflows=["tiny", "unused", "order", "small"]) == [1, 201]
        assert await taken(world, 1, workflows=["tiny", "small", "order"]) == [102]

    async def test_new_runs_wait_until_resuming_work_leaves_room(self, world: StoreWorld) -> None:
        """A share of resuming work that was used up may have a rest, which goes before any new run (B2)."""
        await world.runner()
        for each in range(5):
            await waiting(world, each + 1, NOW - each)
        await waiting(world, 6, NOW, workflow="small")
        await waiting(world, 7, NOW - 1_000, Priority.NEW, workflow="small")
        claims = [
            await world.run(claim(world.dialect, RUNNER_ID, 1, limit, ["order", "small"]))
            for limit in (6, 6, 6)
        ]
        assert [[each.run.id for each in one.claimed] for one in claims] == [[5, 4, 3, 6], [2, 1, 7], []]
        assert [each.more for each in claims] == [True, False, False]

    async def test_a_tick_finds_what_a_claim_would_take(self, world: StoreWorld) -> None:
        """Optimistic ticks are as fair (B2, B9)."""
        await queues(world)
        found = await world.run(due(6, ALL), "read")
        assert [each.run.id for each in found] == [1, 2, 101, 102, 201]
