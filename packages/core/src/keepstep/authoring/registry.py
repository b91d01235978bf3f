"""Which workflows an app has: by key (an attribute of ``app.workflows``) and by name (stored with instances)."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from keepstep.authoring.definition import WorkflowDefinition, WorkflowEntrypoint, definition_of
from keepstep.errors import UsageError, WorkflowNotFoundError

if TYPE_CHECKING:
    from keepstep.client.binding import Binding

P = TypeVar("P")
R = TypeVar("R")

AnyWorkflow = WorkflowDefinition[Any, Any] | type[WorkflowEntrypoint[Any, Any]]
Binder = Callable[[WorkflowDefinition[Any, Any]], Any]
"""Makes the binding of a definition in one app."""
Stored = Callable[[WorkflowDefinition[Any, Any]], WorkflowDefinition[Any, Any]]


class MissingBindingError(WorkflowNotFoundError, AttributeError):
    """No workflow has that key; also an ``AttributeError``, so that ``hasattr`` and ``getattr`` do what they say."""

    def __init__(self, key: str, known: Iterable[str]) -> None:
        super().__init__(f"no workflow has the key {key!r}; known keys are {', '.join(known) or 'none'}")
        self.name = key


class Bindings:
    """Workflows as attributes, for static types: ``class Workflows(Bindings): approval = order_approval``.

    On the class an attribute is the definition, on an app's instance (``app.workflows``) its binding.
    """

    _binder: Binder | None = None

    @classmethod
    def _bound(cls, binder: Binder) -> Bindings:
        """An instance whose attributes are bindings of one app."""
        self = cls()
        self._binder = binder
        return self

    def _bind(self, definition: WorkflowDefinition[Any, Any]) -> Any:
        if self._binder is None:
            raise UsageError(
                f"workflow {definition.name!r} is not bound to an app: use app.workflows, not {type(self).__name__}()"
            )
        return self._binder(definition)

    if not TYPE_CHECKING:  # a type checker knows the attributes, and refuses others

        def __getattr__(self, key: str) -> Any:
            """Say which keys there are; a class attribute answers first, so this one is missing."""
            raise MissingBindingError(key, _found(type(self)))


class KeyedBindings(Bindings):
    """Bindings of a registry that was given as a dict: keys are known at run time only."""

    def __getattr__(self, key: str) -> Binding[Any, Any]:
        """The binding of a key; a class attribute answers first, so this one is missing."""
        raise MissingBindingError(key, _found(type(self)))

    def __getitem__(self, key: str) -> Binding[Any, Any]:
        """The binding of a key, as ``workflows["APPROVAL"]``.

        Raises:
            WorkflowNotFoundError: no workflow has the key.
        """
        found = _found(type(self))
        if key not in found:
            raise MissingBindingError(key, found)
        return self._bind(definition_of(found[key]))


class Registry:
    """The workflows of one app or fragment.

    Args:
        workflows: a mapping of keys to workflows, or a ``Bindings`` class or instance.
        stored: what a workflow is in this registry: itself, or under another name where it is mounted.
        may_be_empty: whether there may be none.

    Attributes:
        names: the registered names, sorted.
        keys: the keys, in order.

    Raises:
        UsageError: no workflow, a bad key, a value that is no workflow, or two workflows of one name: all are listed.
    """

    def __init__(
        self,
        workflows: Mapping[str, AnyWorkflow] | type[Bindings] | Bindings,
        *,
        stored: Stored = lambda definition: definition,
        may_be_empty: bool = False,
    ) -> None:
        given, self._class = _read(workflows)
        written = _definitions(given, may_be_empty)
        self._stored = {each: stored(each) for each in written.values()}
        self._by_key = {key: self._stored[each] for key, each in written.items()}
        self._by_name = _names(self._by_key.items())
        self.names: tuple[str, ...] = tuple(sorted(self._by_name))
        self.keys: tuple[str, ...] = tuple(self._by_key)

    def known(self, definition: WorkflowDefinition[Any, Any]) -> WorkflowDefinition[Any, Any] | None:
        """A workflow as its author wrote it, or as it is here, under the name that it has here; None if it is neither."""
        return definition if definition in self._stored.values() else self._stored.get(definition)

    def own(self, definition: WorkflowDefinition[P, R]) -> WorkflowDefinition[P, R]:
        """A workflow as its author wrote it, under the name that it has here.

        Raises:
            WorkflowNotFoundError: it is not registered, or another one has its name.
        """
        found = self._stored.get(definition)
        if found is None and self.by_name(definition.name) is not definition:
            raise WorkflowNotFoundError(
                f"another workflow is registered as {definition.name!r}; pass the definition that the app was given"
            )
        return found or definition

    def joined(self, *others: Registry) -> Registry:
        """A registry that knows by name what this one and the others know; its keys are this one's.

        Raises:
            UsageError: two different workflows have one name.
        """
        both = Registry({}, may_be_empty=True)
        listed = [(each.name, each) for registry in (self, *others) for each in registry]
        both._by_name = _names(listed)
        both.names = tuple(sorted(both._by_name))
        return both

    def by_key(self, key: str) -> WorkflowDefinition[Any, Any]:
        """The workflow with this key.

        Raises:
            WorkflowNotFoundError: there is none; the known keys are listed.
        """
        if key not in self._by_key:
            raise MissingBindingError(key, self._by_key)
        return self._by_key[key]

    def by_name(self, name: str) -> WorkflowDefinition[Any, Any]:
        """The workflow with this name.

        Raises:
            WorkflowNotFoundError: there is none; the known names are listed.
        """
        if name not in self._by_name:
            raise WorkflowNotFoundError(
                f"no workflow is named {name!r}; known names are {', '.join(self.names)}"
            )
        return self._by_name[name]

    def bindings(self, binder: Binder) -> Bindings:
        """What ``app.workflows`` is: attributes are what ``binder`` makes of the definitions."""
        bound = self._class._bound  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return bound(lambda definition: binder(self._stored[definition]))

    def __iter__(self) -> Iterator[WorkflowDefinition[Any, Any]]:
        """The definitions, sorted by name."""
        return (self._by_name[name] for name in self.names)

    def __contains__(self, name: object) -> bool:
        """Whether a workflow has this name."""
        return name in self._by_name

    def __len__(self) -> int:
        return len(self._by_name)


def _read(workflows: object) -> tuple[Mapping[Any, Any], type[Bindings]]:
    """The entries of a registry and the class of its bindings."""
    if isinstance(workflows, Bindings):
        workflows = type(workflows)
    if isinstance(workflows, type) and issubclass(workflows, Bindings):
        return _found(workflows), workflows
    if isinstance(workflows, Mapping):
        given = cast("Mapping[Any, Any]", workflows)
        attributes = {key: value for key, value in given.items() if isinstance(key, str)}
        return given, type("Workflows", (KeyedBindings,), attributes)
    raise UsageError(f"workflows must be a dict of keys to workflows, or a Bindings class, not {workflows!r}")


def _found(cls: type) -> dict[str, Any]:
    """The attributes of a ``Bindings`` class, inherited ones first; private names are the class's own affair."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Bindings) and base not in {Bindings, KeyedBindings}:
            found |= {key: value for key, value in vars(base).items() if not key.startswith("_")}
    return found


def _definitions(given: Mapping[Any, Any], may_be_empty: bool) -> dict[str, WorkflowDefinition[Any, Any]]:
    found: dict[str, WorkflowDefinition[Any, Any]] = {}
    wrong: list[str] = []
    for key, value in given.items():
        try:
            found[_checked_key(key)] = definition_of(value)
        except UsageError as error:
            wrong.append(f"{key!r}: {error}")
    if wrong:
        raise UsageError("these workflows cannot be registered: " + "; ".join(wrong))
    if not found and not may_be_empty:
        raise UsageError('no workflows are registered; give at least one, like {"APPROVAL": order_approval}')
    return found


def _checked_key(key: object) -> str:
    if not isinstance(key, str) or not key.isidentifier() or keyword.iskeyword(key):
        raise UsageError("a key becomes an attribute, so it must be a Python identifier")
    if key.startswith("_"):
        raise UsageError("a key must not start with an underscore")
    if hasattr(Bindings, key):
        raise UsageError("Bindings has an attribute of that name")
    return key


def _names(
    by_key: Iterable[tuple[str, WorkflowDefinition[Any, Any]]],
) -> dict[str, WorkflowDefinition[Any, Any]]:
    by_name: dict[str, WorkflowDefinition[Any, Any]] = {}
    twice: list[str] = []
    for key, definition in by_key:
        if by_name.setdefault(definition.name, definition) is not definition:
            twice.append(f"{definition.name!r} (again under {key!r})")
    if twice:
        raise UsageError(f"two different workflows have one name: {', '.join(twice)}")
    return by_name
