"""What a body is started with and what it receives: workflow events, event models (D4, D6). Values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from keepstep.errors import InvalidEventTypeError, UsageError
from keepstep.model.ids import check_event_type

P_co = TypeVar("P_co", covariant=True)


@dataclass(frozen=True, slots=True)
class WorkflowEvent(Generic[P_co]):
    """What an instance was created with; equal on every replay.

    Attributes:
        payload: the validated params.
        timestamp: creation of the instance's run, UTC.
        instance_id: unique per workflow.
        workflow_name: the workflow's name.
        run_number: 1, and one more with each restart (E6).
    """

    payload: P_co
    timestamp: datetime
    instance_id: str
    workflow_name: str
    run_number: int


@dataclass(frozen=True, slots=True)
class ReceivedEvent(Generic[P_co]):
    """An event that a wait took (D4).

    Attributes:
        type: the event's type.
        payload: the validated event model, or plain JSON data when the wait named a type only.
        timestamp: when the event was accepted, UTC.
        id: the sender's id, or None (D7).
    """

    type: str
    payload: P_co
    timestamp: datetime
    id: str | None = None


class EventModel(BaseModel):
    """A typed event: ``class Approval(EventModel, type="approval")`` (D6). Instances are frozen.

    Raises:
        UsageError: at class creation, when ``type`` is missing or breaks C10.
    """

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64")
    __event_type__: ClassVar[str] = ""

    def __init_subclass__(cls, *, type: str | None = None, **kwargs: Any) -> None:  # noqa: A002
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, *, type: str | None = None, **kwargs: Any) -> None:  # noqa: A002
        super().__pydantic_init_subclass__(**kwargs)
        if type is None and cls.__pydantic_generic_metadata__["origin"] is not None:
            return  # Change[int] of class Change(EventModel, Generic[T], type="change") inherits the type
        if type is None:
            raise UsageError(
                f'event model {cls.__name__} has no type: write class {cls.__name__}(…, type="{cls.__name__.lower()}")'
            )
        try:
            cls.__event_type__ = check_event_type(type)
        except InvalidEventTypeError as error:
            raise UsageError(f"event model {cls.__name__}: {error}") from error


def event_type_of(event: EventModel | type[EventModel] | str) -> str:
    """The type of an event, of its model, or the text itself.

    Raises:
        InvalidEventTypeError: it breaks C10.
        UsageError: it is nothing of these, or ``EventModel`` itself.
    """
    if isinstance(event, str):
        return check_event_type(event)
    model: Any = event if isinstance(event, type) else type(event)
    if not issubclass(model, EventModel) or not model.__event_type__:
        raise UsageError(f"an event is an EventModel with a type, or its type as text, not {event!r}")
    return model.__event_type__
