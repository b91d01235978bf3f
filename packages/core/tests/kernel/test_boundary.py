"""What becomes of a run at a boundary: end, pause, hold, release or park (B1, B6, B9, E3, E7)."""

import itertools

import pytest

from keepstep.errors import LeaseLostError
from keepstep.kernel.boundary import CONTRADICTION_LOOK_MS, abandoned_row, open_rows, plan_end
from keepstep.model.commands import Cancelled, Continued, Contradicted, Raised, Returned
from keepstep.model.outcome import ErrorInfo
from keepstep.model.plan import ContinueAsNew, Finish, Hold, Park, Pause, Release
from keepstep.model.recorded import error_text, read_error
from keepstep.model.status import TERMINAL, Priority, Status, StepStatus
from tests.support.rows import NOW, RUN_ID, run_row, step_row, timer, wait

ERROR = ErrorInfo("ValueError", "no", None, "do:charge", 6)


def end(outcome=None, run=None, *, executing=0, startable=0, dues=(), optimistic=False, draining=False):
    """Plan the end of a boundary of an active run."""
    return plan_end(
        run_row() if run is None else run,
        outcome,
        executing,
        startable,
        dues,
        now=NOW,
        next_run_id=8,
        optimistic=optimistic,
        draining=draining,
    )


def test_a_body_that_returned_completes_the_run():
    """The encoded output is stored with the end (E1)."""
    assert end(Returned('"done"')) == Finish(Status.COMPLETE, '"done"', None)


def test_a_body_that_raised_errors_the_run():
    """The error names the step that failed, so that it can be retried (C5, E6)."""
    assert end(Raised(ERROR)) == Finish(Status.ERRORED, None, error_text(ERROR))


@pytest.mark.parametrize(("reason", "message"), [("too late", "too late"), ("", "cancelled")])
def test_a_body_that_ended_by_cancellation_is_cancelled(reason, message):
    """The reason is the run's error (E5)."""
    finish = end(Cancelled(reason))
    assert isinstance(finish, Finish)
    assert (finish.status, finish.output) == (Status.CANCELLED, None)
    assert finish.error is not None
    error = read_error(finish.error)
    assert (error.name, error.message, error.code) == (
        "WorkflowCancelledError",
        message,
        "WORKFLOW_CANCELLED",
    )


def test_continue_as_new_begins_the_next_run():
    """Next number, new params, fresh history, due now (C10)."""
    next_ = end(Continued("[2]"))
    assert isinstance(next_, ContinueAsNew)
    assert (next_.run.id, next_.run.run_number, next_.run.params) == (8, 4, "[2]")
    assert (next_.run.status, next_.run.latest, next_.run.started_at) == ("active", True, None)
    assert (next_.task.run_id, next_.task.run_at, next_.task.priority) == (8, NOW, Priority.NEW)


def test_what_was_asked_of_the_instance_holds_for_its_next_run():
    """A pause that is pending takes effect, a cancellation is delivered again: neither is lost (E3, E5)."""
    next_ = end(Continued("1"), run_row(pause_requested=True, cancel_reason="stop"))
    assert isinstance(next_, ContinueAsNew)
    assert (next_.run.status, next_.run.pause_requested, next_.run.cancel_reason) == ("paused", False, "stop")
    assert next_.task.run_at is None


@pytest.mark.parametrize("outcome", [Returned("1"), Raised(ERROR), Cancelled("")])
def test_a_body_that_ended_is_not_paused(outcome):
    """There is nothing left to pause (E3)."""
    assert isinstance(end(outcome, run_row(pause_requested=True)), Finish)


@pytest.mark.parametrize("startable", [0, 2])
@pytest.mark.parametrize("optimistic", [False, True])
@pytest.mark.parametrize("draining", [False, True])
def test_a_pause_takes_effect_when_nothing_executes(startable, optimistic, draining):
    """Nothing new starts once a pause was asked for (E3)."""
    run = run_row(pause_requested=True)
    assert end(run=run, startable=startable, optimistic=optimistic, draining=draining) == Pause()


def test_a_pause_waits_for_what_executes():
    """The step in flight may record its result first (E3)."""
    assert end(run=run_row(pause_requested=True), executing=1, startable=1) == Hold()


@pytest.mark.parametrize(
    ("executing", "startable", "optimistic", "draining", "expected"),
    [
        (0, 0, False, False, Park(50)),
        (0, 1, False, False, Hold()),
        (1, 0, False, False, Hold()),
        (1, 1, False, False, Hold()),
        (0, 0, True, False, Park(50)),
        (0, 1, True, False, Release(NOW)),
        (1, 0, True, False, Release(NOW)),
        (0, 0, False, True, Park(50)),
        (0, 1, False, True, Release(NOW)),
        (1, 1, False, True, Hold()),
        (0, 1, True, True, Release(NOW)),
    ],
)
def test_a_live_body_is_held_released_or_parked(executing, startable, optimistic, draining, expected):
    """Work keeps the run; a tick without a lease, or a drain, gives it back; else it parks (B9, E1)."""
    planned = end(
        executing=executing,
        startable=startable,
        optimistic=optimistic,
        draining=draining,
        dues=[None, 90, 50],
    )
    assert planned == expected


@pytest.mark.parametrize(
    ("dues", "run_at"), [([], None), ([None], None), ([7], 7), ([9, 3, None, 5], 3), ([NOW + 1, NOW], NOW)]
)
def test_a_park_looks_again_at_the_earliest_deadline(dues, run_at):
    """The next wake is the minimum over all pending deadlines; without one it waits to be woken (D2)."""
    assert end(dues=dues) == Park(run_at)


def test_code_that_does_not_fit_parks_the_run():
    """Until code that fits is deployed; whatever falls due cannot help (E10)."""
    assert end(Contradicted("do:a was a sleep"), dues=[5], startable=1) == Park(
        NOW + CONTRADICTION_LOOK_MS,
        error_text(ErrorInfo("NondeterminismError", "do:a was a sleep", "NONDETERMINISM")),
    )
    assert end(Contradicted("do:a was a sleep"), run_row(pause_requested=True)) == Pause()


@pytest.mark.parametrize("status", [Status.PAUSED, *sorted(TERMINAL)])
@pytest.mark.parametrize("outcome", [Returned("1"), Raised(ERROR), Cancelled(""), Continued("1"), None])
def test_a_run_that_was_taken_away_cannot_be_ended(status, outcome):
    """Pause, terminate and restart that committed first win, whatever the body still does (E7)."""
    with pytest.raises(LeaseLostError, match=f"'o-1' is {status}.*came too late: drop"):
        end(outcome, run_row(status))


def test_a_waiting_run_may_be_ended_without_a_claim():
    """An optimistic tick goes on from ``waiting`` directly (B9)."""
    assert end(Returned("1"), run_row(Status.WAITING), optimistic=True) == Finish(Status.COMPLETE, "1", None)
    assert end(run=run_row(Status.WAITING), startable=1, optimistic=True) == Release(NOW)


def test_every_combination_has_one_answer():
    """Totality: no combination of inputs is left without an end, and only leased ticks hold (B9)."""
    outcomes = [None, Returned("1"), Raised(ERROR), Cancelled(""), Continued("1"), Contradicted("x")]
    flags = [False, True]
    for outcome, pausing, executing, startable, optimistic, draining in itertools.product(
        outcomes, flags, [0, 1], [0, 1], flags, flags
    ):
        work = {
            "executing": executing,
            "startable": startable,
            "optimistic": optimistic,
            "draining": draining,
        }
        planned = end(outcome, run_row(pause_requested=pausing), **work)
        assert isinstance(planned, Hold | Park | Release | Pause | Finish | ContinueAsNew)
        assert not (optimistic and isinstance(planned, Hold))
        if isinstance(planned, Park) and outcome is None:
            assert not executing
            assert not startable
            assert not pausing


def test_a_park_stores_the_deadlines_that_are_not_stored_yet():
    """Stored rows are left alone (D1)."""
    stored = step_row("sleep:b", None, StepStatus.WAITING)
    waits = [
        timer("sleep:a", 900, 100),
        timer("sleep:b", 950, 100, stored),
        wait("wait:c", None, 120),
    ]
    rows = open_rows(RUN_ID, waits)
    assert [(row.key, row.due_at, row.started_at, row.status) for row in rows] == [
        ("sleep:a", 900, 100, "waiting"),
        ("wait:c", None, 120, "waiting"),
    ]


def test_what_the_body_stopped_waiting_for_is_abandoned():
    """The open row stays readable, without a seq (A2)."""
    row = step_row("wait:a", None, StepStatus.WAITING, due_at=900, event_type="approval")
    assert abandoned_row(row) == row._replace(status="abandoned")
    with pytest.raises(AssertionError, match="is resolved"):
        abandoned_row(step_row("do:a", 3))
