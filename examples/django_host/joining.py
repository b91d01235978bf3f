"""Django's own transaction as a SQLAlchemy connection, so that keepstep writes in it.

Django and SQLAlchemy speak to the same drivers. What Django's connection executes is in Django's transaction, whoever
asks for it; so SQLAlchemy gets that very connection, but not the right to end the transaction: Django commits, Django
rolls back, and Django says when it has committed.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from django.db import connections, transaction
from sqlalchemy import StaticPool, create_engine

from keepstep import App
from keepstep.sync.hosted import SyncHosted

ENGINES: dict[str, dict[str, Any]] = {
    "sqlite": {"url": "sqlite://"},
    # SQLAlchemy would ask psycopg itself for PostgreSQL's hstore, which takes no connection but psycopg's own
    "postgresql": {"url": "postgresql+psycopg://", "use_native_hstore": False},
}


class Borrowed:
    """A driver's connection that only its owner may commit, roll back and close."""

    def __init__(self, owned: Any) -> None:
        self.__dict__["_owned"] = owned

    def __getattr__(self, name: str) -> Any:
        """Everything else is the connection's own."""
        return getattr(self._owned, name)

    def commit(self) -> None:
        """Leave it to the owner."""

    def rollback(self) -> None:
        """Leave it to the owner."""

    def close(self) -> None:
        """Leave it to the owner."""


@contextmanager
def joined(app: App[Any], alias: str = "default") -> Generator[SyncHosted]:
    """The app's verbs in the ``transaction.atomic()`` block around: they commit or roll back with it.

    Args:
        app: on the same database.
        alias: which of Django's databases.

    Raises:
        RuntimeError: there is no such block: each statement would commit alone.
    """
    django = connections[alias]
    if not django.in_atomic_block:
        raise RuntimeError("joined() needs a transaction: call it within transaction.atomic()")
    engine = create_engine(
        **ENGINES[django.vendor],
        creator=lambda: Borrowed(django.connection),
        poolclass=StaticPool,
        pool_reset_on_return=None,
    )
    with engine.connect() as connection:
        yield app.using(connection, on_commit=lambda call: transaction.on_commit(call, using=alias))
