"""Verbs in a host's own sync transaction: ``app.using(session)`` with plain functions (G1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from keepstep.authoring.registry import Registry
from keepstep.client.bound import Workflow
from keepstep.client.hosted import HostTransaction, must_have_ended
from keepstep.client.mint import Mint
from keepstep.client.verbs import Create, Transact
from keepstep.fragment.composition import Composition
from keepstep.model.outcome import Standing
from keepstep.store.host import SyncTarget
from keepstep.sync.binding import SyncBinding
from keepstep.sync.bindings import SyncBindings, sync_binding_of
from keepstep.sync.mounted import SyncFragmentAttributes

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")


class SyncHostPort:
    """Each verb in the transaction of a sync session or connection."""

    def __init__(self, target: SyncTarget, transaction: HostTransaction) -> None:
        self._target = target
        self._transaction = transaction

    def run(self, verb: Transact[T]) -> T:
        """Run a script in the host's transaction."""
        return self._transaction.run(self._target, verb).answer

    def create(self, verb: Create) -> list[str]:
        """Begin instances with the host's commit."""
        return verb.judge(self._transaction.run(self._target, verb).answer)

    def ended(self, look: Transact[Standing], timeout_ms: int | None) -> Standing:  # noqa: ARG002  # nothing waits here
        """Give a run that has ended; one that has not is refused, because waiting would hold the transaction."""
        return must_have_ended(self.run(look))

    def work(self, work: Callable[[SyncTarget], T]) -> T:
        """Call sync work on the host's transaction."""
        return work(self._target)


class SyncHosted(SyncFragmentAttributes):
    """The app in a host's sync transaction.

    Attributes:
        workflows: the app's bindings; their verbs are plain functions that write in the host's transaction.
    """

    def __init__(self, port: SyncHostPort, registry: Registry, mint: Mint, composition: Composition) -> None:
        self._port = port
        self._registry = registry
        self._mint = mint
        self._composition = composition
        self.workflows = SyncBindings(registry, port, mint)

    def binding(self, definition: Workflow[P, R]) -> SyncBinding[P, R]:
        """The binding of a workflow, typed by it.

        Raises:
            WorkflowNotFoundError: the app does not have it.
        """
        return sync_binding_of(self._registry, definition, self._port, self._mint)
