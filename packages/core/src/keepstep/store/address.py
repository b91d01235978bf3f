"""Where a database is: what a host gives its app, as the executors take it. No connection is opened here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from sqlalchemy import Engine, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from keepstep.errors import UsageError
from keepstep.store.statement import DialectName

if TYPE_CHECKING:  # it needs greenlet, which a sync host on SQLite does not install
    from sqlalchemy.ext.asyncio import AsyncEngine

Database: TypeAlias = "str | Path | Engine | AsyncEngine"
"""What an app may be given."""

MEMORY = ":memory:"

_EXPECTED = "expected sqlite:///path or postgresql://user@host/database"


class Address(NamedTuple):
    """A dialect, and a SQLite path or a PostgreSQL DSN with its password."""

    dialect: DialectName
    location: str

    def __repr__(self) -> str:
        return f"Address({self.dialect!r}, {re.sub(r':[^:@/]*@', ':***@', self.location)!r})"


def url_of(database: object) -> Address:
    """Normalise what an app was given.

    Args:
        database: a URL (any driver's), the path of a SQLite file, or a SQLAlchemy engine.

    Raises:
        UsageError: it is another database, or cannot be read.
    """
    engine = getattr(database, "sync_engine", database)
    if isinstance(engine, Engine):
        return _of_url(engine.url)
    if isinstance(database, Path):
        return Address("sqlite", str(database))
    if isinstance(database, str):
        return _of_text(database)
    raise UsageError(
        f"a database is a URL or a SQLAlchemy engine, not {type(database).__name__}: {_EXPECTED}"
    )


def _of_text(text: str) -> Address:
    if re.match(
        r"postgres(ql)?(\+\w+)?://", text
    ):  # not parsed: asyncpg and libpq take several hosts, others do not
        return Address("postgresql", dsn_of(text))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise UsageError(f"the database URL cannot be read: {_EXPECTED}") from error
    return _of_url(url)


def _of_url(url: URL) -> Address:
    match url.get_backend_name():
        case "sqlite":
            return Address("sqlite", url.database or MEMORY)
        case "postgresql":
            return Address("postgresql", _dsn_of_url(url))
        case other:
            raise UsageError(f"keepstep does not work on {other!r}: {_EXPECTED}")


def _dsn_of_url(url: URL) -> str:
    """SQLAlchemy writes several hosts as ``?host=a:5432&host=b:5432``; a DSN as ``a:5432,b:5432``."""
    hosts = url.query.get("host")
    if hosts is None:
        return dsn_of(url.render_as_string(hide_password=False))
    named = hosts if isinstance(hosts, str) else ",".join(hosts)
    alone = url.set(host="keepstep.invalid").difference_update_query(["host"])
    return dsn_of(alone.render_as_string(hide_password=False).replace("keepstep.invalid", named, 1))


def dsn_of(url: str) -> str:
    """A PostgreSQL URL without SQLAlchemy's driver name, as asyncpg and libpq take it.

    Raises:
        UsageError: it is no PostgreSQL URL.
    """
    found = re.match(r"postgres(?:ql)?(?:\+\w+)?://", url)
    if found is None:
        raise UsageError(f"not a PostgreSQL URL: {url.partition('://')[0]}://…; {_EXPECTED}")
    return "postgresql://" + re.sub(r"([?&])ssl=", r"\1sslmode=", url[found.end() :])
