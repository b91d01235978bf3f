"""Defects seen in systems of this kind that a store could bring back (semantics, end)."""

import asyncio

from keepstep.engine.committer import Committer, Verdict
from keepstep.model.plan import Park
from keepstep.store.claims import claim, renew
from tests.support.rows import NOW, RUN_ID, RUNNER_ID, step_row


async def test_11_a_lease_renewed_after_the_run_was_given_back_keeps_nobody_out(world, boundary):
    """Defect 11: the runner parks the run and renews its lease; another runner claims the run at its time (B2, B4)."""
    await world.runner()
    await world.hold()
    assert (await world.group([boundary(end=Park(NOW + 5))])).kept == {RUN_ID}
    parked = await world.task()
    assert await world.run(renew(RUNNER_ID, 1, 30_000))
    assert await world.task() == parked
    world.clock.now += 5
    await world.runner(RUNNER_ID + 1)
    claims = await world.run(claim(world.dialect, RUNNER_ID + 1, 1, 10, ["order"]))
    assert [each.run.id for each in claims.claimed] == [RUN_ID]
    assert (await world.task()).owner == RUNNER_ID + 1


async def test_9_a_boundary_submitted_just_as_a_group_ends_is_committed(world, boundary):
    """Defect 9: a boundary that comes between the end of a flight and what follows it is not left lying (B1)."""
    await world.runner()
    await world.hold(1, 2)
    committer = Committer(world.store, 100, lambda: None)
    committer.open(RUNNER_ID, 1)
    loop = asyncio.get_running_loop()
    second, may_end = loop.create_future(), asyncio.Event()

    async def gate(label, at):
        if label == "other" and at == "begin":
            await may_end.wait()

    def submit_second():
        assert world.store.busy or world.dialect == "postgresql"  # there other work does not count
        committer.submit(boundary(2, steps=(step_row("do:a", 1, run_id=2),)), second.set_result)
        may_end.set()

    world.store._gate = gate
    first = boundary(1, steps=(step_row("do:a", 1, run_id=1),))
    committer.submit(first, lambda _: loop.call_soon(submit_second))
    other = loop.create_task(world.store.transaction("other", renew(RUNNER_ID, 1, 30_000), "single"))
    async with asyncio.timeout(20):
        assert await second is Verdict.KEPT
    await other
