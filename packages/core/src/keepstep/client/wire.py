"""The JSON of the HTTP interface, as models: routes validate and answer with them, OpenAPI shows them, clients read them.

Instants are ISO 8601 text in UTC; durations are integers in fields named ``…_ms``. Bodies refuse fields that they do
not know; readers of answers pass over them, so that a server may be newer than its client.

What the engine itself checks (ids, event types, cursors: C10) is only described here, so that its own errors answer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    WithJsonSchema,
    model_validator,
)

from keepstep.model.outcome import (
    EventView,
    InstanceDetails,
    InstanceStatus,
    LogView,
    StepView,
    Waiting,
)
from keepstep.model.status import Status

WAIT_MS_MAX = 60_000
PAGE_MAX = 1000
RUN_MAX = 2**31 - 1

_TOKEN = {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[a-zA-Z0-9_][a-zA-Z0-9_-]*$"}
InstanceId = Annotated[str, WithJsonSchema(_TOKEN)]
WorkflowName = Annotated[str, WithJsonSchema({**_TOKEN, "maxLength": 64})]
EventType = Annotated[str, WithJsonSchema(_TOKEN)]
EventId = Annotated[
    str,
    WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]+$"}
    ),
]
Reason = Annotated[str, Field(max_length=1000)]


def _whole(value: Any) -> Any:
    """Take an integer as JSON Schema means it: 3.0 is one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Json = Annotated[Any, WithJsonSchema({"description": "Any JSON value."})]


class Body(BaseModel):
    """What a request says: nothing else is taken, and no type is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    def has(self, name: str) -> bool:
        """Whether the field was given, where null is a value."""
        return name in self.model_fields_set


class Query(BaseModel):
    """What a request's query says; other parameters are left to the host."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Answer(BaseModel):
    """What an answer says."""

    model_config = ConfigDict(
        frozen=True, use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )


class NoBody(Body):
    """An empty object, or nothing."""


class NoQuery(Query):
    """Nothing."""


class ItemBody(Body):
    """One instance of a batch."""

    id: InstanceId | None = None
    """Unique per workflow; left out = a generated one."""
    params: Json = None
    """As the workflow's schema says."""


class CreateBody(ItemBody):
    """The instance to begin (E2)."""

    if_exists: Literal["error", "return"] = "error"
    """What to do when the id exists: answer 409, or answer with the existing instance."""


class BatchBody(Body):
    """The instances to begin, at most 100; existing and repeated ids are left out of the answer (E2)."""

    instances: Annotated[list[ItemBody], Field(json_schema_extra={"maxItems": 100})]


class ReasonBody(Body):
    """Why, for whoever reads the instance later."""

    reason: Reason | None = None


class RestartBody(Body):
    """The next run (E6): with other params, or from a step on; not both."""

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["params", "from_step"]}})

    params: Json = None
    """Left out = the same again."""
    from_step: str | None = None
    """A step's key: results recorded before it are kept."""

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if self.has("params") and self.has("from_step"):
            raise ValueError("give params or from_step, not both: kept results belong to the old params")
        return self


class RestartOrCreateBody(Body):
    """The instance to begin, or its next run (E6)."""

    params: Json = None
    """Left out = the same again, or null for a new instance."""
    if_status_in: list[Annotated[Status, Field(strict=False)]] | None = None
    """Statuses in which an existing instance is restarted; left out = those that have ended."""
    if_run: Annotated[int, BeforeValidator(_whole)] | None = None
    """The run number that an existing instance must have."""


class EventBody(Body):
    """The event to send (D4-D7)."""

    type: EventType
    payload: Json = None
    """As the workflow's schema says for this type."""
    id: EventId | None = None
    """The sender's id: a repeat with an equal payload changes nothing."""
    if_waiting: bool = False
    """Refuse the event unless the instance waits for one of this type now."""


class TickBody(Body):
    """How much to do (B9)."""

    max_instances: Annotated[int, Field(ge=1), BeforeValidator(_whole)] | None = None
    """How many instances to advance at most; left out = all that are due."""


class ListQuery(Query):
    """Which page of which instances."""

    status: Status | None = None
    page_size: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 50
    cursor: str | None = None
    """The ``cursor`` of the page before."""


class InstanceQuery(Query):
    """How long to wait."""

    wait_ms: Annotated[int, Field(ge=0, le=WAIT_MS_MAX)] = 0
    """Answer when the instance has ended, or after this time; the server may wait less."""


class HistoryQueryParams(Query):
    """Which page of which run. With cursors, only the parts that they are of go on; the others come back empty."""

    run: Annotated[int, Field(ge=1, le=RUN_MAX)] | None = None
    """Its number; left out = the newest, or that of the cursors."""
    order: Literal["asc", "desc"] = "asc"
    page_size: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 100
    """Of each part."""
    steps_cursor: str | None = None
    events_cursor: str | None = None
    logs_cursor: str | None = None
    include_logs: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "debug"
    """The lowest level."""
    log_category: str | None = None
    """Only lines that were logged with this ``category=``."""


class WorkflowInfo(Answer):
    """A workflow that this server knows."""

    name: str
    versions: list[int]
    events: list[str] | None
    """The types of event that it declares; null = it takes any."""


class WorkflowsAnswer(Answer):
    """All of them, by name."""

    workflows: list[WorkflowInfo]


class SchemaAnswer(Answer):
    """JSON Schemas of what a workflow takes and gives."""

    name: str
    version: int
    params: Json
    output: Json
    events: dict[str, Json] | None
    """By type; null = it takes any event."""


class InstanceAnswer(Answer):
    """An instance in short."""

    id: str
    details: InstanceStatus


class Meta(Answer):
    """What else is known of an instance's newest run (E1)."""

    model_config = ConfigDict(from_attributes=True)

    workflow: str
    run_number: int
    pausing: bool
    cancelling: bool
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    completed_at: datetime | None
    params: Json
    waiting_for: tuple[Waiting, ...]
    next_wake_at: datetime | None
    lease_holder: str | None
    lease_until: datetime | None
    buffered_events: int
    takeovers: int
    warnings: tuple[str, ...]


class ListedAnswer(InstanceAnswer):
    """An instance of a listing; in ``meta``, what needs more rows (waits, events, the lease) is left empty."""

    meta: Meta

    @classmethod
    def of(cls, details: InstanceDetails) -> ListedAnswer:
        """Tell what was read."""
        return cls(id=details.id, details=_status(details), meta=Meta.model_validate(details))

    def read(self) -> InstanceDetails:
        """Give what was told."""
        rest = {name: getattr(self.meta, name) for name in Meta.model_fields}
        told = self.details
        return InstanceDetails(id=self.id, status=told.status, output=told.output, error=told.error, **rest)


class DescribedAnswer(ListedAnswer):
    """All that is known of an instance, also in words."""

    why: str

    @classmethod
    def described(cls, details: InstanceDetails, why: str) -> DescribedAnswer:
        """Tell what was read."""
        return cls(id=details.id, details=_status(details), meta=Meta.model_validate(details), why=why)


def _status(details: InstanceDetails) -> InstanceStatus:
    return InstanceStatus(details.status, details.output, details.error)


class InstancesAnswer(Answer):
    """A page of instances, newest first."""

    instances: list[ListedAnswer]
    cursor: str | None
    has_next_page: bool


class BatchAnswer(Answer):
    """The new instances, in the order of the batch."""

    instances: list[InstanceAnswer]


class SteeredAnswer(Answer):
    """It was done; ``details`` as of right after."""

    ok: Literal[True] = True
    details: InstanceStatus


class AcceptedAnswer(Answer):
    """The event is kept until it is waited for."""

    status: Status
    """The instance's, right after."""
    duplicate: bool
    """Whether the same id and payload were accepted before."""


class HistoryAnswer(Answer):
    """A page of each part of a run's history; a cursor is null at the part's end."""

    run_number: int
    steps: tuple[StepView, ...]
    steps_cursor: str | None
    events: tuple[EventView, ...]
    events_cursor: str | None
    logs: tuple[LogView, ...] | None
    """Null when they were not asked for."""
    logs_cursor: str | None


class TickAnswer(Answer):
    """What a tick did, and when to tick next; null = nothing is scheduled."""

    processed: int
    next_due: datetime | None


class DocumentAnswer(RootModel[dict[str, Any]]):
    """An OpenAPI 3.1 document."""


class Issue(Answer):
    """One thing that does not fit."""

    path: str
    """Where, like ``items.0.price``."""
    message: str
    type: str


class Problem(Answer):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str
    code: str
    """Stable, for programs."""
    issues: list[Issue] | None = None
    """For values that do not fit their type."""
