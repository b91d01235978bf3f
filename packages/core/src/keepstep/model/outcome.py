"""What instances, steps and events look like to a caller: frozen values that services return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from keepstep.model.status import HookStatus, Status

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """A recorded error.

    Attributes:
        name: the exception's class name, or the name given to ``NonRetryableError``.
        message: its text.
        code: the stable code of a keepstep error, else None.
        step_key: the step that failed, when it was one.
        attempts: how many attempts that step made.
    """

    name: str
    message: str
    code: str | None = None
    step_key: str | None = None
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """Status in short: ``output`` is plain JSON data, ``error`` set when errored, terminated or cancelled."""

    status: Status
    output: Any = None
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How the newest run stands, for those who wait for its end.

    Attributes:
        workflow: the workflow's name.
        instance_id: which instance.
        status: its status.
        output: the JSON text of what the body returned, once it has.
        error: set when errored, terminated or cancelled.
        run_id: the run's internal key; 0 where that is not known.
    """

    workflow: str
    instance_id: str
    status: Status
    output: str | None = None
    error: ErrorInfo | None = None
    run_id: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing a run waits for.

    Attributes:
        key: the step key.
        what: ``"event"``, ``"sleep"``, ``"timer"``, ``"retry"``.
        since: when the wait began.
        until: its deadline, or None.
        event_type: for ``"event"``.
        attempt: for ``"retry"``: attempts made so far.
        error: for ``"retry"``: the last attempt's error.
    """

    key: str
    what: str
    since: datetime
    until: datetime | None
    event_type: str | None = None
    attempt: int = 0
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class InstanceDetails:
    """All that is known of an instance's newest run (E1)."""

    id: str
    workflow: str
    run_number: int
    status: Status
    pausing: bool
    """A pause was asked for and waits for the next boundary (E3)."""
    cancelling: bool
    """A cancellation was asked for and the body has not ended yet (E5)."""
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    completed_at: datetime | None
    params: Any
    output: Any
    error: ErrorInfo | None
    waiting_for: tuple[Waiting, ...] = ()
    next_wake_at: datetime | None = None
    lease_holder: str | None = None
    """Who executes the run now, as ``host/pid``; None when nobody does."""
    lease_until: datetime | None = None
    buffered_events: int = 0
    takeovers: int = 0
    """Expired leases in a row without a boundary (B7)."""
    parked: str | None = None
    """How the code differs from what the run has recorded: it rests until code that fits is deployed (E10)."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepView:
    """One row of a history."""

    key: str
    kind: str
    name: str
    status: str
    seq: int | None
    attempts: int
    started_at: datetime
    resolved_at: datetime | None
    due_at: datetime | None
    event_type: str | None
    result: Any
    error: ErrorInfo | None


@dataclass(frozen=True, slots=True)
class EventView:
    """One accepted event of a history; ``consumed_by`` is a step key, or None while buffered."""

    type: str
    payload: Any
    id: str | None
    accepted_at: datetime
    consumed_by: str | None


@dataclass(frozen=True, slots=True)
class LogView:
    """One line of ``step.log``."""

    number: int
    level: str
    message: str
    data: Any
    at: datetime


@dataclass(frozen=True, slots=True)
class History:
    """One run's steps (resolved ones in ``seq`` order, then open ones), events and log lines, complete."""

    run_number: int
    steps: tuple[StepView, ...] = ()
    events: tuple[EventView, ...] = ()
    logs: tuple[LogView, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to ``send_event``: ``duplicate`` when the same id and payload were accepted before (D7)."""

    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class TickResult:
    """What one ``app.tick()`` did: boundaries' runs advanced, and when to look next (None = nothing is scheduled)."""

    processed: int
    next_due: datetime | None


@dataclass(frozen=True, slots=True)
class SinkView:
    """One sink of changes, as ``app.changes`` shows it.

    Attributes:
        name: of the sink.
        after: the number of the last change that it has taken.
        behind: how many changes follow that one.
        failures: in a row, since the last change that it took.
        due_at: when it is tried again, or when the lease ends under which it is fed; None when neither.
        error: of the last failure.
    """

    name: str
    after: int
    behind: int
    failures: int
    due_at: datetime | None
    error: ErrorInfo | None


@dataclass(frozen=True, slots=True)
class HookView:
    """One triggered hook, as ``app.hooks`` shows it.

    Attributes:
        id: of the row.
        name: the hook's stored name.
        key: under which duplicates collapse, or None.
        status: pending, delivering, delivered, dead, merged.
        attempts: begun so far.
        created_at: when it was triggered.
        due_at: when it falls due; while it is being delivered, when the lease of that ends; None once it has ended.
        finished_at: when it ended.
        payload: plain JSON data.
        error: of the last attempt that failed.
        trace: W3C trace context.
    """

    id: str
    name: str
    key: str | None
    status: HookStatus
    attempts: int
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None
    payload: Any
    error: ErrorInfo | None
    trace: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a listing: ``cursor`` leads to the next one, None at the end."""

    items: tuple[T, ...] = field(default=())
    cursor: str | None = None
