# ruff: noqa: D101, D102, D103 (workflows under test)
"""Registries: dicts and Bindings classes become keys, names and bindings (api.md, architecture.md)."""

from __future__ import annotations

import copy

import pytest

from keepstep.authoring.definition import WorkflowEntrypoint, definition_of, workflow
from keepstep.authoring.registry import Bindings, KeyedBindings, Registry
from keepstep.errors import UsageError, WorkflowNotFoundError


@workflow(name="order-approval")
async def order(event, step): ...


@workflow(name="refund")
async def refund(event, step): ...


@workflow(name="refund")
async def another_refund(event, step): ...


class Greeting(WorkflowEntrypoint[str, str]):
    name = "greeting"

    async def run(self, event, step): ...


class Common(Bindings):
    order = order


class Workflows(Common):
    greeting = Greeting
    _private = 5


def shown(definition):
    return f"binding of {definition.name}"


FORMS = {
    "dict": {"order": order, "greeting": Greeting},
    "class": Workflows,
    "instance": Workflows(),
}


@pytest.mark.parametrize("workflows", FORMS.values(), ids=FORMS)
def test_a_registry_finds_by_key_and_by_name(workflows):
    """G2: a dict, a Bindings class and its instance give the same registry."""
    registry = Registry(workflows)
    assert registry.keys == ("order", "greeting")
    assert registry.names == ("greeting", "order-approval")
    assert list(registry) == [definition_of(Greeting), order]
    assert len(registry) == 2
    assert "greeting" in registry
    assert "Greeting" not in registry
    assert registry.by_key("order") is registry.by_name("order-approval") is order
    assert registry.by_name("greeting") is definition_of(Greeting)


@pytest.mark.parametrize("workflows", FORMS.values(), ids=FORMS)
def test_bindings_are_attributes(workflows):
    """G2: an app's bindings are attributes, whichever form the registry had."""
    bindings = Registry(workflows).bindings(shown)
    assert bindings.order == "binding of order-approval"
    assert bindings.greeting == "binding of greeting"


def test_two_apps_do_not_mix():
    """No globals: one class can be bound by two apps in a process, each to its own."""
    one = Registry(Workflows).bindings(lambda definition: (1, definition.name))
    two = Registry(Workflows).bindings(lambda definition: (2, definition.name))
    assert one.order == (1, "order-approval")
    assert two.order == (2, "order-approval")
    assert Workflows.order is order
    assert Workflows.greeting is Greeting


def test_a_class_that_is_no_bindings_keeps_definitions():
    """A definition may be an attribute of any class: it is itself there."""

    class Anything:
        approval = order
        greeting = Greeting

    assert Anything().approval is order
    assert Anything().greeting is Greeting


def test_unbound_bindings():
    """Bindings that belong to no app say so."""
    with pytest.raises(
        UsageError, match=r"'order-approval' is not bound to an app: use app.workflows, not Workflows\(\)"
    ):
        Workflows().order  # noqa: B018


def test_keys_that_are_missing():
    """H: a missing key or name is told with the known ones."""
    registry = Registry({"ORDER": order, "REFUND": refund})
    with pytest.raises(
        WorkflowNotFoundError, match="no workflow has the key 'X'; known keys are ORDER, REFUND"
    ):
        registry.by_key("X")
    with pytest.raises(
        WorkflowNotFoundError, match="no workflow is named 'X'; known names are order-approval, refund"
    ):
        registry.by_name("X")
    bindings = registry.bindings(shown)
    assert isinstance(bindings, KeyedBindings)
    assert bindings["ORDER"] == "binding of order-approval"
    with pytest.raises(WorkflowNotFoundError, match="known keys are ORDER, REFUND"):
        bindings["X"]
    with pytest.raises(AttributeError, match="known keys are ORDER, REFUND"):
        bindings.X  # noqa: B018
    assert copy.copy(bindings).ORDER == "binding of order-approval"


def test_one_workflow_under_two_keys():
    """A second key for the same workflow is an alias."""
    registry = Registry({"ORDER": order, "APPROVAL": order})
    assert registry.keys == ("ORDER", "APPROVAL")
    assert registry.names == ("order-approval",)


@pytest.mark.parametrize(
    ("workflows", "message"),
    [
        ({}, "no workflows are registered"),
        (Bindings, "no workflows are registered"),
        (None, "must be a dict of keys to workflows, or a Bindings class, not None"),
        ([order], "must be a dict"),
        (Greeting, "must be a dict"),
        ({"a-b": order}, "'a-b': a key becomes an attribute"),
        ({"": order}, "'': a key becomes an attribute"),
        ({"class": order}, "'class': a key becomes an attribute"),
        ({5: order}, "5: a key becomes an attribute"),
        ({"_order": order}, "'_order': a key must not start with an underscore"),
        (
            {"ORDER": 5, "REFUND": len},
            "'ORDER': 5 is no workflow.*'REFUND': <built-in function len> is no workflow",
        ),
        ({"BASE": WorkflowEntrypoint}, "'BASE': class WorkflowEntrypoint is no workflow yet"),
        (
            {"A": refund, "B": another_refund},
            r"two different workflows have one name: 'refund' \(again under 'B'\)",
        ),
    ],
    ids=repr,
)
def test_registries_that_are_wrong(workflows, message):
    """G2: what cannot be registered fails at composition, and everything that is wrong is listed."""
    with pytest.raises(UsageError, match=message):
        Registry(workflows)


def test_a_bindings_class_with_something_else():
    """G2: a public attribute that is no workflow is refused: it would look like one."""

    class Mixed(Bindings):
        order = order
        count = 5

    with pytest.raises(UsageError, match="'count': 5 is no workflow"):
        Registry(Mixed)
