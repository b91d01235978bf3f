"""The world's database: real SQLite in memory, one for all processes, with a log of every change.

A schedule costs no schema and no compiled statement: both are kept from schedule to schedule, and what is between two
schedules is that all rows go. Triggers tell each changed row, as it was and as it is; what is rolled back is forgotten,
so that a look after a commit sees what the commit changed and nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Engine, create_engine
from sqlalchemy.dialects import sqlite

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
from keepstep_testing.sim.connections import TOLD, Connection, SharedLine
from keepstep_testing.sim.store import ProcessStore, SimStore

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process

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

Rows = dict[str, list[tuple[Any, ...]]]
"""All rows of all tables, by name."""
_NUMBERS = itertools.count(1)


class Change(NamedTuple):
    """One row that a statement changed; ``old`` is None for a new row, ``new`` for one that is gone."""

    table: str
    old: Any
    new: Any


class Database:
    """One database in memory.

    Args:
        migrate: called with the path of an empty file, makes the schema there. None = keepstep's own tables.
        user_tables: further CREATE statements, for tables of the user's own.
    """

    def __init__(
        self, migrate: Callable[[Path], None] | None = None, user_tables: Sequence[str] = ()
    ) -> None:
        self.path = f"file:keepstep-sim-{next(_NUMBERS)}?mode=memory"
        self._line = SharedLine()
        self._make_schema(migrate, user_tables)
        self._tables: list[str] = [
            row[0]
            for row in self._line.sqlite.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
                f" AND name <> '{tables.migration.name}' ORDER BY name"
            )
        ]
        self._torn = False
        self.user_engine: Engine | None = None

    def store(self, process: Process) -> ProcessStore:
        """The store of a process of the world's."""
        return SimStore(process)

    def connect(self, path: str = "", cache_kib: int = 0) -> Connection:
        """A connection of a process."""
        return Connection(self._line)

    def cut(self) -> None:
        """Whoever is in a transaction is cut off: it is rolled back."""
        self._line.cut()

    def reset(self) -> None:
        """Empty: what the last schedule left goes."""
        self.cut()
        if self._torn:
            self.set_revision(CORE.head)
        sqlite = self._line.sqlite
        sqlite.execute("BEGIN")
        for name in self._tables:
            sqlite.execute(f'DELETE FROM "{name}"')
        sqlite.execute("COMMIT")
        self._line.forget()

    # --- looking

    def changes(self) -> list[Change]:
        """What commits changed since the last look, in order."""
        return [_change(*each) for each in self._line.committed()]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds, beside all processes; raises what SQLite raises while one of them is writing."""
        return Connection(self._line).execute(sql).fetchall()

    def restore(self, kept: Rows) -> None:
        """Be as it was: what was committed since is lost, and told to nobody. No transaction may be under way.

        Args:
            kept: what :meth:`contents` gave.
        """
        sqlite = self._line.sqlite
        sqlite.execute("BEGIN")
        for name, rows in kept.items():
            sqlite.execute(f'DELETE FROM "{name}"')
            for row in rows:
                places = ", ".join("?" * len(row))
                sqlite.execute(f'INSERT INTO "{name}" VALUES ({places})', row)
        sqlite.execute("COMMIT")
        self._line.forget()

    def set_revision(self, revision: str) -> None:
        """Say which version the schema has: whoever starts now reads that."""
        self._torn = revision != CORE.head
        self._line.sqlite.execute(f'UPDATE "{tables.migration.name}" SET revision = ?', (revision,))

    def end_lease(self, runner_id: int, at_ms: int) -> None:
        """Let a runner's lease have ended, as if its time had passed."""
        ended = tables.runner.update().values(locked_until=at_ms).where(tables.runner.c.id == runner_id)
        text = ended.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
        Connection(self._line).execute(str(text))

    def contents(self) -> Rows:
        """All rows of all tables, the user's too, in an order of their own."""
        return {name: self.rows(f'SELECT * FROM "{name}" ORDER BY 1, 2') for name in self._tables}

    def digest(self) -> str:
        """All rows of all tables as text: equal for equal schedules."""
        return "\n".join(f"{name} {row!r}" for name, rows in self.contents().items() for row in rows)

    # --- schema

    def _make_schema(self, migrate: Callable[[Path], None] | None, user_tables: Sequence[str]) -> None:
        sqlite = self._line.sqlite
        with TemporaryDirectory() as folder:
            path = Path(folder) / "template.db"
            if migrate is None:
                path.write_bytes(_core())
            else:
                migrate(path)
            self._line.load(path)
        for statement in user_tables:
            sqlite.execute(statement)
        for name, record in RECORDS.items():
            for op, event in (("I", "INSERT"), ("U", "UPDATE"), ("D", "DELETE")):
                sqlite.execute(_trigger(name, record._fields, op, event))


def _change(table: str, op: str, *values: Any) -> Change:
    make = RECORDS[table]._make
    if op == "I":
        return Change(table, None, make(values))
    if op == "D":
        return Change(table, make(values), None)
    width = len(values) // 2
    return Change(table, make(values[:width]), make(values[width:]))


def _trigger(name: str, fields: Sequence[str], op: str, event: str) -> str:
    sides = {"I": ("new",), "U": ("old", "new"), "D": ("old",)}[op]
    values = ", ".join(f'{side}."{field}"' for side in sides for field in fields)
    return (
        f'CREATE TRIGGER "oracle_{name}_{op}" AFTER {event} ON "{tables.PREFIX}{name}" BEGIN'
        f" SELECT {TOLD}('{name}', '{op}', {values}); END"
    )


@cache
def _core() -> bytes:
    """A file with keepstep's own tables, made once."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "core.db"
        _migrate_core(path)
        return path.read_bytes()


def _migrate_core(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    tables.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(
            tables.migration.insert().values(fragment=CORE.fragment, revision=CORE.head, applied_at=0)
        )
    engine.dispose()
