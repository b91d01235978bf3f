"""Schema versions: is the database what this code was written for, and if not, make it so.

The check is one row, read through the store; Alembic is imported only when there is something to do. Each fragment has
a line of revisions of its own in ``keepstep_migration``, whose names sort by age. Several processes may migrate at
once: one does it, the others wait and find it done. ``upgrade.py`` does it, ``versions/`` says what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import MetaData, bindparam, select

from keepstep.errors import SchemaVersionError
from keepstep.store.address import Database, url_of
from keepstep.store.api import Store
from keepstep.store.script import Call, Script
from keepstep.store.statement import Statement
from keepstep.store.tables import migration


@dataclass(frozen=True, slots=True)
class Line:
    """One fragment's revisions.

    Attributes:
        fragment: whose tables these are.
        head: the newest revision; what this code needs.
        folder: Alembic revision files; None when ``metadata`` is the first revision.
        metadata: the tables of the first revision.
        prefix: what the tables of this mount begin with (G2).
    """

    fragment: str
    head: str
    folder: Path | None
    metadata: MetaData | None = None
    prefix: str = ""


CORE = Line("keepstep", "0003", Path(__file__).parent / "versions")
"""keepstep's own tables."""

READ_REVISION = Statement(
    select(migration.c.revision).where(migration.c.fragment == bindparam("fragment")), "check schema version"
)


def check(line: Line = CORE) -> Script[None]:
    """See that the line's schema is the one this code needs: one row, one round trip.

    Raises:
        SchemaVersionError: it is older or missing (migrate), or newer (deploy newer code).
    """
    found = yield Call(READ_REVISION, {"fragment": line.fragment})
    revision: str | None = found[0][0] if found else None
    if revision != line.head:
        raise wrong_version(line, revision)


def wrong_version(line: Line, revision: str | None) -> SchemaVersionError:
    """The error that says what to do about a revision that is not the line's head."""
    if revision is not None and revision > line.head:
        return SchemaVersionError(
            f"the database has schema {revision} of {line.fragment!r}, newer than this code's {line.head}: "
            "deploy code that knows it; nothing was changed"
        )
    has = f"has schema {revision}" if revision else "has no tables"
    return SchemaVersionError(
        f"the database {has} of {line.fragment!r}, this code needs {line.head}: call app.migrate()"
    )


async def migrate(database: Database, *lines: Line) -> None:
    """Bring the lines (by default keepstep's own) to their heads. What is there already is left alone.

    Safe beside other processes that do the same, and beside runners of the version before.

    Args:
        database: what an app may be given: a URL or an engine. An engine's URL is used, not its connections.
        *lines: which schemas.

    Raises:
        SchemaVersionError: the database is newer than this code.
        StoreUnavailableError: it cannot be reached.
    """
    from keepstep.store.migrations.upgrade import upgrade  # noqa: PLC0415  # Alembic takes longer than most starts

    await upgrade(url_of(database), lines or (CORE,))


async def prepare(store: Store, lines: Sequence[Line], *, migrating: Database | None) -> None:
    """See through an open store that every schema is the one this code needs; else migrate.

    Args:
        store: an open one.
        lines: the schemas.
        migrating: the store's database; None = nothing may be migrated.

    Raises:
        SchemaVersionError: the database is newer than this code; or older, and nothing may be migrated.
    """
    for line in lines:
        try:
            await store.transaction("check schema version", check(line), "read")
        except SchemaVersionError:
            if migrating is None:
                raise
            await migrate(migrating, line)
