"""The transaction in which a service works: one shape wherever it comes from (G1).

The engine's own, a host's sync or async transaction, or a step's boundary: a service cannot tell, and need not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Connection

from keepstep.authoring.definition import WorkflowDefinition
from keepstep.authoring.hooks import HookDefinition
from keepstep.authoring.mount import Mount

if TYPE_CHECKING:
    from keepstep.authoring.definition import WorkflowEntrypoint
    from keepstep.fragment.definition import Fragment
    from keepstep.sync.binding import SyncBinding
    from keepstep.sync.bindings import SyncBindings

P = TypeVar("P")
R = TypeVar("R")


class Tx(Protocol):
    """A transaction of a mounted fragment; the first argument of a service.

    All that is done through it commits together, with whatever else the transaction holds, or not at all. Its methods
    are plain functions, also in an async host's transaction. It ends with the call that was given it.
    """

    @property
    def mount(self) -> Mount:
        """Where the fragment is mounted; ``fragment.config(tx)`` reads its configuration."""
        ...

    @property
    def connection(self) -> Connection:
        """The SQLAlchemy connection, for what :meth:`execute` does not do. It knows the tables of no instance."""
        ...

    @property
    def workflows(self) -> SyncBindings:
        """The fragment's workflows by key: ``tx.workflows.collect.create(…)``."""
        ...

    def binding(
        self, workflow: WorkflowDefinition[P, R] | type[WorkflowEntrypoint[P, R]]
    ) -> SyncBinding[P, R]:
        """A workflow of the fragment or of one that it uses, typed by its definition.

        Raises:
            WorkflowNotFoundError: it is neither.
        """
        ...

    def execute(
        self, statement: Any, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> Any:
        """Execute a SQLAlchemy statement; the fragment's tables mean those of this instance.

        Args:
            statement: a Core or ORM statement.
            parameters: for its bind parameters; a sequence of them executes it once for each.

        Returns:
            SQLAlchemy's result.
        """
        ...

    def trigger_hook(
        self,
        hook: HookDefinition[P],
        payload: P,
        *,
        at: datetime | None = None,
        key: str | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> str:
        """Have a hook called after the commit, at least once (F1).

        Args:
            hook: of the fragment, or of one that it uses.
            payload: a value of the hook's annotated type.
            at: not before this instant; None = at once.
            key: collapses duplicates: of those that are pending the one that is due first stays.
            trace: headers with a W3C trace context; None = that of the running code.

        Returns:
            The id of the row: of the one that stays.

        Raises:
            UsageError: the hook is of a fragment that this one does not use.
            HookPayloadError, SerializationError, PayloadTooLargeError: the payload cannot be stored.
        """
        ...

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the transaction has committed, if the process lives then. For hints, not for work."""
        ...

    def within(self, fragment: Fragment[Any, Any]) -> Tx:
        """The same transaction, as a fragment that this one uses sees it.

        Raises:
            UsageError: this one does not use it.
        """
        ...
