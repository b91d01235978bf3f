"""Bindings of a registry's workflows at one port."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

from keepstep.authoring.definition import WorkflowDefinition, WorkflowEntrypoint, definition_of
from keepstep.authoring.registry import Registry
from keepstep.client.binding import Binding
from keepstep.client.mint import Mint
from keepstep.client.ports import Port
from keepstep.client.verbs import BindingVerbs

P = TypeVar("P")
R = TypeVar("R")

Workflow: TypeAlias = WorkflowDefinition[P, R] | type[WorkflowEntrypoint[P, R]]
"""A workflow as its author made it."""


def bindings_of(registry: Registry, port: Port, mint: Mint) -> Any:
    """Make ``app.workflows``: of the class that the app was given, or of one with its keys."""
    made = {each: Binding(port, BindingVerbs(each, mint)) for each in registry}
    return registry.bindings(made.__getitem__)


def binding_of(registry: Registry, definition: Workflow[P, R], port: Port, mint: Mint) -> Binding[P, R]:
    """Make the binding of one workflow.

    Raises:
        WorkflowNotFoundError: it is not registered.
    """
    return Binding(port, BindingVerbs(registered(registry, definition), mint))


def registered(registry: Registry, workflow: Workflow[P, R]) -> WorkflowDefinition[P, R]:
    """Give a workflow's definition as it is registered.

    Raises:
        WorkflowNotFoundError: it is not.
    """
    return registry.own(definition_of(workflow))
