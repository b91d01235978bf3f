"""The transaction that services get: on a sync SQLAlchemy session or connection, whoever began it (G1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection

from keepstep.authoring.definition import definition_of
from keepstep.authoring.hooks import HookDefinition
from keepstep.client.bound import Workflow
from keepstep.client.hosted import HostTransaction
from keepstep.client.mint import Mint
from keepstep.client.verbs import BindingVerbs, Transact
from keepstep.fragment.definition import Fragment
from keepstep.fragment.mount import FragmentMount
from keepstep.fragment.tx import Tx
from keepstep.services.hooks import read_trigger, trigger
from keepstep.store.aftermath import after_commit
from keepstep.store.host import SyncTarget, connection_of, sync_target
from keepstep.sync.binding import SyncBinding
from keepstep.sync.bindings import SyncBindings
from keepstep.sync.hosted import SyncHostPort

P = TypeVar("P")
R = TypeVar("R")


class OpenTx:
    """Implements :class:`keepstep.fragment.tx.Tx`, where its methods are described.

    Args:
        mount: the fragment whose code uses it.
        target: the session or connection.
        transaction: what the app does in transactions that it is given.
        mint: fresh keys.
    """

    def __init__(
        self, mount: FragmentMount, target: SyncTarget, transaction: HostTransaction, mint: Mint
    ) -> None:
        self._mount = mount
        self._target = sync_target(target)
        self._transaction = transaction
        self._mint = mint
        self._port = SyncHostPort(self._target, transaction)

    def __repr__(self) -> str:
        return f"<Tx of {self._mount.name}>"

    @property
    def mount(self) -> FragmentMount:
        """See ``Tx``."""
        return self._mount

    @property
    def connection(self) -> Connection:
        """See ``Tx``."""
        return connection_of(self._target)

    @property
    def workflows(self) -> SyncBindings:
        """See ``Tx``."""
        return SyncBindings(self._mount.registry, self._port, self._mint)

    def binding(self, workflow: Workflow[P, R]) -> SyncBinding[P, R]:
        """See ``Tx``."""
        stored = self._mount.workflow(definition_of(workflow))
        return SyncBinding(self._port, BindingVerbs(stored, self._mint))

    def execute(
        self, statement: Any, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> Any:
        """See ``Tx``."""
        return self._target.execute(self._mount.rewritten(statement), parameters)

    def trigger_hook(
        self,
        hook: HookDefinition[P],
        payload: P,
        *,
        at: datetime | None = None,
        key: str | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> str:
        """See ``Tx``."""
        stored, mint = self._mount.hook(hook), self._mint
        wanted = read_trigger(stored, payload, mint.run_id(), mint.limits, at=at, key=key, trace=trace)
        hook_id = self._port.run(Transact("trigger hook", "write", lambda _: trigger(wanted)))
        self._transaction.wake_after(self._target)
        return hook_id

    def after_commit(self, callback: Callable[[], None]) -> None:
        """See ``Tx``."""
        after_commit(self._target, callback)

    def within(self, fragment: Fragment[Any, Any]) -> Tx:
        """See ``Tx``."""
        mount = self._mount.within(fragment)
        return self if mount is self._mount else OpenTx(mount, self._target, self._transaction, self._mint)
