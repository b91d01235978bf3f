"""Another life: restart, restart from a step, retry of the failed step (E6)."""

import pytest

from keepstep.errors import InstanceStateError, InvalidInputError
from keepstep.kernel.again import plan_restart, plan_restart_from, plan_retry_failed_step
from keepstep.model.facts import CANCEL_KEY
from keepstep.model.outcome import ErrorInfo
from keepstep.model.recorded import error_text, read_error
from keepstep.model.status import TERMINAL, Priority, Status, StepStatus
from tests.support.rows import NOW, RUN_ID, RUNNER_ID, run_row, step_row, task_of, task_row

NEXT = 8
STEPS = [
    step_row("do:a", 1),
    step_row("sleep:b", 2, due_at=502),
    step_row("do:c", 3),
    step_row("do:d", None, StepStatus.RETRYING, due_at=NOW),
    step_row("wait:e", None, StepStatus.ABANDONED),
]


def errored(key="do:c", **changes):
    """A run that ended by its step ``key``."""
    error = error_text(ErrorInfo("ValueError", "no", None, key, 6))
    return run_row(Status.ERRORED, error=error, **changes)


@pytest.mark.parametrize("status", list(Status))
def test_a_restart_begins_the_next_run_from_any_status(status):
    """The next run has the next number and the same params, and inherits no pause and no cancellation (E6)."""
    run = run_row(status, cancel_reason="r", pause_requested=status is Status.ACTIVE)
    steering = plan_restart(run, task_of(run), NEXT, None, NOW)
    assert steering.creation is not None
    new, task, _ = steering.creation
    assert (new.id, new.run_number, new.latest, new.status) == (NEXT, 4, True, "active")
    assert (new.params, new.workflow_version, new.instance_id) == (run.params, 2, "o-1")
    assert (new.cancel_reason, new.pause_requested, new.started_at) == (None, False, None)
    assert new.created_at == run.created_at
    assert (task.run_id, task.run_at, task.owner, task.priority) == (NEXT, NOW, None, Priority.NEW)
    assert (steering.drop_task, steering.steps) == (not status.terminal, ())
    assert (steering.run_id, steering.expect_version) == (RUN_ID, 5)


@pytest.mark.parametrize("status", sorted(set(Status) - TERMINAL))
def test_a_live_run_is_terminated_by_its_restart(status):
    """The old run stays readable and says how it ended (E6)."""
    run = run_row(status)
    old = plan_restart(run, task_of(run), NEXT, None, NOW).run
    assert old is not None
    assert (old.latest, old.status, old.completed_at, old.version) == (False, "terminated", NOW, 6)
    assert old.error is not None
    assert read_error(old.error).message == "restarted"


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_an_ended_run_keeps_its_end(status):
    """Only ``latest`` moves on (E6, E7)."""
    run = run_row(status, error='{"name":"X","message":"m"}')
    old = plan_restart(run, None, NEXT, None, NOW).run
    assert old == run._replace(latest=False, version=6, updated_at=NOW)


def test_a_restart_may_have_other_params():
    """Params that are given replace the old ones (E6)."""
    steering = plan_restart(run_row(), task_row(owner=RUNNER_ID), NEXT, "null", NOW)
    assert steering.creation is not None
    assert steering.creation.run.params == "null"


@pytest.mark.parametrize(
    ("from_key", "kept"),
    [
        ("do:a", []),
        ("sleep:b", ["do:a"]),
        ("do:c", ["do:a", "sleep:b"]),
        ("do:d", ["do:a", "sleep:b", "do:c"]),
        ("wait:e", ["do:a", "sleep:b", "do:c"]),
    ],
)
def test_a_restart_from_a_step_keeps_what_was_resolved_before_it(from_key, kept):
    """The seeds are the results before the step, dense from 1; open rows are asked for again (E6, A2)."""
    run = run_row(Status.ERRORED)
    steering = plan_restart_from(run, None, NEXT, STEPS[::-1], from_key, NOW)
    assert [(row.key, row.seq, row.run_id) for row in steering.steps] == [
        (key, seq, NEXT) for seq, key in enumerate(kept, start=1)
    ]
    assert steering.creation is not None
    assert steering.creation.run.started_at == run.started_at
    assert steering.creation.run.params == run.params


@pytest.mark.parametrize("from_key", ["do:cleanup", CANCEL_KEY, "do:open"])
def test_a_cancellation_is_not_taken_over(from_key):
    """What followed a cancellation happened in a cancelled life; the next run is not cancelled (E6)."""
    steps = [
        step_row("do:a", 1),
        step_row(CANCEL_KEY, 2, result='""'),
        step_row("do:cleanup", 3),
        step_row("do:open", None, StepStatus.INTENT),
    ]
    steering = plan_restart_from(run_row(Status.CANCELLED), None, NEXT, steps, from_key, NOW)
    assert [row.key for row in steering.steps] == ["do:a"]


def test_an_unknown_step_is_refused_with_the_known_ones():
    """The message lists what could have been named, in order (E6, H)."""
    with pytest.raises(InvalidInputError) as refused:
        plan_restart_from(run_row(), task_row(), NEXT, STEPS, "charge", NOW)
    assert str(refused.value) == (
        "workflow 'order' instance 'o-1' has no step 'charge' in run 3, so it cannot restart from it; "
        "recorded steps: 'do:a', 'sleep:b', 'do:c', 'do:d', 'wait:e'"
    )
    with pytest.raises(InvalidInputError, match="recorded steps: none yet"):
        plan_restart_from(run_row(), task_row(), NEXT, [], "do:a", NOW)


def test_a_retry_reopens_the_run_at_its_failed_step():
    """The failure and all after it go; the run is due now, ahead of new runs (E6)."""
    run = errored()
    steps = [step_row("do:a", 1), step_row("do:c", 2, StepStatus.FAILED), step_row("do:late", 3)]
    steering = plan_retry_failed_step(run, None, steps, NOW)
    assert steering.run == run._replace(
        status="active", version=6, updated_at=NOW, completed_at=None, error=None, output=None
    )
    assert (steering.drop_from_seq, steering.steps, steering.creation) == (2, (), None)
    assert (steering.run_id, steering.expect_version) == (RUN_ID, 5)
    assert steering.task is not None
    assert (steering.task.run_id, steering.task.run_at, steering.task.owner) == (RUN_ID, NOW, None)
    assert steering.task.priority == Priority.RESUME


def test_a_reopened_run_has_a_fence_above_every_earlier_one():
    """The old task row is gone, but not the memory of those who held it (B3, invariant 3)."""
    steps = [step_row("do:c", 1, StepStatus.FAILED)]
    first = plan_retry_failed_step(errored(version=5), None, steps, NOW).task
    again = plan_retry_failed_step(errored(version=9), None, steps, NOW).task
    assert first is not None
    assert again is not None
    assert first.fence > 100
    assert first.fence + 100 < again.fence


def test_a_retried_wait_gets_its_whole_timeout_again():
    """Its old deadline has passed, and no event could be sent to the ended run (D4, E6)."""
    waited = step_row(
        "wait:ok",
        2,
        StepStatus.FAILED,
        started_at=1_000,
        due_at=61_000,
        event_type="approval",
        error="{}",
        attempt=0,
    )
    steering = plan_retry_failed_step(errored("wait:ok"), None, [step_row("do:a", 1), waited], NOW)
    assert steering.steps == (
        waited._replace(seq=None, status="waiting", started_at=NOW, at=None, due_at=NOW + 60_000, error=None),
    )
    assert steering.drop_from_seq == 2


@pytest.mark.parametrize(("cancel_seq", "reason"), [(1, "stop"), (3, None), (None, None)])
def test_a_cancellation_stands_only_if_the_body_had_received_it(cancel_seq, reason):
    """A failed cleanup is retried as cleanup; a request that came too late is void with the failure (E5, E6)."""
    steps = [step_row("do:c", 2, StepStatus.FAILED)]
    if cancel_seq is not None:
        steps.append(step_row(CANCEL_KEY, cancel_seq))
    run = plan_retry_failed_step(errored(cancel_reason="stop"), None, steps, NOW).run
    assert run is not None
    assert run.cancel_reason == reason


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (Status.ACTIVE, "retried by itself"),
        (Status.WAITING, "retried by itself"),
        (Status.PAUSED, r"resume\(\) continues it"),
        (Status.COMPLETE, r"restart\(\) begins its next run"),
        (Status.TERMINATED, r"restart\(\) begins its next run"),
        (Status.CANCELLED, r"restart\(\) begins its next run"),
    ],
)
def test_only_an_errored_run_has_a_step_to_retry(status, advice):
    """The refusal says what to do instead (E6, H)."""
    run = run_row(status)
    with pytest.raises(InstanceStateError, match=f"'o-1' is {status}: no step to retry; .*{advice}"):
        plan_retry_failed_step(run, task_of(run), [], NOW)


@pytest.mark.parametrize(
    ("error", "steps", "said"),
    [
        (ErrorInfo("ValueError", "in the body"), STEPS, "ValueError: in the body"),
        (ErrorInfo("ValueError", "gone", None, "do:gone"), STEPS, "ValueError: gone"),
        (ErrorInfo("ValueError", "was caught", None, "do:a"), STEPS, "ValueError: was caught"),
        (None, [], "an error that was not recorded"),
    ],
)
def test_a_run_that_no_step_failed_has_nothing_to_retry(error, steps, said):
    """An exception of the body itself cannot be retried in place (C5, E6)."""
    run = run_row(Status.ERRORED, error=None if error is None else error_text(error))
    with pytest.raises(InstanceStateError, match=rf"not by a step \({said}\).*restart\(from_step"):
        plan_retry_failed_step(run, None, steps, NOW)
