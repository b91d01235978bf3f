"""``app.sync.workflows``, and that of a host's sync transaction: bindings by key, or by their definition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from keepstep.authoring.registry import MissingBindingError, Registry
from keepstep.client.bound import Workflow, registered
from keepstep.client.mint import Mint
from keepstep.client.verbs import BindingVerbs
from keepstep.sync.binding import SyncBinding
from keepstep.sync.ports import SyncPort

P = TypeVar("P")
R = TypeVar("R")


class SyncBindings:
    """Bindings as attributes. Types are lost on the way; ``binding(definition)`` keeps them."""

    def __init__(self, registry: Registry, port: SyncPort, mint: Mint) -> None:
        self._registry = registry
        self._port = port
        self._mint = mint

    def __getattr__(self, key: str) -> SyncBinding[Any, Any]:
        if key not in self._registry.keys:
            raise MissingBindingError(key, self._registry.keys)
        return self[key]

    def __getitem__(self, key: str) -> SyncBinding[Any, Any]:
        """The binding of a key, as ``workflows["APPROVAL"]``.

        Raises:
            WorkflowNotFoundError: no workflow has the key.
        """
        return SyncBinding(self._port, BindingVerbs(self._registry.by_key(key), self._mint))

    def __iter__(self) -> Iterator[str]:
        """The keys."""
        return iter(self._registry.keys)

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *self._registry.keys]


def sync_binding_of(
    registry: Registry, definition: Workflow[P, R], port: SyncPort, mint: Mint
) -> SyncBinding[P, R]:
    """Make the binding of one workflow.

    Raises:
        WorkflowNotFoundError: it is not registered.
    """
    return SyncBinding(port, BindingVerbs(registered(registry, definition), mint))
