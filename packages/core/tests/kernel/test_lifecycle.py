"""Pause, resume and terminate: when they take effect, when they do nothing, when they are refused (E3–E5)."""

import pytest

from keepstep.errors import InstanceTerminalError
from keepstep.kernel.lifecycle import plan_pause, plan_resume, plan_terminate
from keepstep.model.plan import Steering
from keepstep.model.recorded import read_error
from keepstep.model.status import TERMINAL, Priority, Status
from tests.support.rows import NOW, RUN_ID, RUNNER_ID, run_row, task_of, task_row

LIVE = [Status.ACTIVE, Status.WAITING, Status.PAUSED]


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.WAITING])
def test_a_pause_is_immediate_when_nothing_executes(status):
    """Nobody holds the run, so it is paused at once and no claim can find it (E3, B2)."""
    run, task = run_row(status), task_row()
    assert plan_pause(run, task, NOW) == Steering(
        run_id=RUN_ID,
        expect_version=5,
        run=run._replace(status="paused", version=6, updated_at=NOW),
        task=task._replace(run_at=None, wake_seq=10, takeovers=0),
    )


def test_a_pause_of_a_held_run_is_a_wish():
    """Somebody executes the run: the pause is noted and wakes the holder, who keeps its fence (E3, B6)."""
    run, task = run_row(), task_row(owner=RUNNER_ID)
    assert plan_pause(run, task, NOW) == Steering(
        run_id=RUN_ID,
        expect_version=5,
        run=run._replace(pause_requested=True, version=6, updated_at=NOW),
        task=task._replace(wake_seq=10),
    )


def test_a_repeated_pause_is_a_no_op():
    """Pausing what is paused, or is about to be, writes nothing (E3)."""
    paused = run_row(Status.PAUSED)
    assert plan_pause(paused, task_of(paused), NOW) is None
    assert plan_pause(run_row(pause_requested=True), task_row(owner=RUNNER_ID), NOW) is None


def test_a_pending_pause_takes_effect_when_its_holder_is_gone():
    """The holder died before its next boundary: a second pause need not wait for another holder (E3)."""
    steering = plan_pause(run_row(pause_requested=True), task_row(), NOW)
    assert steering is not None
    assert steering.run is not None
    assert (steering.run.status, steering.run.pause_requested) == ("paused", False)


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_an_ended_run_cannot_be_paused(status):
    """The refusal says subject, state, what was asked and what to do (E3, H)."""
    with pytest.raises(InstanceTerminalError) as refused:
        plan_pause(run_row(status), None, NOW)
    assert str(refused.value) == (
        f"workflow 'order' instance 'o-1' is {status} (run 3): it has ended, so it cannot be paused; "
        "restart() begins its next run"
    )


def test_resume_makes_a_paused_run_due_now():
    """A paused run gets one tick now, ahead of new runs (E4, B2)."""
    run = run_row(Status.PAUSED)
    task = task_row(run_at=None, priority=Priority.NEW)
    assert plan_resume(run, task, NOW) == Steering(
        run_id=RUN_ID,
        expect_version=5,
        run=run._replace(status="active", version=6, updated_at=NOW),
        task=task._replace(run_at=NOW, priority=Priority.RESUME, wake_seq=10),
    )


def test_resume_withdraws_a_pending_pause():
    """The wish is taken back and the holder is woken to see it; the schedule stays (E4)."""
    run, task = run_row(pause_requested=True), task_row(owner=RUNNER_ID)
    assert plan_resume(run, task, NOW) == Steering(
        run_id=RUN_ID,
        expect_version=5,
        run=run._replace(pause_requested=False, version=6, updated_at=NOW),
        task=task._replace(wake_seq=10),
    )


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.PAUSED}))
def test_resume_of_what_is_not_paused_is_a_no_op(status):
    """Resume never fails and writes nothing where nothing is paused (E4)."""
    run = run_row(status)
    assert plan_resume(run, task_of(run), NOW) is None


@pytest.mark.parametrize("status", LIVE)
def test_terminate_ends_the_run_at_once(status):
    """The run ends and its task goes, and with it the fence of whoever held it (E5, E7)."""
    run = run_row(status, pause_requested=True)
    steering = plan_terminate(run, task_row(owner=RUNNER_ID), "out of stock", NOW)
    ended = steering.run
    assert ended is not None
    assert (ended.status, ended.version, ended.completed_at, ended.pause_requested) == (
        "terminated",
        6,
        NOW,
        False,
    )
    assert ended.error is not None
    error = read_error(ended.error)
    assert (error.name, error.message, error.code) == (
        "WorkflowTerminatedError",
        "out of stock",
        "WORKFLOW_TERMINATED",
    )
    assert (steering.drop_task, steering.task) == (True, None)
    assert (steering.run_id, steering.expect_version) == (RUN_ID, 5)


def test_terminate_needs_no_reason():
    """Without a reason the error says that the run was terminated (E5)."""
    run = plan_terminate(run_row(), task_row(), None, NOW).run
    assert run is not None
    assert run.error is not None
    assert read_error(run.error).message == "terminated"


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_an_ended_run_cannot_be_terminated(status):
    """The first terminal transition wins (E5, E7)."""
    with pytest.raises(InstanceTerminalError, match=r"o-1.*it cannot be terminated; restart\(\)"):
        plan_terminate(run_row(status), None, "again", NOW)


@pytest.mark.parametrize("plan", [plan_pause, plan_resume])
def test_a_live_run_without_a_task_is_a_broken_store(plan):
    """Each live run has exactly one task: anything else is a defect, not a case."""
    run = run_row(Status.PAUSED) if plan is plan_resume else run_row()
    with pytest.raises(AssertionError, match="has no task row"):
        plan(run, None, NOW)
