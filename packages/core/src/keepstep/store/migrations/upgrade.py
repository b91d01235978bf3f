"""Applies revisions with Alembic: one transaction under one lock, so that it is done once and wholly or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, NullPool, bindparam, create_engine, event, select, text
from sqlalchemy.dialects.postgresql import insert

from keepstep.errors import UsageError
from keepstep.store.address import MEMORY, Address
from keepstep.store.errors import translated
from keepstep.store.migrations import Line, wrong_version
from keepstep.store.statement import db_now
from keepstep.store.tables import migration

LOCK_KEY = 0x6B65_6570_7374_6570
"""Of the advisory lock that migrating processes take in turn."""
WAIT_S = 300
"""How long a SQLite database that others migrate or write is waited for."""

_insert = insert(migration).values(
    fragment=bindparam("of"), revision=bindparam("to", type_=migration.c.revision.type), applied_at=db_now()
)
_RECORD = _insert.on_conflict_do_update(
    index_elements=[migration.c.fragment],
    set_={"revision": _insert.excluded.revision, "applied_at": _insert.excluded.applied_at},
)


async def upgrade(address: Address, lines: Sequence[Line]) -> None:
    """Bring the lines to their heads; see :func:`keepstep.store.migrations.migrate`."""
    with translated("migrate"):
        if address.dialect == "sqlite":
            await asyncio.to_thread(_upgrade_sqlite, address.location, lines)
        else:
            await _upgrade_postgresql(address.location, lines)


def _upgrade_sqlite(path: str, lines: Sequence[Line]) -> None:
    if path == MEMORY:
        raise UsageError("a database in memory cannot be migrated by a second connection: use a file")
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": WAIT_S})
    _begin_as_writer(engine)
    with engine.begin() as connection:
        apply(connection, lines)


def _begin_as_writer(engine: Engine) -> None:
    """Whoever writes first has the lock, and Python's driver does not commit before each CREATE."""

    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)


async def _upgrade_postgresql(dsn: str, lines: Sequence[Line]) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415  # it needs greenlet, SQLite does not

    from keepstep.store.postgres import connect_plainly  # noqa: PLC0415  # likewise asyncpg

    async def connect(*_: Any, **_options: Any) -> Any:
        return await connect_plainly(dsn)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)").bindparams(key=LOCK_KEY))
        await connection.run_sync(apply, lines)


def apply(connection: Connection, lines: Sequence[Line]) -> None:
    """Apply what is missing, in the transaction of ``connection``, which holds the lock.

    Raises:
        SchemaVersionError: a line's revision is not one that this code knows.
    """
    migration.create(connection, checkfirst=True)
    for line in lines:
        current = connection.scalar(select(migration.c.revision).where(migration.c.fragment == line.fragment))
        if current != line.head:
            _apply_line(connection, line, current)


def _apply_line(connection: Connection, line: Line, current: str | None) -> None:
    if line.folder is None:
        _create(connection, line, current)
    else:
        _upgrade_line(connection, line, line.folder, current)
    connection.execute(_RECORD, {"of": line.fragment, "to": line.head, "now": None})


def _create(connection: Connection, line: Line, current: str | None) -> None:
    """The first revision of a fragment without revisions: its tables."""
    if current is not None:
        raise wrong_version(line, current)
    assert line.metadata is not None, f"the line of {line.fragment!r} has neither revisions nor tables"
    line.metadata.create_all(connection)


def _upgrade_line(connection: Connection, line: Line, folder: Path, current: str | None) -> None:
    scripts = ScriptDirectory(str(folder), version_locations=[str(folder)])
    if current is not None and current not in {each.revision for each in scripts.walk_revisions()}:
        raise wrong_version(line, current)
    missing = reversed(list(scripts.iterate_revisions(line.head, current or "base")))
    opts = {"keepstep_prefix": line.prefix}
    with Operations.context(MigrationContext.configure(connection, opts=opts)):
        for revision in missing:
            revision.module.upgrade()
