"""Scripts on the host's own SQLAlchemy transaction, sync or async (G1).

The host begins and ends the transaction; nothing here commits or rolls back. A failed statement leaves a PostgreSQL
transaction unusable, as any other would: the host rolls back. What is to follow the host's commit is in
``aftermath.py``, sessions of our own are in ``sessions.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from sqlalchemy import Connection, Dialect, TextClause, bindparam, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from keepstep.errors import UsageError
from keepstep.store.clock import Clock
from keepstep.store.errors import translated
from keepstep.store.script import Call, Row, Script
from keepstep.store.statement import DialectName, Statement

if (
    TYPE_CHECKING
):  # the first needs greenlet, the second is a sixth of a start's time: not everybody has or uses them
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session

T = TypeVar("T")

SyncTarget: TypeAlias = "Connection | Session"


def dialect_of(target: object) -> DialectName:
    """Which database a host's transaction is on.

    Raises:
        UsageError: it is another one, or ``target`` is no SQLAlchemy connection or session.
    """
    sync = sync_target(target)
    name = connection_of(sync).dialect.name
    if name in {"sqlite", "postgresql"}:
        return cast("DialectName", name)
    raise UsageError(f"this connection's database is {name!r}: keepstep works on SQLite and PostgreSQL")


def is_async(target: object) -> bool:
    """Whether scripts on ``target`` are awaited (:func:`run_async`)."""
    return sync_target(target) is not target and not _is_orm(target, "scoped_session")


def sync_target(target: object) -> SyncTarget:
    """The sync object behind a host's connection or session.

    Raises:
        UsageError: ``target`` is no SQLAlchemy connection or session, or is closed.
    """
    if _is_orm(target, "scoped_session"):
        return cast("Callable[[], Session]", target)()
    inner = getattr(target, "sync_session", None) or getattr(target, "sync_connection", target)
    if isinstance(inner, Connection) or _is_orm(inner, "Session"):
        return cast("SyncTarget", inner)
    raise UsageError(
        f"{type(target).__name__} is no open SQLAlchemy transaction: "
        "give a Connection, Session, AsyncConnection or AsyncSession"
    )


def connection_of(target: SyncTarget) -> Connection:
    """The connection on which a transaction is."""
    return target if isinstance(target, Connection) else target.connection()


def _is_orm(target: object, name: str) -> bool:
    """Whether ``target`` is of a class of SQLAlchemy's ORM; nobody has one who has not imported that."""
    orm = sys.modules.get("sqlalchemy.orm")
    return orm is not None and isinstance(target, getattr(orm, name))


def run_sync(target: SyncTarget, script: Script[T], clock: Clock | None = None) -> T:
    """Run a script in the transaction of a sync connection or session (G1).

    Args:
        target: the host's; a transaction begins by itself if none has.
        script: the work; may be several calls.
        clock: for simulations and SQLite; None is the database's own clock.

    Raises:
        StoreError: the database refused; the host must roll back.
    """
    connection = connection_of(sync_target(target))
    try:
        call = next(script)
        while True:
            with translated(call.statement.label):
                rows = _execute(connection, call, clock)
            call = script.send(rows)
    except StopIteration as done:
        return done.value
    finally:
        script.close()


async def run_async(
    target: AsyncConnection | AsyncSession, script: Script[T], clock: Clock | None = None
) -> T:
    """Do the same in the transaction of an async connection or session."""

    def run(sync: SyncTarget) -> T:
        return run_sync(sync, script, clock)

    return await target.run_sync(cast("Any", run))


def _execute(connection: Connection, call: Call, clock: Clock | None) -> Sequence[Row]:
    statement, params = call
    clause, takes_now = _hosted(statement, connection.dialect.name)
    if isinstance(params, Mapping):
        given = dict(params)
        if takes_now and clock is not None:
            given.setdefault("now", clock.now_ms())
        result = connection.execute(clause, given)
        return result.all() if result.returns_rows else ()
    if params:
        connection.execute(clause, [dict(zip(statement.order, row, strict=True)) for row in params])
    return ()


_DIALECTS: dict[str, Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": PGDialect(paramstyle="named"),
}


@lru_cache(maxsize=1024)
def _hosted(statement: Statement, dialect: str) -> tuple[TextClause, bool]:
    """The statement as text with typed parameters, and whether it takes ``now``.

    Given a Core construct and parameters, SQLAlchemy takes those that are called like a column for values to set; an
    executor binds by name and sets nothing that the text does not.
    """
    clause = cast("ClauseElement", statement.clause)
    compiled = cast("SQLCompiler", clause.compile(dialect=_DIALECTS[dialect]))
    binds = [bindparam(name, None, type_=bind.type) for name, bind in compiled.binds.items()]
    return text(str(compiled)).bindparams(*binds), "now" in compiled.binds
