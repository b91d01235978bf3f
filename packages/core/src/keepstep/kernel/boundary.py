"""What becomes of a run at a boundary, and the rows that a boundary leaves open (B1, B6, B9, E3)."""

from __future__ import annotations

from collections.abc import Iterable

from keepstep.errors import LeaseLostError, NondeterminismError, WorkflowCancelledError
from keepstep.kernel import transitions
from keepstep.kernel.create import next_run
from keepstep.kernel.refusals import subject
from keepstep.kernel.settle import open_row
from keepstep.kernel.transitions import Refuse, To, Trigger
from keepstep.model.commands import (
    BodyOutcome,
    Cancelled,
    Continued,
    Contradicted,
    Raised,
    Returned,
    TimerCommand,
    WaitCommand,
)
from keepstep.model.outcome import ErrorInfo
from keepstep.model.plan import HOLD, ContinueAsNew, End, Finish, Park, Pause, Release
from keepstep.model.recorded import error_text
from keepstep.model.records import RunRecord, StepRecord
from keepstep.model.status import Status, StepStatus

CONTRADICTION_LOOK_MS = 60_000
"""How long a run rests that the code does not fit, whatever falls due, before other code is hoped for (E10)."""


def plan_end(
    run: RunRecord,
    outcome: BodyOutcome | None,
    executing: int,
    startable: int,
    dues: Iterable[int | None],
    *,
    now: int,
    next_run_id: int | None,
    optimistic: bool,
    draining: bool,
) -> End:
    """Decide what becomes of the run at this boundary.

    In this order: a body that ended ends the run, also while a pause is asked for; a pause takes effect as soon as
    nothing executes, and nothing new starts before (E3); work that executes or could start keeps the run; else
    every branch waits, and the run is looked at again at the earliest of its deadlines (D2).

    Args:
        run: the run row as read.
        outcome: how the body ended, or None while it lives.
        executing: callbacks of the run that execute now.
        startable: attempts that could start once this boundary is durable.
        dues: every pending deadline of timers, waits and retries; None = no deadline.
        now: database time, ms.
        next_run_id: a fresh internal key; needed when the outcome is ``Continued``.
        optimistic: the tick holds no lease (B9), so it cannot keep the run beyond its transaction.
        draining: the runner starts nothing any more.

    Raises:
        LeaseLostError: the run was paused or ended under its holder; what the holder has is to be dropped (E7).
    """
    if outcome is not None and not isinstance(outcome, Contradicted):
        return _plan_outcome(run, outcome, now, next_run_id)
    if run.pause_requested and not executing:
        _require(run, Trigger.PAUSE)
        return Pause()
    if outcome is None and (executing or startable):
        if optimistic or (draining and not executing):
            _require(run, Trigger.RELEASE)
            return Release(now)
        return HOLD
    _require(run, Trigger.PARK)
    if outcome is not None:
        return Park(now + CONTRADICTION_LOOK_MS, error_text(_contradiction(outcome)))
    return Park(min((due for due in dues if due is not None), default=None))


def open_rows(run_id: int, waits: Iterable[TimerCommand | WaitCommand]) -> tuple[StepRecord, ...]:
    """Make the rows to store with a park: timers and waits whose deadline is not stored yet (D1)."""
    return tuple(open_row(command, run_id) for command in waits if command.record is None)


def abandoned_row(stored: StepRecord) -> StepRecord:
    """Make the row that replaces a stored open one whose command the body stopped waiting for."""
    assert stored.seq is None, f"step {stored.key!r} is resolved: it can no longer be abandoned"
    return stored._replace(status=StepStatus.ABANDONED.value)


def _plan_outcome(
    run: RunRecord, outcome: Returned | Raised | Cancelled | Continued, now: int, next_run_id: int | None
) -> Finish | ContinueAsNew:
    match outcome:
        case Returned(output):
            return Finish(_require(run, Trigger.COMPLETE), output, None)
        case Raised(error):
            return Finish(_require(run, Trigger.FAIL), None, error_text(error))
        case Cancelled(reason):
            status = _require(run, Trigger.CANCELLED)
            return Finish(status, None, error_text(_cancelled(reason)))
        case Continued(params):
            _require(run, Trigger.CONTINUE_AS_NEW)
            assert next_run_id is not None, "the next run needs a key"
            return _continue(run, next_run_id, params, now)


def _continue(run: RunRecord, next_run_id: int, params: str, now: int) -> ContinueAsNew:
    """Begin the next run. What was asked of the instance and is not done yet holds for it: pause, cancel (E3, E5)."""
    next_, task, _ = next_run(run, next_run_id, params, now)
    next_ = next_._replace(cancel_reason=run.cancel_reason)
    task = task._replace(wake_seq=1)  # events that were not consumed move to the next run: it looks for them
    if run.pause_requested:
        return ContinueAsNew(next_._replace(status=Status.PAUSED.value), task._replace(run_at=None))
    return ContinueAsNew(next_, task)


def _cancelled(reason: str) -> ErrorInfo:
    return ErrorInfo(WorkflowCancelledError.__name__, reason or "cancelled", WorkflowCancelledError.code)


def _contradiction(outcome: Contradicted) -> ErrorInfo:
    return ErrorInfo(NondeterminismError.__name__, outcome.told, NondeterminismError.code)


def _require(run: RunRecord, trigger: Trigger) -> Status:
    """Ask the table (E7) and return the status after ``trigger``."""
    decision = transitions.decide(run.status, trigger)
    if isinstance(decision, Refuse):
        raise LeaseLostError(
            f"{subject(run)} is {run.status}, so this runner's {trigger} came too late: "
            "drop what is held of the run and do not write it"
        )
    return decision.status if isinstance(decision, To) else Status(run.status)
