"""Transactions of the engine's own in which sync code works with SQLAlchemy: what services run in (G1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from keepstep.engine.backoff import Backoff
from keepstep.engine.workers import Workers
from keepstep.errors import StoreConflictError, UsageError
from keepstep.store.errors import translated
from keepstep.store.sessions import Sessions

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

T = TypeVar("T")

TRIES_MAX = 8
"""How often work is tried again after a conflict with another transaction."""


class OwnTransactions:
    """Runs sync work in transactions.

    Args:
        sessions: where they are opened; None = nowhere.
        workers: where work runs that would block the loop.
    """

    def __init__(self, sessions: Sessions | None, workers: Workers) -> None:
        self._sessions = sessions
        self._workers = workers

    async def run(self, work: Callable[[Session], T]) -> T:
        """Call ``work`` with a session, and commit. It is called again after a conflict with another transaction.

        Raises:
            StoreUnavailableError: the database is away; whether the write took place is unknown.
            StoreConflictError: still in conflict after some tries.
            IntegrityError: a constraint refused.
        """
        if self._sessions is None:
            raise UsageError("this engine was made without a database for transactions of its own")
        backoff = Backoff(first=0.005, longest=0.1)
        for tries_left in range(TRIES_MAX - 1, -1, -1):
            try:
                return await self._once(self._sessions, work)
            except StoreConflictError:
                if not tries_left:
                    raise
                await backoff.wait()
        raise AssertionError("the last try returns or raises")

    async def _once(self, sessions: Sessions, work: Callable[[Session], T]) -> T:
        with translated("service"):
            if sessions.prefers_loop:
                return await sessions.run_on_loop(work)
            return await self._workers.run(sessions.run_sync, work)
