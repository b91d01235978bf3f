"""What the engine asks of a store: one protocol that both executors keep and the conformance suite tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar

from keepstep.store.script import Script

T = TypeVar("T")

Mode = Literal["write", "read", "single"]
"""``write``: one transaction. ``read``: nothing is written; each statement sees one snapshot, two of them maybe not the
same one. ``single``: the script makes exactly one call, which is its own transaction (one round trip on PostgreSQL)."""


class Store(Protocol):
    """Runs scripts, each in one transaction, with errors translated to ``StoreError``s."""

    @property
    def dialect(self) -> Literal["sqlite", "postgresql"]:
        """Which database it is: scripts that differ take it as their first argument."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a transaction is on its way: the committer gathers meanwhile."""
        ...

    async def open(self) -> None:
        """Connect; raises ``StoreUnavailableError`` when the database cannot be reached. Idempotent."""
        ...

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        ...

    async def transaction(self, label: str, script: Script[T], mode: Mode = "write") -> T:
        """Run ``script`` in one transaction and return its result once that is durable.

        Raises:
            StoreUnavailableError: the connection broke; the outcome of a commit under way is unknown.
            StoreConflictError: serialization failure, deadlock or lock timeout; nothing was written.
            IntegrityError: a constraint refused; nothing was written.
        """
        ...

    async def listen(self, on_hint: Callable[[], None]) -> None:
        """Call ``on_hint`` on the host's loop when another process may have made work (a hint, never a promise)."""
        ...

    def hint(self) -> None:
        """Tell other processes that there may be work; coalesced, after commit, never inside a transaction."""
        ...
