# ruff: noqa: D101, D102, D103 (definitions under test)
"""Definitions: what is wrong with one is said where it is written (C4, C10, D6, api.md)."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pytest

from keepstep.authoring.definition import WorkflowEntrypoint, definition_of, workflow
from keepstep.authoring.events import EventModel, WorkflowEvent
from keepstep.authoring.step import WorkflowStep
from keepstep.errors import UsageError
from keepstep.model.codec import PLAIN, codec_for
from keepstep.model.retry import Retry

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypes

T = TypeVar("T")
U = TypeVar("U")


@dataclass
class Order:
    sku: str


@dataclass
class Receipt:
    number: int


class Approval(EventModel, type="approval"):
    approved: bool


class AnotherApproval(EventModel, type="approval"):
    approved: bool


def named(value: object) -> str | None:
    """A test's id that is the same in every process."""
    return getattr(value, "__name__", None)


STEP: Any = object()


def event_of(payload: Any) -> WorkflowEvent[Any]:
    return WorkflowEvent(payload, datetime(2025, 1, 1, tzinfo=UTC), "o-1", "w", 1)


async def result_of(definition, payload):
    return await definition.run(event_of(payload), STEP)


@workflow(name="order", version=2, retry=Retry(max_attempts=3), timeout="1 minute", events=[Approval])
async def order(event: WorkflowEvent[Order], step: WorkflowStep) -> Receipt:
    return Receipt(len(event.payload.sku))


async def test_a_function_becomes_a_definition():
    """C4, D6: name, version, policies, events and codecs are read from the decorator and the annotations."""
    assert (order.name, order.version, order.timeout_ms) == ("order", 2, 60_000)
    assert order.retry == Retry(max_attempts=3)
    assert order.events == {"approval": Approval}
    assert order.params_codec is codec_for(Order)
    assert order.result_codec is codec_for(Receipt)
    assert await result_of(order, Order("abc")) == Receipt(3)


def test_the_engines_defaults():
    """C4, D6: without options a workflow has the engine's policy, and takes any event."""

    @workflow(name="plain")
    async def plain(event, step): ...

    assert plain.retry == Retry()
    assert plain.timeout_ms == 600_000
    assert plain.events is None
    assert plain.params_codec is plain.result_codec is PLAIN


def test_cloudflares_form_of_a_policy():
    """C4: a mapping may carry the timeout; the option beside it wins."""
    options = {"retries": {"limit": 2}, "timeout": "5 seconds"}

    @workflow(name="w", retry=options)
    async def one(event, step): ...

    @workflow(name="w", retry=options, timeout="1 second")
    async def other(event, step): ...

    assert (one.retry.max_attempts, one.timeout_ms, other.timeout_ms) == (3, 5_000, 1_000)


def test_declaring_no_events_is_not_declaring():
    """D6: an empty list means that the workflow takes no event at all."""

    @workflow(name="w", events=[])
    async def deaf(event, step): ...

    assert deaf.events == {}


def test_params_of_none():
    """C3: a workflow that needs no params says so."""

    @workflow(name="w")
    async def bare(event: WorkflowEvent[None], step: WorkflowStep) -> None: ...

    assert bare.params_codec is codec_for(None)
    assert bare.result_codec is codec_for(None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs a name"),
        ({"name": ""}, "needs a name"),
        ({"name": "a b"}, "workflow name 'a b' has characters"),
        ({"name": "a" * 65}, "1 to 64"),
        ({"name": 5}, "must be text"),
        ({"version": 0}, "version of workflow 'w' must be"),
        ({"version": "1"}, "version of workflow 'w' must be"),
        ({"retry": {"retry": 1}}, "workflow 'w': unknown retry option"),
        ({"retry": 5}, "workflow 'w': retry must be"),
        ({"timeout": 5}, "workflow 'w': timeout 5 is not a duration"),
        ({"timeout": math.nan}, "workflow 'w': timeout nan"),
        ({"retry": {"timeout": 5}}, "workflow 'w': timeout 5"),
        ({"events": ["approval"]}, "events of workflow 'w' must be EventModel classes, not 'approval'"),
        ({"events": [EventModel]}, "must be EventModel classes"),
        ({"events": [Approval(approved=True)]}, "must be EventModel classes"),
        ({"events": [Approval, AnotherApproval]}, "declares two events of type 'approval'"),
        ({"events": Approval}, "events of workflow 'w' must be"),
    ],
    ids=named,
)
def test_wrong_options(options, message):
    """C10, C4, D6: a wrong option is a UsageError at decoration that names the workflow."""

    async def body(event, step): ...

    with pytest.raises(UsageError, match=message):
        workflow(**({"name": "w"} if options and "name" not in options else {}) | options)(body)


def sync_body(event, step): ...
async def generator(event, step):
    yield 1


async def too_few(event): ...
async def too_many(event, step, more): ...
async def optional_third(event, step, more=1): ...
async def keyword_third(event, step, *, more=1): ...
async def any_arguments(*args): ...
async def wrong_event(event: Order, step: WorkflowStep): ...
async def unknown_params(event: WorkflowEvent[OnlyForTypes], step: WorkflowStep): ...
async def unknown_result(event: WorkflowEvent[int], step: WorkflowStep) -> OnlyForTypes: ...
async def opaque_params(event: WorkflowEvent[pytest.MonkeyPatch], step: WorkflowStep): ...


class CallableObject:
    async def __call__(self, event, step): ...


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (sync_body, r"sync_body must be async: write async def sync_body\(event, step\)"),
        (generator, "generator is an async generator"),
        (lambda event, step: None, "must be an async def function, not <function <lambda>"),
        (5, "must be an async def function, not 5"),
        (CallableObject(), "must be an async def function"),
        (Order, "Order is a class; derive it from WorkflowEntrypoint"),
        (too_few, r"takes \(event\); it must take \(event, step\)"),
        (too_many, r"it must take \(event, step\)"),
        (optional_third, r"it must take \(event, step\)"),
        (keyword_third, r"it must take \(event, step\)"),
        (any_arguments, r"it must take \(event, step\)"),
        (wrong_event, r"wrong_event: annotate 'event' as WorkflowEvent\[…\]"),
        (unknown_params, "annotation of 'event'.*unknown_params cannot be resolved"),
        (unknown_result, "unknown_result cannot be resolved"),
        (opaque_params, "MonkeyPatch cannot be stored"),
    ],
    ids=named,
)
def test_wrong_bodies(body, message):
    """A1, C3: a body that the engine cannot run is a UsageError at decoration that says what to write."""
    with pytest.raises(UsageError, match=message):
        workflow(name="w")(body)


def test_decorating_without_parentheses():
    """A bare ``@workflow`` is told about its name."""
    with pytest.raises(UsageError, match=r'write @workflow\(name="order-approval"\)'):
        workflow(sync_body)  # type: ignore[arg-type]


class OrderApproval(WorkflowEntrypoint[Order, Receipt]):
    name = "order-approval"
    version = 3
    retry = Retry(max_attempts=2)
    timeout = "1 second"
    events = (Approval,)

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def run(self, event, step):
        self.seen.append(event.payload.sku)
        return Receipt(len(self.seen))


async def test_a_class_becomes_the_same_definition():
    """C3, C4: the class form gives the same definition; each replay runs on a new instance."""
    definition = definition_of(OrderApproval)
    assert (definition.name, definition.version, definition.timeout_ms) == ("order-approval", 3, 1_000)
    assert definition.retry == Retry(max_attempts=2)
    assert definition.events == {"approval": Approval}
    assert definition.params_codec is codec_for(Order)
    assert definition.result_codec is codec_for(Receipt)
    assert await result_of(definition, Order("a")) == Receipt(1)
    assert await result_of(definition, Order("a")) == Receipt(1)


def test_types_come_through_base_classes():
    """C3: type arguments are followed through generic base classes."""

    class Base(WorkflowEntrypoint[list[T], U], Generic[U, T]):
        async def run(self, event, step): ...

    class Middle(Base[Receipt, T], Generic[T]): ...

    class Concrete(Middle[Order]):
        name = "concrete"

    assert definition_of(Concrete).params_codec is codec_for(list[Order])
    assert definition_of(Concrete).result_codec is codec_for(Receipt)


def test_types_come_from_run_without_type_arguments():
    """C3: a class without type arguments takes the annotations of its ``run``."""

    class Annotated(WorkflowEntrypoint):
        name = "annotated"

        async def run(self, event: WorkflowEvent[Order], step: WorkflowStep) -> Receipt: ...

    assert definition_of(Annotated).params_codec is codec_for(Order)
    assert definition_of(Annotated).result_codec is codec_for(Receipt)


def test_classes_without_a_name_are_bases():
    """A class without a name of its own is no workflow, also when its base is one."""

    class Base(WorkflowEntrypoint[Order, Receipt], abc.ABC):
        @abc.abstractmethod
        async def prepare(self) -> None: ...

    class Derived(OrderApproval): ...

    for each in (Base, Derived, WorkflowEntrypoint):
        with pytest.raises(UsageError, match=f"class .*{each.__name__} is no workflow yet"):
            definition_of(each)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "has no body: write async def run"),
        ({"run": sync_body}, "must be async"),
        ({"run": too_few}, r"takes \(event\); it must take \(self, event, step\)"),
        ({"run": too_many, "name": "a b"}, "workflow name 'a b'"),
        ({"run": too_many, "version": 0}, "version of workflow 'w'"),
        ({"run": too_many, "__init__": lambda self, url: None}, "its __init__ must not need arguments"),
    ],
    ids=named,
)
def test_wrong_classes(attributes, message):
    """C10: a wrong class form is a UsageError at class creation that names the class."""
    with pytest.raises(UsageError, match=message):
        type(WorkflowEntrypoint)("Wrong", (WorkflowEntrypoint,), {"name": "w"} | attributes)


@pytest.mark.parametrize("value", [5, sync_body, Order, Order("a"), None, OrderApproval()], ids=named)
def test_what_is_no_workflow(value):
    """Anything else is refused with both ways to write a workflow."""
    with pytest.raises(UsageError, match="is no workflow: decorate it with @workflow or derive"):
        definition_of(value)
