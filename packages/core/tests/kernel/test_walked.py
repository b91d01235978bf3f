"""Every transition of the table is asked for by some decision: the diagram tells what the code does."""

import contextlib

import pytest

from keepstep.errors import KeepstepError
from keepstep.kernel import again, lifecycle, takeover, transitions
from keepstep.kernel.boundary import plan_end
from keepstep.kernel.transitions import Refuse, To, Trigger
from keepstep.model.commands import Cancelled, Continued, Raised, Returned
from keepstep.model.outcome import ErrorInfo
from keepstep.model.recorded import error_text
from keepstep.model.status import Status, StepStatus
from tests.support.rows import NOW, RUNNER_ID, event_row, run_row, step_row, task_of, task_row

BY_STATEMENT = {
    Trigger.CLAIM: "the claim's WHERE: due, unowned, and a paused or ended run has no due task",
    Trigger.RESCUE: "the rescue's WHERE: owned by a runner whose lease expired",
}
"""Triggers that a store's statement decides; its tests compare the statement with the table."""

ERROR = ErrorInfo("ValueError", "no", step_key="do:charge", attempts=1)
STEPS = [step_row("do:charge", 1, StepStatus.FAILED)]


def end(run, outcome=None, **changes):
    """Plan a boundary's end."""
    options = {"next_run_id": 8, "optimistic": False, "draining": False, **changes}
    return plan_end(
        run, outcome, options.pop("executing", 0), options.pop("startable", 0), [], now=NOW, **options
    )


def walk(status):
    """Ask for everything that can be asked of a run in ``status``."""
    run = run_row(status, error=error_text(ERROR) if status is Status.ERRORED else None)
    task = task_of(run)
    yield lambda: lifecycle.plan_pause(run, task, NOW)
    yield lambda: lifecycle.plan_resume(run, task, NOW)
    yield lambda: lifecycle.plan_cancel(run, task, None, NOW)
    yield lambda: lifecycle.plan_terminate(run, task, None, NOW)
    yield lambda: lifecycle.plan_event(run, task, event_row(1), None, False, NOW)
    yield lambda: again.plan_restart(run, task, 8, None, NOW)
    yield lambda: again.plan_retry_failed_step(run, task, STEPS, NOW)
    yield lambda: end(run)
    yield lambda: end(run, startable=1, optimistic=True)
    yield lambda: end(run._replace(pause_requested=True))
    yield lambda: end(run, Returned("1"))
    yield lambda: end(run, Raised(ERROR))
    yield lambda: end(run, Cancelled(""))
    yield lambda: end(run, Continued("1"))


def test_all_transitions_are_walked(monkeypatch):
    """Each pair of status and trigger is looked up by a decision, but for those that a statement decides."""
    walked = set()
    look_up = transitions.decide

    def decide(status, trigger):
        walked.add((Status(status), trigger))
        return look_up(status, trigger)

    monkeypatch.setattr(transitions, "decide", decide)
    for status in Status:
        for ask in walk(status):
            with contextlib.suppress(KeepstepError):
                ask()
    takeover.crash_loop(task_row(takeovers=5), limit=5)

    # A crash loop is decided on a claimed run, and a claimed run is active.
    elsewhere = {(status, Trigger.CRASH_LOOP) for status in Status if status is not Status.ACTIVE}
    expected = {pair for pair in transitions.TABLE if pair[1] not in BY_STATEMENT} - elsewhere
    assert walked == expected


def test_what_the_table_says_is_what_happens():
    """Where the table says To, the plan has that status; where it refuses, the call raises that code."""
    operations = {
        Trigger.RESUME: lambda run, task: lifecycle.plan_resume(run, task, NOW),
        Trigger.CANCEL_REQUESTED: lambda run, task: lifecycle.plan_cancel(run, task, None, NOW),
        Trigger.TERMINATE: lambda run, task: lifecycle.plan_terminate(run, task, None, NOW),
        Trigger.RESTART: lambda run, task: again.plan_restart(run, task, 8, None, NOW),
        Trigger.RETRY_FAILED_STEP: lambda run, task: again.plan_retry_failed_step(run, task, STEPS, NOW),
        Trigger.PAUSE_REQUESTED: lambda run, task: lifecycle.plan_pause(run, task, NOW),
        Trigger.EVENT: lambda run, task: lifecycle.plan_event(run, task, event_row(1), None, False, NOW),
    }
    for status in Status:
        run = run_row(status, error=error_text(ERROR))
        for trigger, plan in operations.items():
            decision = transitions.decide(status, trigger)
            task = task_of(run, owner=RUNNER_ID) if status is Status.ACTIVE else task_of(run)
            if isinstance(decision, Refuse):
                with pytest.raises(KeepstepError) as refused:
                    plan(run, task)
                assert refused.value.code == decision.code, (status, trigger)
                continue
            steering = plan(run, task)
            if isinstance(decision, To):
                assert steering is not None
                assert steering.run is not None
                assert steering.run.status == decision.status, (status, trigger)
