"""Reading a database with the bare driver: what the checker sees must not depend on what it checks."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any, Protocol

import psycopg

Row = tuple[Any, ...]


class Snapshot(Protocol):
    """One moment of a database."""

    def rows(self, query: str) -> list[Row]:
        """What a query finds."""
        ...


class _Connected:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, query: str) -> list[Row]:
        return self._connection.execute(query).fetchall()


@contextlib.contextmanager
def snapshot(database: str) -> Iterator[Snapshot]:
    """All queries of the block see one moment, and nothing is written."""
    if database.startswith("sqlite"):
        with contextlib.closing(_sqlite(database)) as connection:
            connection.execute("BEGIN")
            yield _Connected(connection)
        return
    with psycopg.connect(database, connect_timeout=10) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield _Connected(connection)


def execute(database: str, statement: str) -> None:
    """Write."""
    if database.startswith("sqlite"):
        with contextlib.closing(_sqlite(database)) as connection:
            connection.execute(statement)
        return
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement.encode())


def rows(database: str, query: str) -> list[Row]:
    """What a query finds in a moment of its own."""
    with snapshot(database) as now:
        return now.rows(query)


def count(database: str, query: str) -> int:
    """The one number that a query finds."""
    return rows(database, query)[0][0]


def columns(database: str, table: str) -> list[str]:
    """The names of a table's columns."""
    if database.startswith("sqlite"):
        query = f"SELECT name FROM pragma_table_info('{table}')"
    else:
        query = f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"
    return [name for (name,) in rows(database, query)]


def _sqlite(database: str) -> sqlite3.Connection:
    return sqlite3.connect(database.removeprefix("sqlite:///"), timeout=30, isolation_level=None)
