"""Claims that begin behind what was claimed before, where dead index entries stand in the way (B2)."""

from keepstep.model.status import Priority
from keepstep.store.claims import claim, next_due
from keepstep_testing.conformance.rows import NOW, RUNNER_ID
from keepstep_testing.conformance.stores.claims import WORKFLOWS, waiting


async def test_a_claim_may_begin_behind_what_was_claimed_before(world):
    """On PostgreSQL, where dead entries stand before the mark of a queue; SQLite has none and looks at everything (B2)."""
    await world.runner()
    await waiting(world, 1, NOW - 100, Priority.NEW)
    await waiting(world, 2, NOW - 50, Priority.NEW)
    await waiting(world, 3, NOW - 100, Priority.RESUME)
    await waiting(world, 4, NOW - 100, Priority.NEW, workflow="other")
    since = {("order", Priority.NEW): NOW - 50}
    found = await world.run(claim(world.dialect, RUNNER_ID, 1, 10, ["order", "other"], since=since))
    taken_now = {each.run.id for each in found.claimed}
    assert taken_now == ({2, 3, 4} if world.dialect == "postgresql" else {1, 2, 3, 4})


async def test_what_is_due_next_behind_the_marks(postgres_world):
    """Two look-ups a workflow, from its marks on; leases are left to looks at everything (B5)."""
    world = postgres_world
    await waiting(world, 1, NOW + 100, Priority.NEW)
    await waiting(world, 2, NOW + 500)
    await waiting(world, 3, NOW + 200, workflow="other")
    await waiting(world, 4, NOW, owner=RUNNER_ID)
    everything, marks = {}, {("order", Priority.NEW): NOW + 101, ("order", Priority.RESUME): NOW + 500}
    assert await world.run(next_due(WORKFLOWS, everything), "read") == (NOW, NOW + 100)
    assert await world.run(next_due(WORKFLOWS, marks), "read") == (NOW, NOW + 500)
    assert await world.run(next_due(["order", "other"], marks), "read") == (NOW, NOW + 200)
    await world.runner(lease_ms=50)
    assert await world.run(next_due(WORKFLOWS), "read") == (NOW, NOW + 50)
    assert await world.run(next_due(WORKFLOWS, marks), "read") == (NOW, NOW + 500)
