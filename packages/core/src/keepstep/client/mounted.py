"""A mounted fragment, as the host that mounted it sees it: ``app.billing`` (G2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from keepstep.authoring.registry import Bindings
from keepstep.client.binding import Binding
from keepstep.client.bound import Workflow, binding_of, bindings_of
from keepstep.client.mint import Mint
from keepstep.errors import UsageError
from keepstep.fragment.composition import Composition
from keepstep.fragment.definition import Fragment, FragmentInstance
from keepstep.fragment.mount import FragmentMount
from keepstep.fragment.tx import Tx

if TYPE_CHECKING:
    from keepstep.client.ports import DatabasePort

C = TypeVar("C")
W = TypeVar("W", bound=Bindings)
P = TypeVar("P")
A = ParamSpec("A")
R = TypeVar("R")


class Mounted(Generic[C, W]):
    """A mounted fragment in an app, or in a host's async transaction.

    Attributes:
        name: under which it is mounted.
        config: with which configuration.
        workflows: its bindings.
        services: by name; each is awaited, and runs in a transaction of its own or in the host's.
    """

    def __init__(self, mount: FragmentMount, port: DatabasePort, mint: Mint) -> None:
        self._mount = mount
        self._port = port
        self._mint = mint
        self.name = mount.name
        self.config: C = mount.config
        self.workflows: W = bindings_of(mount.registry, port, mint)
        self.services = Services(mount, self._call)

    def __repr__(self) -> str:
        return f"<Mounted {self.name}>"

    def binding(self, workflow: Workflow[P, R]) -> Binding[P, R]:
        """The binding of one of its workflows, typed by it.

        Raises:
            WorkflowNotFoundError: it is not this fragment's.
        """
        return binding_of(self._mount.registry, workflow, self._port, self._mint)

    async def call(self, fn: Callable[Concatenate[Tx, A], R], /, *args: A.args, **kwargs: A.kwargs) -> R:
        """Call a service, typed by it, or any plain ``fn(tx, …)`` in one transaction.

        Raises:
            UsageError: the service is of a fragment that this one does not use.
        """
        return await self._call(fn, *args, **kwargs)

    async def _call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._port.work(lambda target: fn(self._mount.open(target), *args, **kwargs))


class FragmentAttributes:
    """Mounted fragments as attributes: what an app and a host's async transaction have alike."""

    _composition: Composition
    _port: Any
    _mint: Mint

    if not TYPE_CHECKING:  # a type checker knows the attributes of a subclass, and refuses others

        def __getattr__(self, name: str) -> Any:
            """A mounted fragment, by name."""
            return Mounted(mount_named(self.__dict__.get("_composition"), name), self._port, self._mint)

    def fragment(self, fragment: Fragment[C, W] | FragmentInstance[C, W]) -> Mounted[C, W]:
        """A mounted fragment, typed by it.

        Raises:
            UsageError: it is not mounted.
        """
        return Mounted(self._composition.mount_of(fragment), self._port, self._mint)


class Services:
    """A fragment's services by name. Types are lost on the way; ``mounted.call(service, …)`` keeps them."""

    def __init__(self, mount: FragmentMount, call: Callable[..., Any]) -> None:
        self._mount = mount
        self._call = call

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return cast("Any", service_caller(self._mount, name, self._call))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._mount.fragment.services]


class MissingServiceError(UsageError, AttributeError):
    """No service has that name; also an ``AttributeError``, so that ``hasattr`` does what it says."""


def service_caller(mount: FragmentMount, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """What calls the service of that name.

    Raises:
        MissingServiceError: there is none; the known ones are listed.
    """
    services = mount.fragment.services
    if name not in services:
        known = ", ".join(services) or "none"
        raise MissingServiceError(f"{mount!r} has no service {name!r}; it has {known}")
    service = services[name]

    def called(*args: Any, **kwargs: Any) -> Any:
        return call(service, *args, **kwargs)

    return called


class MissingFragmentError(UsageError, AttributeError):
    """No fragment is mounted under that name."""


def mount_named(composition: Composition | None, name: str) -> FragmentMount:
    """A mount by its name.

    Raises:
        MissingFragmentError: there is none; the known ones are listed.
    """
    mounts = {} if composition is None else composition.mounts
    if name not in mounts:
        known = f"mounted are {', '.join(mounts)}" if mounts else "no fragments are mounted"
        raise MissingFragmentError(f"there is no attribute, and no mounted fragment, {name!r}; {known}")
    return mounts[name]
