"""Which open timer or wait is settled next, and how a fact becomes a resolution (A2, D2–D5).

Everything that settles by itself has an instant at which it happened: a timer and a timeout at their deadline, a
received event when it was accepted, or when the wait was opened if it had been buffered before. Settling takes the
earliest, so a run that is looked at late goes the way it would have gone in time; equal instants go in the order
of the calls. One fact is settled at a time, because the body may open or close commands upon it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from keepstep.errors import EventTimeoutError
from keepstep.model.commands import TimerCommand, WaitCommand
from keepstep.model.duration import describe_ms
from keepstep.model.facts import (
    CANCEL_KEY,
    CancelAsked,
    Completed,
    Fact,
    Failed,
    Fired,
    Received,
    TimedOut,
)
from keepstep.model.outcome import ErrorInfo
from keepstep.model.recorded import error_text
from keepstep.model.records import EventRecord, StepRecord
from keepstep.model.status import StepStatus

# Rows carry plain strings: a driver binds them without looking for an adapter.
_COMPLETED = StepStatus.COMPLETED.value
_FAILED = StepStatus.FAILED.value
_WAITING = StepStatus.WAITING.value


def next_fact(
    waits: Mapping[str, TimerCommand | WaitCommand],
    events: Sequence[EventRecord],
    now: int,
    cancel: str | None,
) -> Fact | None:
    """Find what is settled next at ``now``, or None when nothing is due (D2, D3).

    Waits take events in the order of their calls, each the oldest that is left of its type and was accepted at or
    before its deadline, however late that is noticed (D4, D5). An event is never held back: one that is stored
    counts, even if its instant lies after a ``now`` that was read before it.

    Args:
        waits: open timers and waits in call order; steps settle elsewhere.
        events: unconsumed events in order of acceptance.
        now: database time, ms.
        cancel: the reason of a cancellation that the body has not received yet ("" = none given), else None. It
            goes first (E5).
    """
    if cancel is not None:
        return CancelAsked(cancel)
    best_at, best = 0, None
    left = list(events)
    for command in waits.values():
        if isinstance(command, WaitCommand) and (event := _take(command, left)) is not None:
            at, fact = max(event.accepted_at, command.opened_at), Received(command.key, event)
        elif command.due_at is not None and command.due_at <= now:
            at, fact = command.due_at, None
        else:
            continue
        if best is None or at < best_at:
            best_at, best = at, fact or _expired(command)
    return best


def _take(command: WaitCommand, left: list[EventRecord]) -> EventRecord | None:
    """Take the wait's event out of what earlier calls have left."""
    for position, event in enumerate(left):
        in_time = command.due_at is None or event.accepted_at <= command.due_at
        if event.type == command.event_type and in_time:
            return left.pop(position)
    return None


def _expired(command: TimerCommand | WaitCommand) -> Fired | TimedOut:
    return TimedOut(command.key) if isinstance(command, WaitCommand) else Fired(command.key)


def resolution(
    fact: Fact, command: TimerCommand | WaitCommand | None, run_id: int, seq: int, at: int
) -> StepRecord:
    """Make the row that records ``fact`` as the run's resolution number ``seq`` (A2).

    Args:
        fact: what happened.
        command: the open timer or wait that it closes; None for steps, and for a cancellation, which closes none.
        run_id: the run.
        seq: the last resolution's plus one.
        at: loop time of the delivery, ms.
    """
    match fact:
        case Completed(key, result, attempt, started_at):
            return StepRecord(run_id, key, seq, _COMPLETED, attempt, started_at, at, None, None, result, None)
        case Failed(key, error, attempt, started_at):
            return StepRecord(
                run_id, key, seq, _FAILED, attempt, started_at, at, None, None, None, error_text(error)
            )
        case Fired():
            assert isinstance(command, TimerCommand)
            return open_row(command, run_id)._replace(seq=seq, at=at, status=_COMPLETED)
        case Received(_, event):
            assert isinstance(command, WaitCommand)
            row = open_row(command, run_id)
            return row._replace(seq=seq, at=at, status=_COMPLETED, result=_event_text(event))
        case TimedOut():
            assert isinstance(command, WaitCommand)
            row = open_row(command, run_id)
            return row._replace(seq=seq, at=at, status=_FAILED, error=_timeout_text(row))
        case CancelAsked(reason):
            text = json.dumps(reason)
            return StepRecord(run_id, CANCEL_KEY, seq, _COMPLETED, 0, at, at, None, None, text, None)


def open_row(command: TimerCommand | WaitCommand, run_id: int) -> StepRecord:
    """Make the row of a timer or wait that is still open: its deadline, from when on it counts (D1)."""
    return StepRecord(
        run_id=run_id,
        key=command.key,
        seq=None,
        status=_WAITING,
        attempt=0,
        started_at=command.opened_at if command.record is None else command.record.started_at,
        at=None,
        due_at=command.due_at,
        event_type=command.event_type if isinstance(command, WaitCommand) else None,
        result=None,
        error=None,
    )


def _event_text(event: EventRecord) -> str:
    # The payload is JSON text already: put in as it is, it is read back as what was accepted.
    type_, id_ = json.dumps(event.type), json.dumps(event.event_id, ensure_ascii=False)
    return f'{{"type":{type_},"payload":{event.payload},"timestamp":{event.accepted_at},"id":{id_}}}'


def _timeout_text(row: StepRecord) -> str:
    assert row.due_at is not None
    message = f"no event of type {row.event_type!r} within {describe_ms(row.due_at - row.started_at)}"
    return error_text(ErrorInfo(EventTimeoutError.__name__, message, EventTimeoutError.code, row.key))
