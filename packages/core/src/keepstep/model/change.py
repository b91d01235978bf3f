"""Change events: what became of an instance, as a closed union of typed values (F3)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from keepstep.model.duration import to_datetime
from keepstep.model.records import ChangeRecord


class ChangeKind(StrEnum):
    """The kinds of change that can be subscribed (F3): persisted names, never renamed."""

    CREATED = "created"
    COMPLETED = "completed"
    ERRORED = "errored"
    TERMINATED = "terminated"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    RESUMED = "resumed"
    RESTARTED = "restarted"
    STEP_COMPLETED = "step_completed"
    EVENT_RECEIVED = "event_received"
    TIMER_FIRED = "timer_fired"


LIFE_CYCLE = frozenset(ChangeKind) - {
    ChangeKind.STEP_COMPLETED,
    ChangeKind.EVENT_RECEIVED,
    ChangeKind.TIMER_FIRED,
}
"""The kinds that are about an instance as a whole."""


class _Change(BaseModel):
    """What all change events say."""

    model_config = ConfigDict(frozen=True)

    id: str
    """Equal whenever the change is delivered again: what a receiver recognises a repeat by."""
    pub_seq: int
    """Its place in the stream: 1, 2, 3 … without gaps."""
    at: datetime
    """When it happened, by the run's own time, UTC."""
    workflow: str
    instance_id: str
    run_number: int


class _Ended(_Change):
    duration_ms: int
    """From the run's start to its end."""


class _Resolved(_Change):
    step_key: str


class InstanceCreated(_Change):
    """The instance's first run was created (E2)."""

    kind: Literal["created"] = "created"


class InstanceCompleted(_Ended):
    """The body returned."""

    kind: Literal["completed"] = "completed"


class InstanceErrored(_Ended):
    """The body raised (C5), or killed its runners (B7)."""

    kind: Literal["errored"] = "errored"


class InstanceTerminated(_Ended):
    """``terminate()``, or a restart of a run that lived (E5, E6)."""

    kind: Literal["terminated"] = "terminated"


class InstanceCancelled(_Ended):
    """The body ended by the cancellation that was asked for (E5)."""

    kind: Literal["cancelled"] = "cancelled"


class InstancePaused(_Change):
    """A pause has taken effect (E3)."""

    kind: Literal["paused"] = "paused"


class InstanceResumed(_Change):
    """The run goes on: after a pause (E4, E5), or after ``retry_failed_step()`` (E6)."""

    kind: Literal["resumed"] = "resumed"


class InstanceRestarted(_Change):
    """The instance's next run began, ``run_number``: by a restart, or because the body continued as new (E6, C10)."""

    kind: Literal["restarted"] = "restarted"


class StepCompleted(_Resolved):
    """A step's result was recorded (C2)."""

    kind: Literal["step_completed"] = "step_completed"
    attempt: int
    """The attempt that succeeded, from 1."""


class EventReceived(_Resolved):
    """A wait took an event (D4)."""

    kind: Literal["event_received"] = "event_received"
    event_type: str


class TimerFired(_Resolved):
    """A sleep or timer is over (D1)."""

    kind: Literal["timer_fired"] = "timer_fired"


Change: TypeAlias = Annotated[
    InstanceCreated
    | InstanceCompleted
    | InstanceErrored
    | InstanceTerminated
    | InstanceCancelled
    | InstancePaused
    | InstanceResumed
    | InstanceRestarted
    | StepCompleted
    | EventReceived
    | TimerFired,
    Field(discriminator="kind"),
]
"""Any change event; ``match`` on it, or look at its ``kind``."""

CHANGE: TypeAdapter[Change] = TypeAdapter(Change)
"""Reads and writes a change as JSON."""


def change_of(pub_seq: int, record: ChangeRecord) -> Change:
    """Make a change of its row; columns that are None are those that its kind does not have."""
    fields: dict[str, Any] = {
        name: value for name, value in record._asdict().items() if value is not None and name not in _OF_ROWS
    }
    name = f"{record.run_id}.{record.version}.{record.seq}.{record.kind}"
    return CHANGE.validate_python({**fields, "id": name, "pub_seq": pub_seq, "at": to_datetime(record.at)})


_OF_ROWS = {"run_id", "version", "seq"}
