"""A mounted fragment for sync hosts: ``app.sync.fragment(billing)``, ``app.using(session).fragment(billing)`` (G2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from keepstep.client.bound import Workflow
from keepstep.client.mint import Mint
from keepstep.client.mounted import mount_named, service_caller
from keepstep.fragment.composition import Composition
from keepstep.fragment.definition import Fragment, FragmentInstance
from keepstep.fragment.mount import FragmentMount
from keepstep.fragment.tx import Tx
from keepstep.sync.binding import SyncBinding
from keepstep.sync.bindings import SyncBindings, sync_binding_of
from keepstep.sync.ports import SyncDatabasePort

C = TypeVar("C")
P = TypeVar("P")
A = ParamSpec("A")
R = TypeVar("R")


class SyncMounted(Generic[C]):
    """A mounted fragment, for sync hosts.

    Attributes:
        name: under which it is mounted.
        config: with which configuration.
        workflows: its bindings by key.
        services: by name; plain functions.
    """

    def __init__(self, mount: FragmentMount, port: SyncDatabasePort, mint: Mint) -> None:
        self._mount = mount
        self._port = port
        self._mint = mint
        self.name = mount.name
        self.config: C = mount.config
        self.workflows = SyncBindings(mount.registry, port, mint)
        self.services = SyncServices(mount, self._call)

    def __repr__(self) -> str:
        return f"<SyncMounted {self.name}>"

    def binding(self, workflow: Workflow[P, R]) -> SyncBinding[P, R]:
        """The binding of one of its workflows, typed by it.

        Raises:
            WorkflowNotFoundError: it is not this fragment's.
        """
        return sync_binding_of(self._mount.registry, workflow, self._port, self._mint)

    def call(self, fn: Callable[Concatenate[Tx, A], R], /, *args: A.args, **kwargs: A.kwargs) -> R:
        """Call a service, typed by it, or any plain ``fn(tx, …)`` in one transaction.

        Raises:
            UsageError: the service is of a fragment that this one does not use.
        """
        return self._call(fn, *args, **kwargs)

    def _call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self._port.work(lambda target: fn(self._mount.open(target), *args, **kwargs))


class SyncFragmentAttributes:
    """Mounted fragments as attributes: what ``app.sync`` and a host's sync transaction have alike."""

    _composition: Composition
    _port: Any
    _mint: Mint

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A mounted fragment, by name."""
            return SyncMounted(mount_named(self.__dict__.get("_composition"), name), self._port, self._mint)

    def fragment(self, fragment: Fragment[C, Any] | FragmentInstance[C, Any]) -> SyncMounted[C]:
        """A mounted fragment, typed by it.

        Raises:
            UsageError: it is not mounted.
        """
        return SyncMounted(self._composition.mount_of(fragment), self._port, self._mint)


class SyncServices:
    """A fragment's services by name. Types are lost on the way; ``mounted.call(service, …)`` keeps them."""

    def __init__(self, mount: FragmentMount, call: Callable[..., Any]) -> None:
        self._mount = mount
        self._call = call

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return service_caller(self._mount, name, self._call)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._mount.fragment.services]
