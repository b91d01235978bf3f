"""Fragments: what a library author writes, and what a host mounts (G2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from sqlalchemy import MetaData

from keepstep.authoring.definition import WorkflowDecorator, WorkflowDefinition, workflow
from keepstep.authoring.events import EventModel
from keepstep.authoring.hooks import HookContext, HookDefinition, HookOptions, define_hook
from keepstep.authoring.mount import Place
from keepstep.authoring.registry import Bindings, KeyedBindings
from keepstep.authoring.step import UNSET, RetryOption, TimeoutOption, Unset
from keepstep.errors import UsageError
from keepstep.fragment.names import check_fragment_name
from keepstep.fragment.route import Route, check_path, define_route
from keepstep.fragment.service import Service
from keepstep.fragment.tx import Tx

if TYPE_CHECKING:
    from keepstep.app import App
    from keepstep.client.mounted import Mounted

C = TypeVar("C")
W = TypeVar("W", bound=Bindings)
GivenC = TypeVar("GivenC")
GivenW = TypeVar("GivenW", bound=Bindings)
P = TypeVar("P")
A = ParamSpec("A")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class Fragment(Generic[C, W]):
    """A library of workflows, services, hooks and tables that hosts mount: ``App(fragments=[billing])``.

    Args:
        name: a Python identifier of at most 32 characters, without ``__``: ``app.<name>``, and what its stored names
            begin with, unless it is mounted under another one.
        schema: its tables. They are made with the app's; SQLAlchemy's ``create_all`` is the first revision ``0001``.
        revisions: a folder of Alembic revisions ``v0001_….py``, ``v0002_….py`` … instead, the newest last.
        config: the class of its configuration; one that can be made without arguments is its own default.
        workflows: its workflows as a ``Bindings`` class, which makes them typed attributes. None = those that
            :meth:`workflow` decorates.

    Attributes:
        name: see above.
        services: by name.
        hooks: by name.
        routes: in order.
        dependencies: the fragments that it uses.

    Raises:
        UsageError: the name cannot be one.
    """

    @overload
    def __init__(
        self: Fragment[None, KeyedBindings],
        name: str,
        *,
        schema: MetaData | None = None,
        revisions: Path | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: Fragment[GivenC, KeyedBindings],
        name: str,
        *,
        schema: MetaData | None = None,
        revisions: Path | None = None,
        config: type[GivenC],
    ) -> None: ...
    @overload
    def __init__(
        self: Fragment[None, GivenW],
        name: str,
        *,
        schema: MetaData | None = None,
        revisions: Path | None = None,
        workflows: type[GivenW],
    ) -> None: ...
    @overload
    def __init__(
        self,
        name: str,
        *,
        schema: MetaData | None = None,
        revisions: Path | None = None,
        config: type[C],
        workflows: type[W],
    ) -> None: ...
    def __init__(
        self,
        name: str,
        *,
        schema: MetaData | None = None,
        revisions: Path | None = None,
        config: type[Any] | None = None,
        workflows: type[Any] | None = None,
    ) -> None:
        self.name = check_fragment_name(name)
        self.schema = schema
        self.revisions = revisions
        self.config_type = config
        self.services: dict[str, Service[..., Any]] = {}
        self.hooks: dict[str, HookDefinition[Any]] = {}
        self.routes: list[Route] = []
        self.dependencies: list[Fragment[Any, Any]] = []
        self._class = workflows
        self._decorated: dict[str, WorkflowDefinition[Any, Any]] = {}

    def __repr__(self) -> str:
        return f"<Fragment {self.name}>"

    @property
    def workflows(self) -> type[Bindings] | dict[str, WorkflowDefinition[Any, Any]]:
        """The workflows as they were given: a class, or a dict of those that were decorated."""
        return self._decorated if self._class is None else self._class

    # --- what it consists of

    def workflow(
        self,
        *,
        name: str,
        version: int = 1,
        retry: RetryOption = None,
        timeout: TimeoutOption = None,
        events: Iterable[type[EventModel]] | None = None,
    ) -> WorkflowDecorator:
        """Make a body a workflow of this fragment; its key is the function's name. Options as in ``@workflow``.

        Raises:
            UsageError: the fragment was given a ``Bindings`` class, or has a workflow of this key.
        """
        if self._class is not None:
            raise UsageError(
                f"the workflows of {self!r} are the attributes of {self._class.__name__}: add {name!r} there"
            )
        define = workflow(name=name, version=version, retry=retry, timeout=timeout, events=events)

        def decorate(fn: Any) -> Any:
            definition = define(fn)
            _add(self._decorated, fn.__name__, definition, f"workflow of {self!r}")
            return definition

        return cast("WorkflowDecorator", decorate)

    def service(self, fn: Callable[Concatenate[Tx, A], R], /) -> Service[A, R]:
        """Make ``def fn(tx: Tx, …)`` a service: a transaction script.

        Raises:
            UsageError: it is no plain function, or the fragment has a service of its name.
        """
        service = Service(self, fn)
        _add(self.services, service.name, service, f"service of {self!r}")
        return service

    @overload
    def hook(self, fn: Callable[[HookContext, P], Any], /) -> HookDefinition[P]: ...
    @overload
    def hook(
        self,
        /,
        *,
        name: str | None = None,
        retry: RetryOption = None,
        timeout: TimeoutOption = None,
        concurrency: int | None = None,
    ) -> Callable[[Callable[[HookContext, P], Any]], HookDefinition[P]]: ...
    def hook(self, fn: Callable[[HookContext, Any], Any] | None = None, /, **options: Any) -> Any:
        """Make ``def fn(context, payload)``, sync or async, a hook: called after a commit, at least once (F1).

        Args:
            fn: the handler; without it, a decorator.
            **options: ``name``: stored with every row, by default the function's. ``retry``: by default 20 attempts
                over about a day. ``timeout``: of one delivery, by default 5 minutes. ``concurrency``: most deliveries
                of this hook at once in one process.

        Raises:
            UsageError: the function or an option is wrong, or the fragment has a hook of that name.
        """

        def decorate(fn: Callable[[HookContext, Any], Any]) -> HookDefinition[Any]:
            hook = define_hook(fn, HookOptions(**options))
            _add(self.hooks, hook.name, hook, f"hook of {self!r}")
            return hook

        return decorate if fn is None else decorate(fn)

    def route(self, method: str, path: str, *, kind: str = "read") -> Callable[[F], F]:
        """Make ``def fn(tx, …)`` answer requests at ``/fragments/<name>/…`` of ``app.routes()``.

        It is called as a service is, in a transaction of the engine's own. Parameters that the path names come from
        there, one that is a model is the JSON body, others come from the query; what it returns is the answer. An
        error of keepstep's becomes a problem; ``RefusedError`` says one of the fragment's own.

        Args:
            method: ``"GET"``, ``"POST"``, ``"PUT"``, ``"PATCH"`` or ``"DELETE"``.
            path: below the fragment's own, ``"/invoices/{order_id}"``.
            kind: of operation, for the host's authorization (G3): ``"read"``, ``"create"``, ``"manage"`` …

        Raises:
            UsageError: one of these is wrong, or the function's parameters do not fit; also when the fragment has a
                route of that method and path.
        """
        verb = method.upper()
        if any((each.method, each.path) == (verb, path) for each in self.routes):
            raise UsageError(f"there is a route of {self!r} at {verb} {path} already")

        def decorate(fn: F) -> F:
            self.routes.append(define_route(self, verb, path, kind, fn))
            return fn

        check_path(f"route {verb} {path} of {self!r}", path)
        return decorate

    def uses(self, other: Fragment[Any, Any]) -> None:
        """Say that this fragment calls another one's services, workflows or hooks: it must be mounted, too.

        Raises:
            UsageError: it is no fragment, or this one.
        """
        if not isinstance(other, Fragment) or other is self:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"{self!r} can use another Fragment, not {other!r}")
        if other not in self.dependencies:
            self.dependencies.append(other)

    # --- where it is mounted

    def instance(
        self,
        name: str | None = None,
        *,
        config: C | Unset = UNSET,
        uses: Iterable[Fragment[Any, Any] | FragmentInstance[Any, Any]] = (),
    ) -> FragmentInstance[C, W]:
        """One mounting of the fragment; several may stand in one app, each with its own tables and names.

        Args:
            name: ``app.<name>``; None = the fragment's own. Under another one its tables are ``<name>_<table>``.
            config: its configuration; left out = the default one.
            uses: which instances of the fragments that it uses, where there are several.

        Raises:
            UsageError: the name cannot be one, or the configuration is none of this fragment's.
        """
        return FragmentInstance(self, self.name if name is None else name, config, tuple(uses))

    def config(self, place: Place) -> C:
        """The configuration with which the fragment is mounted there.

        Args:
            place: the ``WorkflowStep``, ``StepContext``, ``Tx`` or ``HookContext`` of this fragment's code.

        Raises:
            UsageError: the code there is not of this fragment.
        """
        mount: Any = place.mount
        if getattr(mount, "fragment", None) is not self:
            raise UsageError(
                f"{self!r} is not mounted where its configuration was asked for: "
                f"{'outside fragments' if mount is None else mount!r}"
            )
        return mount.config

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Fragment[C, W]: ...
    @overload
    def __get__(self, instance: App[Any], owner: type | None = None) -> Mounted[C, W]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Fragment[C, W]: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> Any:
        """In a subclass of ``App``: the fragment as it is mounted there."""
        return _mounted(self, instance)


class FragmentInstance(Generic[C, W]):
    """One mounting of a fragment, as a host asks for it; see :meth:`Fragment.instance`."""

    def __init__(
        self,
        fragment: Fragment[C, W],
        name: str,
        config: C | Unset,
        uses: tuple[Fragment[Any, Any] | FragmentInstance[Any, Any], ...],
    ) -> None:
        expected = fragment.config_type
        if config is not UNSET and not isinstance(config, expected or type(None)):
            wanted = "no configuration" if expected is None else f"a {expected.__name__}"
            raise UsageError(f"{fragment!r} takes {wanted}, not {config!r}")
        self.fragment = fragment
        self.name = check_fragment_name(name)
        self.config = config
        self.uses = uses

    def __repr__(self) -> str:
        return f"<Fragment {self.fragment.name} as {self.name}>"

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> FragmentInstance[C, W]: ...
    @overload
    def __get__(self, instance: App[Any], owner: type | None = None) -> Mounted[C, W]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> FragmentInstance[C, W]: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> Any:
        """In a subclass of ``App``: the fragment as it is mounted there."""
        return _mounted(self, instance)


def _mounted(wanted: Any, instance: object) -> Any:
    fragment = getattr(instance, "fragment", None)
    return wanted if instance is None or fragment is None else fragment(wanted)


def _add(known: dict[str, Any], name: str, value: object, what: str) -> None:
    if name in known:
        raise UsageError(f"there is a {what} named {name!r} already")
    known[name] = value
