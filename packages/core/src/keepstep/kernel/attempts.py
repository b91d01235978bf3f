"""What follows a failed attempt of a step, and the rows of steps that are not resolved yet (C4–C6, B8)."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from keepstep.errors import KeepstepError
from keepstep.model.commands import DoCommand
from keepstep.model.facts import AttemptError, Failed
from keepstep.model.outcome import ErrorInfo
from keepstep.model.recorded import error_text
from keepstep.model.records import StepRecord
from keepstep.model.status import StepStatus


class RetryAt(NamedTuple):
    """The next attempt may start at ``due_at``."""

    due_at: int


def decide_attempt(
    command: DoCommand, attempt: int, error: AttemptError, now: int, draw: float
) -> Failed | RetryAt:
    """Decide whether a failed attempt is followed by another (C4, C5). A timed-out attempt is a failed one (C6).

    A ``delay`` function that raises, or returns no duration, ends the step: with the error of the attempt, whose
    message then says what went wrong with the delay. Guessing a delay would hide the mistake for all attempts.

    Args:
        command: the step, with the policy in force.
        attempt: the number of the attempt that failed, from 1. ``max_attempts`` counts all of them.
        error: how it failed.
        now: database time, ms; the delay counts from here.
        draw: a number in [0, 1) for the jitter.

    Returns:
        When to try again; or the step's failure, with ``started_at`` when the step was asked for.
    """
    retry = command.retry
    if not error.retryable or attempt >= retry.max_attempts or not retry.is_retryable(error.type_names):
        return _failed(command, attempt, error.info)
    try:
        return RetryAt(now + retry.delay_ms(attempt, error, draw))
    except KeepstepError as refused:
        message = f"{error.info.message} (not tried again: {refused})"
        return _failed(command, attempt, replace(error.info, message=message))


def retrying_row(  # noqa: PLR0917 - all that the row holds
    command: DoCommand, run_id: int, attempt: int, error: AttemptError, started_at: int, due_at: int
) -> StepRecord:
    """Make the open row that says: this attempt failed so, the next one may start at ``due_at`` (C4)."""
    row = _open_row(command, run_id, StepStatus.RETRYING, attempt, started_at)
    return row._replace(due_at=due_at, error=error_text(_of_step(command, attempt, error.info)))


def intent_row(command: DoCommand, run_id: int, attempt: int, started_at: int) -> StepRecord:
    """Make the open row that is committed before attempt number ``attempt`` starts its callback (B8)."""
    return _open_row(command, run_id, StepStatus.INTENT, attempt, started_at)


def _open_row(
    command: DoCommand, run_id: int, status: StepStatus, attempt: int, started_at: int
) -> StepRecord:
    return StepRecord(
        run_id=run_id,
        key=command.key,
        seq=None,
        status=status.value,
        attempt=attempt,
        started_at=started_at,
        at=None,
        due_at=None,
        event_type=None,
        result=None,
        error=None,
    )


def _failed(command: DoCommand, attempt: int, info: ErrorInfo) -> Failed:
    return Failed(command.key, _of_step(command, attempt, info), attempt, command.opened_at)


def _of_step(command: DoCommand, attempt: int, info: ErrorInfo) -> ErrorInfo:
    return replace(info, step_key=command.key, attempts=attempt)
