"""What each operation does: a checked request becomes verbs, their answers become models. One short function each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from starlette.requests import Request

from keepstep.authoring.registry import Registry
from keepstep.authoring.step import UNSET
from keepstep.client import wire
from keepstep.client.mint import Mint
from keepstep.client.ports import Port
from keepstep.client.verbs import LIVE_NO_MORE, BindingVerbs, InstanceVerbs, Transact
from keepstep.errors import ResultTimeoutError, WorkflowNotFoundError
from keepstep.fragment.mount import FragmentMount
from keepstep.model.codec import Codec
from keepstep.model.outcome import InstanceStatus, TickResult
from keepstep.model.status import Status
from keepstep.routes.incoming import as_text
from keepstep.services.create import the_new_ones
from keepstep.services.pages import read_query

B = TypeVar("B", bound=wire.Body)
Q = TypeVar("Q", bound=wire.Query)
AnyVerbs = InstanceVerbs[Any]


@dataclass(frozen=True, slots=True)
class Served:
    """What of an app its HTTP face needs.

    Attributes:
        registry: its workflows.
        port: runs verbs.
        mint: makes ids.
        tick: does what is due.
        running: starts the app, and stops it in the end.
        started: whether somebody has started it.
        mounts: its fragments.
    """

    registry: Registry
    port: Port
    mint: Mint
    tick: Callable[[int | None], Awaitable[TickResult]]
    running: Callable[[], AbstractAsyncContextManager[Any]]
    started: Callable[[], bool]
    mounts: Sequence[FragmentMount] = ()


class Reply(NamedTuple):
    """What an operation answers; ``location`` is the path of what it made, below that of the request."""

    status: int
    body: BaseModel
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Call(Generic[B, Q]):
    """One checked request."""

    served: Served
    request: Request
    body: B
    query: Q
    wait_ms_max: int
    document: Callable[[Request], dict[str, Any]]

    @property
    def binding(self) -> BindingVerbs[Any, Any]:
        """The verbs of the workflow that the path names.

        Raises:
            WorkflowNotFoundError: there is none.
        """
        name = self.request.path_params["name"]
        registry = self.served.registry
        if name not in registry:
            raise WorkflowNotFoundError(f"no workflow is named {name!r:.80} here; GET /workflows lists them")
        return BindingVerbs(registry.by_name(name), self.served.mint)

    @property
    def instance(self) -> AnyVerbs:
        """The verbs of the instance that the path names.

        Raises:
            WorkflowNotFoundError: there is no such workflow.
            InvalidInstanceIdError: the id breaks C10.
        """
        return self.binding.at(self.request.path_params["id"])


async def openapi(call: Call[Any, Any]) -> Reply:
    """Describe every operation."""
    return Reply(200, wire.DocumentAnswer(call.document(call.request)))


async def list_workflows(call: Call[Any, Any]) -> Reply:
    """List the workflows that this server knows."""
    known = [
        wire.WorkflowInfo(
            name=each.name,
            versions=[each.version],
            events=None if each.events is None else sorted(each.events),
        )
        for each in call.served.registry
    ]
    return Reply(200, wire.WorkflowsAnswer(workflows=known))


async def workflow_schema(call: Call[Any, Any]) -> Reply:
    """Give the JSON Schemas of a workflow's params, output and events."""
    found = call.binding.definition
    events = None
    if found.events is not None:
        events = {name: model.model_json_schema() for name, model in found.events.items()}
    answer = wire.SchemaAnswer(
        name=found.name,
        version=found.version,
        params=_schema(found.params_codec, "validation"),
        output=_schema(found.result_codec, "serialization"),
        events=events,
    )
    return Reply(200, answer)


def _schema(codec: Codec, mode: Any) -> dict[str, Any]:
    try:
        return codec.schema(mode)
    except PydanticInvalidForJsonSchema:  # a type that validates in code of its own
        return {}


async def list_instances(call: Call[Any, wire.ListQuery]) -> Reply:
    """List a workflow's instances, newest first."""
    query = call.query
    page = await call.served.port.run(call.binding.list(query.status, query.page_size, query.cursor))
    listed = [wire.ListedAnswer.of(details) for details in page.items]
    more = page.cursor is not None
    return Reply(200, wire.InstancesAnswer(instances=listed, cursor=page.cursor, has_next_page=more))


async def create_instance(call: Call[wire.CreateBody, Any]) -> Reply:
    """Begin an instance (E2)."""
    body, port = call.body, call.served.port
    verb = call.binding.create(body.id, as_text(body.params), body.if_exists)
    [item] = verb.items
    if body.if_exists == "return":
        verb = replace(verb, judge=the_new_ones(verb.items))
    if await port.create(verb):
        begun = InstanceStatus(Status.ACTIVE)
        return Reply(201, wire.InstanceAnswer(id=item.instance_id, details=begun), item.instance_id)
    found = await port.run(call.binding.at(item.instance_id).status())
    return Reply(200, wire.InstanceAnswer(id=item.instance_id, details=found))


async def create_batch(call: Call[wire.BatchBody, Any]) -> Reply:
    """Begin up to 100 instances, all or none; those that exist are left out (E2)."""
    items = [
        {"params": as_text(item.params), **({} if item.id is None else {"id": item.id})}
        for item in call.body.instances
    ]
    made = await call.served.port.create(call.binding.create_batch(items))
    begun = InstanceStatus(Status.ACTIVE)
    return Reply(
        200, wire.BatchAnswer(instances=[wire.InstanceAnswer(id=id_, details=begun) for id_ in made])
    )


async def get_instance(call: Call[Any, wire.InstanceQuery]) -> Reply:
    """Read all that is known of an instance, at once or when it has ended (E1)."""
    verbs, port = call.instance, call.served.port
    if wait_ms := min(call.query.wait_ms, call.wait_ms_max):
        with suppress(ResultTimeoutError):  # the answer says how it stands
            await port.ended(verbs.standing(), wait_ms)
    details, why = await port.run(verbs.described())
    return Reply(200, wire.DescribedAnswer.described(details, why))


async def pause_instance(call: Call[Any, Any]) -> Reply:
    """Pause: now, or when the step that executes has ended (E3)."""
    return await _steer(call, call.instance.pause())


async def resume_instance(call: Call[Any, Any]) -> Reply:
    """Go on, or withdraw a pending pause (E4)."""
    return await _steer(call, call.instance.resume())


async def terminate_instance(call: Call[wire.ReasonBody, Any]) -> Reply:
    """End at once, for good (E5)."""
    return await _steer(call, call.instance.terminate(call.body.reason))


async def cancel_instance(call: Call[wire.ReasonBody, Any]) -> Reply:
    """Ask the body to end; its cleanup still runs (E5)."""
    return await _steer(call, call.instance.cancel(call.body.reason))


async def restart_instance(call: Call[wire.RestartBody, Any]) -> Reply:
    """Begin the next run; the runs before stay readable (E6)."""
    body = call.body
    params = as_text(body.params) if body.has("params") else UNSET
    return await _steer(call, call.instance.restart(params, body.from_step))


async def retry_instance(call: Call[Any, Any]) -> Reply:
    """Try the step again that ended it, in place (E6)."""
    return await _steer(call, call.instance.retry_failed_step())


async def restart_or_create(call: Call[wire.RestartOrCreateBody, Any]) -> Reply:
    """Begin the instance if there is none, else its next run; decided and done in one transaction (E6)."""
    body = call.body
    statuses = LIVE_NO_MORE if body.if_status_in is None else body.if_status_in
    params = as_text(body.params) if body.has("params") else UNSET
    instance_id = call.request.path_params["id"]
    return await _steer(call, call.binding.restart_or_create(instance_id, params, statuses, body.if_run))


async def _steer(call: Call[Any, Any], verb: Transact[None]) -> Reply:
    await call.served.port.run(verb)
    return Reply(200, wire.SteeredAnswer(details=await call.served.port.run(call.instance.status())))


async def send_event(call: Call[wire.EventBody, Any]) -> Reply:
    """Send an event; it is kept until a wait takes it (D4-D7)."""
    body, port, verbs = call.body, call.served.port, call.instance
    payload = as_text(body.payload) if body.has("payload") else UNSET
    accepted = await port.run(verbs.send_event(body.type, payload, body.id, body.if_waiting))
    now = await port.run(verbs.status())
    return Reply(202, wire.AcceptedAnswer(status=now.status, duplicate=accepted.duplicate))


async def read_history(call: Call[Any, wire.HistoryQueryParams]) -> Reply:
    """Read a page of a run's steps, events and log lines, each with a cursor of its own."""
    asked = call.query.model_dump()
    query = read_query(limit=asked.pop("page_size"), **asked)
    page = await call.served.port.run(call.instance.history_page(query))
    answer = wire.HistoryAnswer(
        run_number=page.run_number,
        steps=page.steps.items,
        steps_cursor=page.steps.cursor,
        events=page.events.items,
        events_cursor=page.events.cursor,
        logs=None if page.logs is None else page.logs.items,
        logs_cursor=None if page.logs is None else page.logs.cursor,
    )
    return Reply(200, answer)


async def tick(call: Call[wire.TickBody, Any]) -> Reply:
    """Advance what is due, and say when to tick next (B9). Callers at the same time share the work."""
    done = await call.served.tick(call.body.max_instances)
    return Reply(200, wire.TickAnswer(processed=done.processed, next_due=done.next_due))
