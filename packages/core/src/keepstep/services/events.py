"""Sending an event: accepted and kept for the run that is the newest now (D4–D7). Checked before anything is stored."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from keepstep.authoring.definition import WorkflowDefinition
from keepstep.authoring.events import EventModel, event_type_of
from keepstep.authoring.step import UNSET
from keepstep.errors import (
    EventPayloadError,
    InstanceStateError,
    InvalidEventTypeError,
    InvalidInputError,
    UsageError,
)
from keepstep.kernel.lifecycle import plan_event
from keepstep.kernel.refusals import subject
from keepstep.model.codec import PLAIN, codec_for
from keepstep.model.ids import check_event_type
from keepstep.model.limits import Limits
from keepstep.model.outcome import Accepted
from keepstep.model.records import EventRecord
from keepstep.services.steer import READS_MAX, keeps_moving, touched_by
from keepstep.services.target import Done, Target, not_found
from keepstep.store.runs import Snapshot, apply_steering, find_event, read_instance, waits_for
from keepstep.store.script import Script
from keepstep.store.statement import DialectName


class NewEvent(NamedTuple):
    """A checked event: ``payload`` is encoded, ``id`` is the sender's or None."""

    type: str
    payload: str
    id: str | None


_EVENT_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,256}")


def read_event(
    definition: WorkflowDefinition[Any, Any],
    event: str | EventModel,
    payload: Any,
    event_id: str | None,
    limits: Limits,
) -> NewEvent:
    """Check what a caller wants to send (D6, D7).

    Args:
        definition: the workflow.
        event: an event, or the type of one as text.
        payload: with a type: its payload, checked against the model that the workflow declares for it.
        event_id: the sender's id, 1 to 256 characters, or None.
        limits: C10.

    Raises:
        UsageError: an event model and a payload, or no event at all.
        InvalidEventTypeError: the type breaks C10, or the workflow does not declare it.
        EventPayloadError: the payload does not fit its model; ``issues`` lists why.
        SerializationError, PayloadTooLargeError: the payload cannot be stored.
        InvalidInputError: the id is not text of 1 to 256 characters.
    """
    event_type = check_event_type(event_type_of(event), limits)
    what = f"the payload of event {event_type!r}"
    model = _declared(definition, event_type)
    if isinstance(event, EventModel):
        if payload is not UNSET:
            raise UsageError(f"send_event got the event {event!r} and a payload: the event is the payload")
        codec = codec_for(model or type(event))
        same = model is None or type(event) is model
        value = event if same else codec.validate_json(event.model_dump_json(), EventPayloadError, what)
    else:
        codec = PLAIN if model is None else codec_for(model)
        value = codec.validate(None if payload is UNSET else payload, EventPayloadError, what)
    encoded = codec.encode(value, limits.payload_bytes_max, what)
    return NewEvent(event_type, encoded, None if event_id is None else _checked_id(event_id))


def _declared(definition: WorkflowDefinition[Any, Any], event_type: str) -> type[EventModel] | None:
    if definition.events is None:
        return None
    if event_type in definition.events:
        return definition.events[event_type]
    known = ", ".join(map(repr, definition.events)) or "none"
    raise InvalidEventTypeError(
        f"workflow {definition.name!r} does not declare an event of type {event_type!r}: nothing was stored; "
        f"it declares {known}"
    )


def _checked_id(event_id: object) -> str:
    if isinstance(event_id, str) and _EVENT_ID.fullmatch(event_id):
        return event_id
    shown = repr(event_id)
    raise InvalidInputError(
        f"event id {shown if len(shown) <= 60 else shown[:60] + '…'} is not text of 1 to 256 characters "
        "without control characters"
    )


def send_event(
    dialect: DialectName, target: Target, event: NewEvent, *, if_waiting: bool
) -> Script[Done[Accepted]]:
    """Accept an event; the run is woken when it waits for just that type.

    Args:
        dialect: the database's.
        target: the instance; it is never created.
        event: what to accept.
        if_waiting: refuse unless the run is parked at a wait for this type.

    Raises:
        InstanceNotFoundError: there is no such instance.
        InstanceTerminalError: it has ended.
        EventIdConflictError: the id came before with another type or payload.
        InstanceStateError: ``if_waiting``, and the instance does not wait for this type.
    """
    for _ in range(READS_MAX):
        now = yield from read_instance(*target, lock=True)
        if now is None:
            raise not_found(
                target, f"it takes no event of type {event.type!r}; sending one creates no instance"
            )
        run_id = now.run.id
        known = None if event.id is None else (yield from find_event(run_id, event.id))
        waits = yield from waits_for(run_id, event.type)
        planned = plan_event(now.run, now.task, _row(event, now), known, waits, now.now)
        if isinstance(planned, Accepted):
            return Done(planned)
        if if_waiting and not waits:
            raise _not_waiting(now, event.type)
        if (yield from apply_steering(dialect, planned)):
            return Done(Accepted(), touched_by(planned))
    raise keeps_moving(target)


def _row(event: NewEvent, now: Snapshot) -> EventRecord:
    return EventRecord(
        id=0,  # the store's to assign
        run_id=now.run.id,
        type=event.type,
        event_id=event.id,
        payload=event.payload,
        accepted_at=now.now,
        consumed_by=None,
    )


def _not_waiting(now: Snapshot, event_type: str) -> InstanceStateError:
    return InstanceStateError(
        f"{subject(now.run)} is {now.run.status} and does not wait for an event of type {event_type!r}: "
        "it was not stored, because if_waiting=True was given; without it the event is kept until it is waited for"
    )
