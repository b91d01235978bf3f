"""Where a fragment's code stands: what it may know of the app in which it was mounted, without any global (G2).

Only the shapes are here. The values are made at composition, by the layer ``fragment``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from keepstep.authoring.definition import WorkflowDefinition
    from keepstep.authoring.hooks import HookDefinition


class Mount(Protocol):
    """One mounted fragment, as its own code and the engine see it."""

    @property
    def name(self) -> str:
        """The name under which it is mounted: what its stored names begin with."""
        ...

    @property
    def config(self) -> Any:
        """What the host configured it with."""
        ...

    def workflow(self, definition: WorkflowDefinition[Any, Any]) -> WorkflowDefinition[Any, Any]:
        """A workflow of the fragment, or of one that it uses, under its stored name."""
        ...

    def hook(self, hook: HookDefinition[Any]) -> HookDefinition[Any]:
        """A hook of the fragment, or of one that it uses, under its stored name."""
        ...

    def rewritten(self, statement: Any) -> Any:
        """A SQLAlchemy statement with the fragment's tables replaced by this mount's own."""
        ...

    def open(self, target: Any) -> Any:
        """A ``Tx`` of this mount on a sync SQLAlchemy session or connection, in whose transaction it stays."""
        ...

    async def call(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call ``fn(tx, …)`` in a transaction of the engine's own."""
        ...


class Place(Protocol):
    """Anything that knows where it stands: a ``WorkflowStep``, ``StepContext``, ``Tx`` or ``HookContext``."""

    @property
    def mount(self) -> Mount | None:
        """The mounted fragment, None outside fragments."""
        ...
