"""Outcomes of hooks' deliveries: written once, also when the answer of the first writing was lost (F1, C5)."""

import pytest

from keepstep.model.hooks import Again, Dead, Delivered, Finished, GivenBack
from keepstep.store.hooks import Trigger, claim_hooks, finish_hooks, insert_trigger, read_hook
from tests.support.rows import NOW

LATER = NOW + 60_000


async def claimed(world, key=None):
    """A hook under delivery."""
    await world.run(insert_trigger(Trigger(1, "notify", key, None, '"x"', None)))
    (row,) = await world.run(claim_hooks(world.dialect, {"notify": 10}, 5_000, world.clock.now_ms()))
    return row


@pytest.mark.parametrize("outcome", [Delivered(), Dead(None), Again(LATER, "{}"), GivenBack(LATER)])
async def test_an_outcome_that_is_written_again_changes_nothing(world, outcome):
    """A delivery that was given back does not lose two attempts for one."""
    row = await claimed(world)
    await world.run(finish_hooks([Finished(row.id, row.fence, outcome, NOW)]))
    once = await world.run(read_hook(row.id))
    await world.run(finish_hooks([Finished(row.id, row.fence, outcome, NOW + 1)]))
    assert await world.run(read_hook(row.id)) == once
    assert once.attempt == (0 if isinstance(outcome, GivenBack) else 1)


async def test_a_row_that_made_way_for_another_of_its_key_stays_away(world):
    """It was merged; the other one is delivered by now, and the late repetition does not bring it back."""
    row = await claimed(world, key="k")
    await world.run(insert_trigger(Trigger(2, "notify", "k", None, '"y"', None)))
    failed = Finished(row.id, row.fence, Again(LATER, "{}"), NOW)
    await world.run(finish_hooks([failed]))
    (other,) = await world.run(claim_hooks(world.dialect, {"notify": 10}, 5_000, world.clock.now_ms()))
    await world.run(finish_hooks([Finished(other.id, other.fence, Delivered(), NOW)]))
    await world.run(finish_hooks([failed]))
    assert (await world.run(read_hook(row.id))).status == "merged"
