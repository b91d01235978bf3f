"""How verbs reach the database from sync code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from keepstep.client.ports import DatabasePort
from keepstep.client.verbs import Create, Transact
from keepstep.model.outcome import Standing
from keepstep.store.host import SyncTarget
from keepstep.sync.portal import Portal

T = TypeVar("T")


class SyncPort(Protocol):
    """Runs verbs for sync callers; as :class:`keepstep.client.ports.Port`."""

    def run(self, verb: Transact[T]) -> T:
        """Run a script in a transaction, and wake whom its commit concerns."""
        ...

    def create(self, verb: Create) -> list[str]:
        """Begin instances; the ids of the answer."""
        ...

    def ended(self, look: Transact[Standing], timeout_ms: int | None) -> Standing:
        """Wait until the run that ``look`` reads has ended; raises ``ResultTimeoutError``."""
        ...


class SyncDatabasePort(SyncPort, Protocol):
    """A port that reaches the database itself; as :class:`keepstep.client.ports.DatabasePort`."""

    def work(self, work: Callable[[SyncTarget], T]) -> T:
        """Call sync work with a SQLAlchemy transaction."""
        ...


class PortalPort:
    """Each verb by an async port, on the app's loop."""

    def __init__(self, portal: Portal, port: DatabasePort) -> None:
        self._portal = portal
        self._port = port

    def run(self, verb: Transact[T]) -> T:
        """Run a script on the app's loop."""
        return self._portal.call(self._port.run, verb)

    def create(self, verb: Create) -> list[str]:
        """Begin instances on the app's loop."""
        return self._portal.call(self._port.create, verb)

    def ended(self, look: Transact[Standing], timeout_ms: int | None) -> Standing:
        """Wait on the app's loop."""
        return self._portal.call(self._port.ended, look, timeout_ms)

    def work(self, work: Callable[[SyncTarget], T]) -> T:
        """Call sync work, in a transaction that the app's loop opens."""
        return self._portal.call(self._port.work, work)
