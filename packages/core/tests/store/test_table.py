"""What statements decide is what the table of transitions says: claims and rescues (B2, E1; see kernel/test_walked.py)."""

import pytest

from keepstep.kernel.transitions import Refuse, To, Trigger, decide
from keepstep.model.status import Status
from keepstep.store import tables
from keepstep.store.claims import claim
from keepstep.store.rescue import rescue
from keepstep.store.script import Call
from keepstep.store.statement import Statement
from tests.support.rows import NOW, RUN_ID, RUNNER_ID, run_row, task_of, task_row


def ended(status):
    """Make the run what it is in ``status``: without a task when it has ended."""
    if status.terminal:
        yield Call(Statement(tables.task.delete(), "drop tasks"))


@pytest.mark.parametrize("status", list(Status))
async def test_a_claim_moves_a_run_as_the_table_says(world, status):
    """B2, E1: in each status a claim takes the run, or leaves it, as its transition is decided."""
    run = run_row(status)
    task = task_of(run)
    due = task_row(run_at=NOW) if task is None or task.run_at is not None else task
    await world.runner()
    await world.add(run, due)
    await world.run(ended(status))
    claims = await world.run(claim(world.dialect, RUNNER_ID, 1, 10, ["order"]))
    decision = decide(status, Trigger.CLAIM)
    assert [each.run.id for each in claims.claimed] == ([] if isinstance(decision, Refuse) else [RUN_ID])
    assert (await world.row()).status == (decision.status if isinstance(decision, To) else status)


@pytest.mark.parametrize("status", [Status.ACTIVE, *(each for each in Status if each.terminal)])
async def test_a_rescue_moves_a_run_as_the_table_says(world, status):
    """B2, B7: of a dead runner's runs the active ones are due again, in the status they had; those that ended are left."""
    await world.runner()
    await world.add(run_row(status), task_row(owner=RUNNER_ID))
    await world.run(ended(status))
    world.clock.now += 30_001
    freed = await world.run(rescue(world.dialect, 10))
    assert freed == ([] if isinstance(decide(status, Trigger.RESCUE), Refuse) else [RUN_ID])
    assert (await world.row()).status == status
