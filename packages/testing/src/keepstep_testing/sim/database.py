"""The world's database: real SQLite in memory, shared by the connections of all processes, with a log of every change.

A schedule costs no schema and no compiled statement: connections are kept from schedule to schedule, and what is
between two schedules is that all rows go. Triggers write each changed row, as it was and as it is, to a table of the
oracle's own, so that a look after a commit sees what the commit changed and nothing of what was rolled back.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from sqlalchemy import create_engine

from keepstep.model.records import (
    EventRecord,
    HookRecord,
    LogRecord,
    RunnerRecord,
    RunRecord,
    StepRecord,
    TaskRecord,
)
from keepstep.store import tables
from keepstep.store.migrations import CORE

RECORDS: dict[str, Any] = {
    "run": RunRecord,
    "run_step": StepRecord,
    "event": EventRecord,
    "task": TaskRecord,
    "log": LogRecord,
    "hook": HookRecord,
    "runner": RunnerRecord,
}
"""The watched tables, without their prefix, and what their rows are."""

_WIDTH = max(len(record._fields) for record in RECORDS.values())
_NUMBERS = itertools.count(1)


class Change(NamedTuple):
    """One row that a statement changed; ``old`` is None for a new row, ``new`` for one that is gone."""

    table: str
    old: Any
    new: Any


class _Connection(sqlite3.Connection):
    """A connection that goes back to the world when it is closed."""

    back: Callable[[_Connection], None] | None = None

    def close(self) -> None:
        """Roll back and give back."""
        if self.back is None:
            super().close()
        else:
            self.back(self)


class Database:
    """One shared database in memory.

    Args:
        migrate: called with the path of an empty file, makes the schema there. None = keepstep's own tables.
        user_tables: further CREATE statements, for tables of the user's own.
    """

    def __init__(
        self, migrate: Callable[[Path], None] | None = None, user_tables: Sequence[str] = ()
    ) -> None:
        self.path = f"file:keepstep-sim-{next(_NUMBERS)}?mode=memory&cache=shared"
        self._spare: list[_Connection] = []
        self._out: dict[_Connection, None] = {}
        self._oracle = sqlite3.connect(self.path, uri=True, isolation_level=None)
        self._oracle.execute("PRAGMA synchronous = OFF")
        self._make_schema(migrate, user_tables)
        self._tables: list[str] = [
            row[0]
            for row in self._oracle.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
                f" AND name <> '{tables.migration.name}' ORDER BY name"
            )
        ]
        self._seen = 0

    # --- connections

    def connect(self, path: str = "", cache_kib: int = 0) -> _Connection:
        """A connection of a process: a used one if there is any, so that its statements are compiled already."""
        if self._spare:
            connection = self._spare.pop()
        else:
            connection = sqlite3.connect(
                self.path,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
                uri=True,
                factory=_Connection,
            )
            connection.execute("PRAGMA synchronous = OFF")
        connection.back = self._take_back
        self._out[connection] = None
        return connection

    def _take_back(self, connection: _Connection) -> None:
        if connection in self._out:
            del self._out[connection]
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._spare.append(connection)

    def cut(self) -> None:
        """Take all connections back; what was not committed is rolled back."""
        for connection in list(self._out):
            self._take_back(connection)

    def reset(self) -> None:
        """Empty: what the last schedule left goes, whoever had connections has none."""
        self.cut()
        self._oracle.execute("BEGIN")
        for name in self._tables:
            self._oracle.execute(f'DELETE FROM "{name}"')
        self._oracle.execute("DELETE FROM oracle_change")
        self._oracle.execute("COMMIT")
        self._seen = 0

    # --- looking

    def changes(self) -> list[Change]:
        """What commits changed since the last look, in order."""
        rows = self._oracle.execute("SELECT * FROM oracle_change WHERE n > ?", (self._seen,)).fetchall()
        if not rows:
            return []
        self._seen = rows[-1][0]
        found: list[Change] = []
        for row in rows:
            record = RECORDS[row[1]]
            width = len(record._fields)
            old = None if row[2] == "I" else record._make(row[3 : 3 + width])
            new = None if row[2] == "D" else record._make(row[3 + _WIDTH : 3 + _WIDTH + width])
            found.append(Change(row[1], old, new))
        return found

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds, beside all processes."""
        return self._oracle.execute(sql).fetchall()

    def digest(self) -> str:
        """All rows of all tables as text: equal for equal schedules."""
        return "\n".join(
            f"{name} {row!r}"
            for name in self._tables
            for row in self.rows(f'SELECT * FROM "{name}" ORDER BY 1, 2')
        )

    # --- schema

    def _make_schema(self, migrate: Callable[[Path], None] | None, user_tables: Sequence[str]) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "template.db"
            (migrate or _migrate_core)(path)
            template = sqlite3.connect(path)
            template.backup(self._oracle)
            template.close()
        self._oracle.execute("PRAGMA journal_mode = MEMORY")
        for statement in user_tables:
            self._oracle.execute(statement)
        columns = ", ".join(f"{side}{n}" for side in ("o", "w") for n in range(_WIDTH))
        self._oracle.execute(f"CREATE TABLE oracle_change (n INTEGER PRIMARY KEY, tbl, op, {columns})")
        for name, record in RECORDS.items():
            for op, event in (("I", "INSERT"), ("U", "UPDATE"), ("D", "DELETE")):
                self._oracle.execute(_trigger(name, record._fields, op, event))


def refusal(code: str, text: str) -> sqlite3.OperationalError:
    """An error as SQLite raises it: ``BUSY``, ``FULL``, ``IOERR``, ``READONLY``."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{code}")
    return error


def _trigger(name: str, fields: Sequence[str], op: str, event: str) -> str:
    old = [f'old."{field}"' if op != "I" else "NULL" for field in fields]
    new = [f'new."{field}"' if op != "D" else "NULL" for field in fields]
    padding = ["NULL"] * (_WIDTH - len(fields))
    values = ", ".join([*old, *padding, *new, *padding])
    return (
        f'CREATE TRIGGER "oracle_{name}_{op}" AFTER {event} ON "{tables.PREFIX}{name}" BEGIN'
        f" INSERT INTO oracle_change VALUES (NULL, '{name}', '{op}', {values}); END"
    )


def _migrate_core(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    tables.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(
            tables.migration.insert().values(fragment=CORE.fragment, revision=CORE.head, applied_at=0)
        )
    engine.dispose()
