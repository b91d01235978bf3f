"""New runs: due now and unclaimed, or claimed in the same commit (E2)."""

from keepstep.kernel.create import next_run, plan_create
from keepstep.model.status import Priority
from tests.support.rows import NOW, RUN_ID, RUNNER_ID, run_row


def test_a_new_run_is_due_now():
    """Unclaimed and behind resuming work (B2, E2)."""
    run, task, _ = plan_create("order", 2, "o-1", RUN_ID, "[1]", NOW)
    assert (run.id, run.run_number, run.latest, run.workflow_version, run.params) == (
        RUN_ID,
        1,
        True,
        2,
        "[1]",
    )
    assert (run.version, run.pause_requested, run.cancel_reason) == (1, False, None)
    assert (run.status, run.created_at, run.updated_at, run.started_at) == ("active", NOW, NOW, None)
    assert (task.run_id, task.workflow, task.run_at, task.priority) == (RUN_ID, "order", NOW, Priority.NEW)
    assert (task.owner, task.fence, task.wake_seq, task.takeovers, task.seen_seq) == (None, 0, 0, 0, 0)


def test_an_eager_start_is_a_claim_in_the_same_commit():
    """The creating runner owns the run, with the first fence, and its loop time begins (B2, A3)."""
    run, task, _ = plan_create("order", 2, "o-1", RUN_ID, None, NOW, owner=RUNNER_ID)
    assert (task.owner, task.fence, run.started_at) == (RUNNER_ID, 1, NOW)


def test_a_next_run_is_the_same_instance():
    """Number, version of the code and time of creation belong to the instance (E6, E10)."""
    old = run_row(cancel_reason="r", pause_requested=True)
    run, task, _ = next_run(old, 8, "[2]", NOW)
    assert (run.workflow, run.instance_id, run.workflow_version) == ("order", "o-1", 2)
    assert (run.run_number, run.created_at, run.updated_at) == (4, old.created_at, NOW)
    assert (run.cancel_reason, run.pause_requested, run.params, task.run_id) == (None, False, "[2]", 8)
