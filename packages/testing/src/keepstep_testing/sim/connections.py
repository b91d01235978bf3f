"""Connections of processes to the one SQLite database of a world.

All speak through one real connection, so that every statement is compiled once, for all processes and all schedules.
That changes nothing that they see: each transaction of theirs takes the write lock first (``BEGIN IMMEDIATE``), so there
is never more than one, and who comes while there is one is refused as SQLite refuses it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

TOLD = "oracle_told"
"""The SQL function by which triggers tell what changed."""

_SETTINGS = (
    "PRAGMA journal_mode",
    "PRAGMA synchronous",
    "PRAGMA wal_autocheckpoint",
    "PRAGMA journal_size_limit",
)
"""What a store sets up for its file."""
_TURNS = ("COMMIT", "ROLLBACK", "SAVEPOINT")
_ENDS = frozenset({"COMMIT", "ROLLBACK"})

Told = tuple[Any, ...]
"""A table's name, what happened to a row, the row as it was and as it is."""


def refusal(code: str, text: str) -> sqlite3.OperationalError:
    """An error as SQLite raises it: ``BUSY``, ``FULL``, ``IOERR``, ``READONLY``."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{code}")
    return error


class SharedLine:
    """The real connection, who is in a transaction on it, and what triggers have told.

    Attributes:
        sqlite: the real connection.
        holder: whose transaction is open.
        begun: whether it is for SQLite too: one that only reads has no need of it, as nobody comes between.
        told: what triggers told of it.
    """

    __slots__ = ("_committed", "_functions", "_marks", "begun", "holder", "sqlite", "told")

    def __init__(self) -> None:
        self.sqlite = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, cached_statements=1024
        )
        self.sqlite.execute("PRAGMA secure_delete = OFF")
        self.sqlite.execute("PRAGMA temp_store = MEMORY")
        self.holder: Connection | None = None
        self.begun = False
        self.told: list[Told] = []
        self._committed: list[Told] = []
        self._marks: dict[str, int] = {}
        self._functions: set[str] = set()
        tell = self.told.append
        self.sqlite.create_function(TOLD, -1, lambda *values: tell(values))

    def load(self, path: Path) -> None:
        """Become a copy of a file."""
        file = sqlite3.connect(path)
        file.backup(self.sqlite)
        file.close()

    def committed(self) -> list[Told]:
        """What commits changed since the last time that this was asked."""
        found = self._committed
        if found:
            self._committed = []
        return found

    def forget(self) -> None:
        """Nothing was told."""
        self.told.clear()
        self._committed.clear()

    def cut(self) -> None:
        """Roll back what is open."""
        if self.holder is not None:
            self.holder.rollback()

    def enters(self, who: Connection, sql: str) -> bool:
        """Whether somebody's statement outside of a transaction begins one.

        Raises:
            sqlite3.OperationalError: ``BUSY`` or ``LOCKED``: somebody else is in a transaction.
        """
        begins = sql.startswith("BEGIN")
        if self.holder is not None:
            raise refusal("BUSY", "database is locked") if begins else refusal("LOCKED", "table is locked")
        if begins:
            self.holder, self.begun = who, False
        return begins

    def begins(self, sql: str) -> bool:
        """Whether a statement needs what is open to be a transaction for SQLite too; then it is."""
        if sql in _ENDS:
            self._ended(kept=False)
            return False
        if not sql.startswith("SELECT"):
            self.sqlite.execute("BEGIN")
            self.begun = True
        return True

    def ran(self, sql: str) -> None:
        """A statement ran that ends a transaction, sets a savepoint, goes back to one, or was one by itself."""
        if self.holder is None or sql == "COMMIT":
            self._ended(kept=True)
        elif sql == "ROLLBACK":
            self._ended(kept=False)
        else:
            name = sql.rpartition(" ")[2]
            if sql.startswith("SAVEPOINT"):
                self._marks[name] = len(self.told)
            else:
                del self.told[self._marks[name] :]

    def failed(self, told: int) -> None:
        """A statement failed: what was told while it ran did not happen."""
        del self.told[told:]
        if self.begun and not self.sqlite.in_transaction:
            self._ended(kept=False)

    def offer(self, name: str, arguments: int, function: Callable[..., Any], options: Any) -> None:
        """Make a function known, once: a second time would cost every compiled statement."""
        if name not in self._functions:
            self._functions.add(name)
            self.sqlite.create_function(name, arguments, function, **options)

    def _ended(self, *, kept: bool) -> None:
        self.holder = None
        if kept:
            self._committed += self.told
        self.told.clear()
        self._marks.clear()


class Connection:
    """What a process, or SQLAlchemy, takes for a connection of ``sqlite3``.

    Args:
        line: shared with all others.
    """

    __slots__ = ("_line",)

    def __init__(self, line: SharedLine) -> None:
        self._line = line

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction of its own is open."""
        return self._line.holder is self

    def execute(self, sql: str, values: Any = ()) -> Any:
        """Run a statement; how a file would be journalled and synced is of no matter here.

        Raises:
            sqlite3.Error: SQLite's own; ``BUSY`` or ``LOCKED`` while somebody else is in a transaction.
        """
        return self._run(self._line.sqlite.execute, sql, values)

    def executemany(self, sql: str, rows: Iterable[Any]) -> Any:
        """Run a statement for each of some rows; raises likewise."""
        return self._run(self._line.sqlite.executemany, sql, rows)

    def _run(self, call: Callable[[str, Any], sqlite3.Cursor], sql: str, values: Any) -> Any:
        line = self._line
        if line.holder is not self:
            if sql.startswith(_SETTINGS) or line.enters(self, sql):
                return _ANSWER
        elif not line.begun and not line.begins(sql):
            return _ANSWER
        told = len(line.told)
        try:
            cursor = call(sql, values)
        except sqlite3.Error:
            line.failed(told)
            raise
        if line.holder is None or sql.startswith(_TURNS):
            line.ran(sql)
        return cursor

    def cursor(self) -> Cursor:
        """A cursor, as DBAPI has it."""
        return Cursor(self)

    def commit(self) -> None:
        """End the transaction, if there is one, and keep it."""
        if self.in_transaction:
            self.execute("COMMIT")

    def rollback(self) -> None:
        """End the transaction, if there is one, and forget it."""
        if self.in_transaction:
            self.execute("ROLLBACK")

    close = rollback

    def create_function(
        self, name: str, arguments: int, function: Callable[..., Any], **options: Any
    ) -> None:
        """Make a function known to SQL."""
        self._line.offer(name, arguments, function, options)


class Cursor:
    """What SQLAlchemy takes for a cursor of ``sqlite3``.

    Args:
        connection: whose statements it runs.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._found: Any = None

    def execute(self, sql: str, values: Any = ()) -> Self:
        """Run a statement."""
        self._found = self._connection.execute(sql, values)
        return self

    def executemany(self, sql: str, rows: Iterable[Any]) -> Self:
        """Run a statement for each of some rows."""
        self._found = self._connection.executemany(sql, rows)
        return self

    def close(self) -> None:
        """What was found is read no more."""
        self._found = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found, name)


class _Answer:
    """What is answered where SQLite was not asked: a database in memory has no other journal."""

    description = None
    rowcount = -1

    @staticmethod
    def fetchone() -> tuple[str]:
        return ("memory",)


_ANSWER = _Answer()
