"""Rows as what a caller sees: plain values, datetimes, decoded JSON. Reads nothing and decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from keepstep.model.duration import to_datetime
from keepstep.model.ids import parse_key
from keepstep.model.outcome import (
    ErrorInfo,
    EventView,
    InstanceDetails,
    InstanceStatus,
    LogView,
    Standing,
    StepView,
    Waiting,
)
from keepstep.model.recorded import read_error
from keepstep.model.records import EventRecord, LogRecord, RunnerRecord, RunRecord, StepRecord, TaskRecord
from keepstep.model.status import Status, StepKind, StepStatus

_WHAT = {StepKind.WAIT: "event", StepKind.SLEEP: "sleep", StepKind.TIMER: "timer"}


def status_view(run: RunRecord) -> InstanceStatus:
    """Tell a run's status in short."""
    return InstanceStatus(Status(run.status), _data(run.output), _outcome(run))


def standing_view(run: RunRecord) -> Standing:
    """Tell how a run stands."""
    return Standing(
        run.workflow, run.instance_id, Status(run.status), run.output, _error(run.error), run_id=run.id
    )


def details_view(
    run: RunRecord,
    task: TaskRecord | None = None,
    *,
    open_steps: Iterable[StepRecord] = (),
    holder: RunnerRecord | None = None,
    buffered_events: int = 0,
) -> InstanceDetails:
    """Tell all that is known of a run (E1).

    Args:
        run: the run.
        task: its task, None when it has ended or was not read.
        open_steps: its rows without a ``seq``.
        holder: the runner that holds it.
        buffered_events: accepted and not consumed.
    """
    status = Status(run.status)
    unowned = task is not None and task.owner is None
    rests = _error(run.error)
    return InstanceDetails(
        id=run.instance_id,
        workflow=run.workflow,
        run_number=run.run_number,
        status=status,
        pausing=run.pause_requested,
        cancelling=run.cancel_reason is not None and not status.terminal,
        created_at=to_datetime(run.created_at),
        started_at=_instant(run.started_at),
        updated_at=to_datetime(run.updated_at),
        completed_at=_instant(run.completed_at),
        params=_data(run.params),
        output=_data(run.output),
        error=_outcome(run),
        waiting_for=() if status.terminal else tuple(waiting_view(row) for row in open_steps if _waits(row)),
        next_wake_at=_instant(task.run_at) if task is not None and unowned else None,
        lease_holder=None if holder is None else f"{holder.host}/{holder.pid}",
        lease_until=None if holder is None else to_datetime(holder.locked_until),
        buffered_events=buffered_events,
        takeovers=0 if task is None else task.takeovers,
        parked=None if rests is None or status.terminal else rests.message,
    )


def _waits(row: StepRecord) -> bool:
    return row.status in {StepStatus.WAITING, StepStatus.RETRYING}


def waiting_view(row: StepRecord) -> Waiting:
    """Tell what one open row waits for."""
    kind = StepKind(parse_key(row.key).kind)
    return Waiting(
        key=row.key,
        what="retry" if row.status == StepStatus.RETRYING else _WHAT.get(kind, kind.value),
        since=to_datetime(row.started_at),
        until=_instant(row.due_at),
        event_type=row.event_type,
        attempt=row.attempt,
        error=_error(row.error),
    )


def step_view(row: StepRecord) -> StepView:
    """Tell one step of a history."""
    parts = parse_key(row.key)
    return StepView(
        key=row.key,
        kind=parts.kind,
        name=parts.name,
        status=row.status,
        seq=row.seq,
        attempts=row.attempt,
        started_at=to_datetime(row.started_at),
        resolved_at=_instant(row.at),
        due_at=_instant(row.due_at),
        event_type=row.event_type,
        result=_data(row.result),
        error=_error(row.error),
    )


def event_view(row: EventRecord) -> EventView:
    """Tell one event of a history."""
    return EventView(
        row.type, _data(row.payload), row.event_id, to_datetime(row.accepted_at), row.consumed_by
    )


def log_view(row: LogRecord) -> LogView:
    """Tell one log line of a history."""
    return LogView(row.number, row.level, row.message, _data(row.data), to_datetime(row.at))


def _outcome(run: RunRecord) -> ErrorInfo | None:
    """How the run ended; a live run's error says why it rests."""
    return _error(run.error) if Status(run.status).terminal else None


def _instant(ms: int | None) -> datetime | None:
    return None if ms is None else to_datetime(ms)


def _data(text: str | None) -> Any:
    return None if text is None else json.loads(text)  # orjson would round integers of more than 64 bits


def _error(text: str | None) -> ErrorInfo | None:
    return None if text is None else read_error(text)
