"""One mounted fragment: its stored names, its tables, its configuration, the fragments that it uses (G2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from keepstep.authoring.definition import WorkflowDefinition
from keepstep.authoring.hooks import HookDefinition
from keepstep.authoring.registry import Registry, Stored
from keepstep.errors import UsageError, WorkflowNotFoundError
from keepstep.fragment.definition import Fragment
from keepstep.fragment.names import stored_name
from keepstep.fragment.tables import Tables
from keepstep.fragment.tx import Tx
from keepstep.model.ids import check_hook_name, check_workflow_name
from keepstep.store.migrations import Line
from keepstep.store.migrations.lines import fragment_line


class Transactions(Protocol):
    """How an app gives its fragments transactions."""

    def open(self, mount: FragmentMount, target: Any) -> Tx:
        """A transaction of the mount on a sync SQLAlchemy session or connection."""
        ...

    async def call(self, mount: FragmentMount, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """``fn(tx, …)`` in a transaction of the engine's own."""
        ...


class FragmentMount:
    """Implements :class:`keepstep.authoring.mount.Mount`.

    Args:
        fragment: what is mounted.
        name: under which name.
        config: with which configuration.
        transactions: the app's.
        stored: what a workflow of this name is in the app.

    Attributes:
        registry: its workflows under their stored names.
        hooks: its hooks by stored name.
        stored_hooks: the same, by what their author wrote.
        line: its schema's version line; None without a schema.
        uses: the mounts of the fragments that it uses; filled in by the composition.

    Raises:
        UsageError: a stored name is too long.
    """

    def __init__(
        self,
        fragment: Fragment[Any, Any],
        name: str,
        config: Any,
        transactions: Transactions,
        stored: Stored = lambda definition: definition,
    ) -> None:
        self.fragment = fragment
        self.name = name
        self.config = config
        self.uses: dict[Fragment[Any, Any], FragmentMount] = {}
        self._transactions = transactions
        self._in_app = stored
        prefix = "" if name == fragment.name else f"{name}_"
        self._tables = Tables(fragment.schema, prefix)
        self.line: Line | None = fragment_line(name, fragment.revisions, self._tables.metadata, prefix)
        self.registry = Registry(fragment.workflows, stored=self._stored, may_be_empty=True)
        self.stored_hooks = {
            each: replace(each, name=check_hook_name(stored_name(name, each.name)), mount=self)
            for each in fragment.hooks.values()
        }
        self.hooks: Mapping[str, HookDefinition[Any]] = {
            each.name: each for each in self.stored_hooks.values()
        }

    def __repr__(self) -> str:
        return f"<{self.fragment.name} mounted as {self.name}>"

    def workflow(self, definition: WorkflowDefinition[Any, Any]) -> WorkflowDefinition[Any, Any]:
        """See :class:`keepstep.authoring.mount.Mount`.

        Raises:
            WorkflowNotFoundError: it belongs to no fragment that is used here.
        """
        for mount in (self, *self.uses.values()):
            found = mount.registry.known(definition)
            if found is not None:
                return found
        raise WorkflowNotFoundError(
            f"workflow {definition.name!r} is neither of {self!r} nor of a fragment that it uses"
        )

    def hook(self, hook: HookDefinition[Any]) -> HookDefinition[Any]:
        """See :class:`keepstep.authoring.mount.Mount`.

        Raises:
            UsageError: it belongs to no fragment that is used here.
        """
        for mount in (self, *self.uses.values()):
            found = mount.stored_hooks.get(hook)
            if found is not None:
                return found
        raise UsageError(f"{hook!r} is neither of {self!r} nor of a fragment that it uses")

    def within(self, fragment: Fragment[Any, Any]) -> FragmentMount:
        """The mount of ``fragment`` that code here means: this one, or the one that is used.

        Raises:
            UsageError: it is not used here.
        """
        if fragment is self.fragment:
            return self
        if fragment not in self.uses:
            raise UsageError(
                f"{self!r} does not use {fragment!r}: say {self.fragment.name}.uses({fragment.name}) where it is defined"
            )
        return self.uses[fragment]

    def rewritten(self, statement: Any) -> Any:
        """See :class:`keepstep.authoring.mount.Mount`."""
        return self._tables.rewritten(statement)

    def open(self, target: Any) -> Tx:
        """See :class:`keepstep.authoring.mount.Mount`."""
        return self._transactions.open(self, target)

    async def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """See :class:`keepstep.authoring.mount.Mount`."""
        return await self._transactions.call(self, fn, args, kwargs)

    def _stored(self, definition: WorkflowDefinition[Any, Any]) -> WorkflowDefinition[Any, Any]:
        name = check_workflow_name(stored_name(self.name, definition.name))
        return self._in_app(replace(definition, name=name, mount=self))
