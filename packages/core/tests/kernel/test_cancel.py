"""Cancellation: cooperative, seen by every end, keeps the fence (E5, decision 0003)."""

import pytest

from keepstep.errors import InstanceTerminalError
from keepstep.kernel.lifecycle import plan_cancel
from keepstep.model.plan import Steering
from keepstep.model.status import TERMINAL, Priority, Status
from tests.support.rows import NOW, RUN_ID, RUNNER_ID, run_row, task_of, task_row


def test_a_held_run_keeps_its_owner_and_its_fence():
    """A step in flight may still record its result; the raised wake_seq stops any end that has not seen it (B6)."""
    run, task = run_row(), task_row(owner=RUNNER_ID)
    assert plan_cancel(run, task, "too late", NOW) == Steering(
        run_id=RUN_ID,
        expect_version=5,
        run=run._replace(cancel_reason="too late", version=6, updated_at=NOW),
        task=task._replace(wake_seq=10, run_at=NOW, priority=Priority.RESUME),
    )


@pytest.mark.parametrize("status", [Status.WAITING, Status.PAUSED])
def test_a_run_that_rests_becomes_due(status):
    """A waiting run is woken and a paused one resumed, so that cleanup can run (E5)."""
    run = run_row(status)
    steering = plan_cancel(run, task_of(run), None, NOW)
    assert steering is not None
    assert steering.run is not None
    assert steering.task is not None
    assert (steering.run.status, steering.run.cancel_reason) == ("active", "")
    assert (steering.task.run_at, steering.task.wake_seq, steering.task.priority) == (
        NOW,
        10,
        Priority.RESUME,
    )


def test_a_cancel_withdraws_a_pending_pause():
    """Whoever cancels wants the cleanup to run, not a run that rests half-way (decision 0003)."""
    steering = plan_cancel(run_row(pause_requested=True), task_row(owner=RUNNER_ID), "r", NOW)
    assert steering is not None
    assert steering.run is not None
    assert not steering.run.pause_requested


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.WAITING, Status.PAUSED])
@pytest.mark.parametrize("first", ["", "first"])
def test_a_repeated_cancel_is_a_no_op(status, first):
    """The first reason stays, also when none was given."""
    run = run_row(status, cancel_reason=first)
    assert plan_cancel(run, task_of(run), "second", NOW) is None


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_an_ended_run_cannot_be_cancelled(status):
    """Cancelling needs a body that lives (E5)."""
    with pytest.raises(InstanceTerminalError, match=r"o-1.*it cannot be cancelled"):
        plan_cancel(run_row(status), None, None, NOW)


def test_an_overdue_task_keeps_its_place():
    """A task that is due already is not put behind others by a wake-up (B2)."""
    steering = plan_cancel(run_row(), task_row(run_at=NOW - 500), None, NOW)
    assert steering is not None
    assert steering.task is not None
    assert steering.task.run_at == NOW - 500
