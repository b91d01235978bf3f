"""Rows as values: one NamedTuple per table, fields in the order of ``store/tables.py``'s columns.

Instants are integer milliseconds since the epoch, UTC (fields end in ``_at``). Payloads are JSON text.
Drivers' rows become these by position (``RunRecord._make(row)``), which all drivers support alike.
"""

from __future__ import annotations

from typing import NamedTuple


class RunRecord(NamedTuple):
    """One run of an instance (table ``run``); the instance is what its runs share."""

    id: int
    """Internal key: a time-ordered 64-bit integer."""
    workflow: str
    instance_id: str
    run_number: int
    latest: bool
    """Whether this is the instance's newest run; unique per (workflow, instance_id)."""
    workflow_version: int
    status: str
    """A :class:`~keepstep.model.status.Status`."""
    version: int
    """Rises by one with each change of this row."""
    pause_requested: bool
    """A pause waits for the next boundary (E3)."""
    cancel_reason: str | None
    """A cancellation was asked for, with this reason ("" = none given); delivered to the body by a resolution (E5)."""
    created_at: int
    started_at: int | None
    """First claim: the loop time before the first resolution (A3)."""
    updated_at: int
    completed_at: int | None
    params: str | None
    output: str | None
    error: str | None
    """JSON of :class:`~keepstep.model.outcome.ErrorInfo`: how the run ended, or why it rests (``Park.error``)."""


class StepRecord(NamedTuple):
    """One step of a run (table ``run_step``). Append-only once ``seq`` is set."""

    run_id: int
    key: str
    seq: int | None
    """Order of resolution, 1, 2, 3 … (A2); None while open or abandoned."""
    status: str
    """A :class:`~keepstep.model.status.StepStatus`."""
    attempt: int
    """Attempts made, the last one included; 0 for timers and waits."""
    started_at: int
    """When the step was first asked for or its last attempt started."""
    at: int | None
    """Loop time at which the resolution was delivered (A3)."""
    due_at: int | None
    """Deadline of a timer or wait, or time of the next attempt."""
    event_type: str | None
    result: str | None
    error: str | None


class EventRecord(NamedTuple):
    """One accepted event (table ``event``)."""

    id: int
    """Rises in order of acceptance within a run."""
    run_id: int
    type: str
    event_id: str | None
    """The sender's id, unique per run (D7)."""
    payload: str
    accepted_at: int
    consumed_by: str | None
    """Key of the wait that took it; None while buffered."""


class TaskRecord(NamedTuple):
    """The single scheduling row of a live run (table ``task``); deleted when the run ends."""

    run_id: int
    workflow: str
    priority: int
    """A :class:`~keepstep.model.status.Priority`."""
    run_at: int | None
    """When to look next; None = only when woken (paused, or waiting without a deadline)."""
    owner: int | None
    """``runner.id`` of the holder."""
    fence: int
    """Rises with each claim, terminate, cancel and restart (B3)."""
    wake_seq: int
    """Rises with each wake-up: event, pause, resume, cancel (B6)."""
    takeovers: int
    """Expired leases in a row without a boundary (B7)."""
    seen_seq: int
    """Highest ``run_step.seq`` at the last takeover: shows whether a boundary came between."""


class LogRecord(NamedTuple):
    """One line of ``step.log`` (table ``log``)."""

    run_id: int
    number: int
    """Order within the run: deterministic, so a replay's line is recognised."""
    level: str
    message: str
    data: str | None
    at: int


class HookRecord(NamedTuple):
    """One triggered hook (table ``hook``): the outbox (F1)."""

    id: int
    name: str
    """The hook's stored name."""
    key: str | None
    """Under which duplicates that are pending collapse."""
    status: str
    """A :class:`~keepstep.model.status.HookStatus`."""
    run_at: int | None
    """When it falls due; while it is being delivered, when the lease of that ends; None once it is finished."""
    attempt: int
    """Attempts begun."""
    fence: int
    """Rises with each claim and requeue: a late outcome of an earlier one is refused."""
    created_at: int
    finished_at: int | None
    payload: str
    error: str | None
    """JSON of :class:`~keepstep.model.outcome.ErrorInfo`: of the last attempt that failed."""
    trace: str | None
    """JSON of the W3C trace context of the code that triggered it."""


class ChangeRecord(NamedTuple):
    """One change event as it is written (table ``change``, but for what the store assigns): see F3."""

    run_id: int
    version: int
    """Of the run's row: together with ``seq`` and ``kind`` it names the change of a run."""
    seq: int
    """Of the resolution that it tells of; 0 for the run's own life."""
    kind: str
    """A :class:`~keepstep.model.change.ChangeKind`."""
    workflow: str
    instance_id: str
    run_number: int
    at: int
    step_key: str | None
    attempt: int | None
    event_type: str | None
    duration_ms: int | None


class SinkRecord(NamedTuple):
    """How far one sink of change events has come (table ``change_sink``)."""

    name: str
    after: int
    """``pub_seq`` of the last change that it has taken."""
    fence: int
    """Rises with each claim."""
    run_at: int | None
    """Not before this instant: while it is fed, when the lease of that ends; after a failure, the next attempt."""
    attempt: int
    """Failures in a row."""
    error: str | None
    """JSON of :class:`~keepstep.model.outcome.ErrorInfo`: of the last failure."""


class RunnerRecord(NamedTuple):
    """One runner (table ``runner``): its lease covers every task it owns (B2)."""

    id: int
    epoch: int
    """Raised by whoever takes over (B3)."""
    locked_until: int
    host: str
    """Host and boot, to recognise a dead process of the same machine."""
    pid: int
    started_at: int
