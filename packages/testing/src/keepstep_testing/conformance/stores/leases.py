"""Leases: registering, renewing, taking over from the dead, draining (B2–B4, B7)."""

import pytest

from keepstep.errors import IntegrityError
from keepstep.model.status import Priority, StepStatus
from keepstep.store import tables
from keepstep.store.claims import renew, runners_of_host
from keepstep.store.rescue import release_runner, rescue, rescue_process
from keepstep_testing.conformance.rows import NOW, RUN_ID, RUNNER_ID, run_row, step_row, task_row
from keepstep_testing.conformance.stores.world import StoreWorld, boundary

LEASE_MS = 30_000


class Leases:
    """Registering, renewing, taking over, draining."""

    async def test_a_runner_gets_its_instants_from_the_database(self, world: StoreWorld) -> None:
        """Database time decides when a lease ends (B5)."""
        await world.runner(RUNNER_ID, epoch=3)
        assert await world.rows(tables.runner) == [(RUNNER_ID, 3, NOW + LEASE_MS, "host-1", 1, NOW)]
        found = await world.run(runners_of_host("host-1"), "read")
        assert [tuple(each) for each in found] == await world.rows(tables.runner)
        assert await world.run(runners_of_host("host-2"), "read") == []

    async def test_two_runners_cannot_share_an_id(self, world: StoreWorld) -> None:
        """A second registration is refused."""
        await world.runner()
        with pytest.raises(IntegrityError):
            await world.runner()

    async def test_a_lease_is_renewed_while_the_epoch_holds(self, world: StoreWorld) -> None:
        """One statement prolongs it, however many runs it covers (B4); taken over, it is None."""
        await world.runner()
        world.clock.now += 10_000
        assert await world.run(renew(RUNNER_ID, 1, LEASE_MS)) == NOW + 10_000 + LEASE_MS
        assert await world.run(renew(RUNNER_ID, 2, LEASE_MS)) is None
        assert await world.run(renew(RUNNER_ID + 1, 1, LEASE_MS)) is None

    async def test_a_live_runner_is_not_rescued(self, world: StoreWorld) -> None:
        """A lease counts until its last millisecond (B2)."""
        await world.runner()
        await world.hold()
        world.clock.now += LEASE_MS
        assert await world.run(rescue(world.dialect, 100)) == []
        assert (await world.task()).owner == RUNNER_ID

    async def test_an_expired_lease_is_taken_over(self, world: StoreWorld) -> None:
        """Tasks become claimable now and first, under a higher fence, and it is counted (B2, B3, B7)."""
        await world.runner()
        await world.hold(takeovers=0, seen_seq=0)
        world.clock.now += LEASE_MS + 1
        assert await world.run(rescue(world.dialect, 100)) == [RUN_ID]
        expected = task_row(
            run_at=world.clock.now, fence=5, takeovers=1, seen_seq=0, priority=Priority.RESUME
        )
        assert await world.task() == expected
        assert await world.run(renew(RUNNER_ID, 1, LEASE_MS)) is None
        result = await world.group([boundary(steps=(step_row("do:a", 1),))])
        assert (result.kept, result.epoch_held) == (frozenset(), False)

    async def test_a_due_time_in_the_past_is_kept(self, world: StoreWorld) -> None:
        """What waited longest is still claimed first (B2)."""
        await world.runner()
        await world.hold(1, run_at=NOW - 5)
        await world.hold(2, run_at=None)
        await world.hold(3, run_at=NOW + 99_999)
        world.clock.now += LEASE_MS + 1
        assert sorted(await world.run(rescue(world.dialect, 100))) == [1, 2, 3]
        assert [(await world.task(each)).run_at for each in (1, 2, 3)] == [NOW - 5, *[world.clock.now] * 2]

    async def test_takeovers_count_from_the_last_boundary(self, world: StoreWorld) -> None:
        """A boundary between two expired leases starts the count anew, open rows do not (B7)."""
        await world.runner()
        await world.hold(takeovers=3, seen_seq=0)
        await world.group([boundary(steps=(step_row("do:b", None, StepStatus.RETRYING),))])
        world.clock.now += LEASE_MS + 1
        await world.run(rescue(world.dialect, 100))
        assert (await world.task())[-2:] == (4, 0)

        await world.runner(RUNNER_ID + 1)
        await world.hold(8, takeovers=3, seen_seq=0)
        await world.runner()
        await world.group([boundary(8, steps=(step_row("do:a", 1, run_id=8), step_row("do:b", 2, run_id=8)))])
        world.clock.now += LEASE_MS + 1
        await world.run(rescue(world.dialect, 100))
        assert (await world.task(8))[-2:] == (1, 2)

    async def test_a_dead_runner_without_tasks_is_deleted(self, world: StoreWorld) -> None:
        """Rows of dead runners do not pile up; those of live ones stay."""
        await world.runner(1, lease_ms=1_000)
        await world.runner(2, lease_ms=9_000)
        world.clock.now += 1_001
        assert await world.run(rescue(world.dialect, 100)) == []
        assert [row[0] for row in await world.rows(tables.runner)] == [2]

    async def test_a_rescue_of_many_goes_on_with_the_next_call(self, world: StoreWorld) -> None:
        """The limit bounds a transaction; the runner's row stays until all its tasks are free."""
        await world.runner()
        await world.hold(1, 2, 3)
        world.clock.now += LEASE_MS + 1
        assert len(await world.run(rescue(world.dialect, 2))) == 2
        assert len(await world.rows(tables.runner)) == 1
        assert len(await world.run(rescue(world.dialect, 2))) == 1
        assert await world.rows(tables.runner) == []
        assert await world.run(rescue(world.dialect, 2)) == []

    async def test_tasks_of_a_runner_that_has_no_row_are_rescued(self, world: StoreWorld) -> None:
        """A run that was started for a runner which died before the commit is not stranded (defect 9)."""
        await world.runner(RUNNER_ID + 1)
        await world.add(run_row(id=8, instance_id="o-8"), task_row(run_id=8, owner=RUNNER_ID + 1))
        await world.add(run_row(id=9, instance_id="o-9"), task_row(run_id=9, owner=RUNNER_ID + 2))
        await world.hold()
        assert sorted(await world.run(rescue(world.dialect, 100))) == [RUN_ID, 9]
        assert (await world.task(8)).owner == RUNNER_ID + 1

    async def test_a_dead_process_is_rescued_before_its_lease_ends(self, world: StoreWorld) -> None:
        """A neighbour on the same host that is known to be dead is not waited for."""
        await world.runner()
        await world.runner(RUNNER_ID + 1)
        await world.hold()
        assert await world.run(rescue_process(world.dialect, [RUNNER_ID])) == [RUN_ID]
        assert [row[0] for row in await world.rows(tables.runner)] == [RUNNER_ID + 1]
        assert await world.run(rescue_process(world.dialect, [])) == []

    async def test_a_drained_runner_gives_everything_back(self, world: StoreWorld) -> None:
        """Nothing waits for a lease after an orderly stop, and it does not count as a takeover (B7)."""
        await world.runner()
        await world.hold()
        assert await world.run(release_runner(world.dialect, RUNNER_ID, 1))
        assert await world.task() == task_row(run_at=NOW, takeovers=2)
        assert await world.rows(tables.runner) == []
        assert not await world.run(release_runner(world.dialect, RUNNER_ID, 1))

    async def test_a_runner_that_was_taken_over_releases_nothing(self, world: StoreWorld) -> None:
        """The runs may belong to somebody else by now (B3)."""
        await world.runner(epoch=2)
        await world.hold()
        assert not await world.run(release_runner(world.dialect, RUNNER_ID, 1))
        assert (await world.task()).owner == RUNNER_ID
