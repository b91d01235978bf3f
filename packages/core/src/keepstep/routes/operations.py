"""The table of operations: one entry says where an operation is, who must allow it, what goes in and what comes out.

Requests are routed by it, and the OpenAPI document is written from it: what is not here does not exist.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from keepstep.client import wire
from keepstep.model.access import Kind
from keepstep.routes import endpoints
from keepstep.routes.endpoints import Call, Reply

B = TypeVar("B", bound=wire.Body)
Q = TypeVar("Q", bound=wire.Query)

WORKFLOW = "/workflows/{name}"
INSTANCES = f"{WORKFLOW}/instances"
INSTANCE = f"{INSTANCES}/{{id}}"


@dataclass(frozen=True, slots=True)
class Operation(Generic[B, Q]):
    """One method of one path.

    Attributes:
        method: the HTTP method.
        path: with ``{name}`` for a workflow's name and ``{id}`` for an instance's id.
        kinds: each must be allowed.
        handle: does it; its first line of documentation is the summary.
        answers: the model of each status of success.
        body: what it takes.
        query: what its query says.
        conflicts: whether something may be in a state that refuses it.
        fragment: the name of the mounted fragment whose route it is, or None.
        parameters: the types of what a fragment's path names.
    """

    method: str
    path: str
    kinds: tuple[Kind, ...]
    handle: Callable[[Call[B, Q]], Awaitable[Reply]]
    answers: Mapping[int, type[BaseModel]]
    body: type[B]
    query: type[Q]
    conflicts: bool = False
    fragment: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def id(self) -> str:
        """Its name in the OpenAPI document."""
        return self.handle.__name__

    @property
    def takes_body(self) -> bool:
        """Whether it has a body at all."""
        return self.method in {"POST", "PUT", "PATCH"}


AnyOperation = Operation[Any, Any]


def _get(
    path: str,
    handle: Callable[[Call[Any, Q]], Awaitable[Reply]],
    answer: type[BaseModel],
    query: type[Q],
) -> Operation[Any, Q]:
    return Operation("GET", path, (Kind.READ,), handle, {200: answer}, wire.NoBody, query)


def _steer(name: str, handle: Callable[[Call[B, Any]], Awaitable[Reply]], body: type[B]) -> Operation[B, Any]:
    answers = {200: wire.SteeredAnswer}
    return Operation(
        "POST", f"{INSTANCE}/{name}", (Kind.MANAGE,), handle, answers, body, wire.NoQuery, conflicts=True
    )


OPERATIONS: Sequence[AnyOperation] = (
    _get("/openapi.json", endpoints.openapi, wire.DocumentAnswer, wire.NoQuery),
    _get("/workflows", endpoints.list_workflows, wire.WorkflowsAnswer, wire.NoQuery),
    _get(f"{WORKFLOW}/schema", endpoints.workflow_schema, wire.SchemaAnswer, wire.NoQuery),
    _get(INSTANCES, endpoints.list_instances, wire.InstancesAnswer, wire.ListQuery),
    Operation(
        "POST",
        INSTANCES,
        (Kind.CREATE,),
        endpoints.create_instance,
        {200: wire.InstanceAnswer, 201: wire.InstanceAnswer},
        wire.CreateBody,
        wire.NoQuery,
        conflicts=True,
    ),
    Operation(
        "POST",
        f"{INSTANCES}/batch",
        (Kind.CREATE,),
        endpoints.create_batch,
        {200: wire.BatchAnswer},
        wire.BatchBody,
        wire.NoQuery,
    ),
    _get(INSTANCE, endpoints.get_instance, wire.DescribedAnswer, wire.InstanceQuery),
    _steer("pause", endpoints.pause_instance, wire.NoBody),
    _steer("resume", endpoints.resume_instance, wire.NoBody),
    _steer("terminate", endpoints.terminate_instance, wire.ReasonBody),
    _steer("cancel", endpoints.cancel_instance, wire.ReasonBody),
    _steer("restart", endpoints.restart_instance, wire.RestartBody),
    _steer("retry", endpoints.retry_instance, wire.NoBody),
    Operation(
        "POST",
        f"{INSTANCE}/restart-or-create",
        (Kind.CREATE, Kind.MANAGE),
        endpoints.restart_or_create,
        {200: wire.SteeredAnswer},
        wire.RestartOrCreateBody,
        wire.NoQuery,
        conflicts=True,
    ),
    Operation(
        "POST",
        f"{INSTANCE}/events",
        (Kind.SEND_EVENT,),
        endpoints.send_event,
        {202: wire.AcceptedAnswer},
        wire.EventBody,
        wire.NoQuery,
        conflicts=True,
    ),
    _get(f"{INSTANCE}/history", endpoints.read_history, wire.HistoryAnswer, wire.HistoryQueryParams),
)

TICK: AnyOperation = Operation(
    "POST", "/_runner/tick", (Kind.TICK,), endpoints.tick, {200: wire.TickAnswer}, wire.TickBody, wire.NoQuery
)
"""Offered only when the host asks for it."""
