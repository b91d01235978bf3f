"""The tables of keepstep as dicts, and transactions on them: one writer at a time, all of it or nothing (B1)."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from keepstep.model.records import (
    EventRecord,
    HookRecord,
    LogRecord,
    RunnerRecord,
    RunRecord,
    SinkRecord,
    StepRecord,
    TaskRecord,
)
from keepstep.model.status import HookStatus
from keepstep.store.migrations import CORE
from keepstep_testing.sim.database import Change
from keepstep_testing.sim.dicts.table import ConstraintError, Table, Unique

R = TypeVar("R", bound=tuple[Any, ...])


class BusyError(Exception):
    """Somebody else is writing."""


class ChangeRow(NamedTuple):
    """One row of ``change``: a :class:`~keepstep.model.records.ChangeRecord` between its key and its number."""

    id: int
    run_id: int
    version: int
    seq: int
    kind: str
    workflow: str
    instance_id: str
    run_number: int
    at: int
    step_key: str | None
    attempt: int | None
    event_type: str | None
    duration_ms: int | None
    pub_seq: int | None


class StreamRow(NamedTuple):
    """One row of ``change_stream``."""

    name: str
    published: int
    pruned: int


class MigrationRow(NamedTuple):
    """One row of ``migration``."""

    fragment: str
    revision: str
    applied_at: int


def _is_latest(row: Any) -> bool:
    return bool(row.latest)


def _is_collapsible(row: Any) -> bool:
    return row.status == HookStatus.PENDING and row.key is not None


def _runs() -> Table[RunRecord]:
    return Table(
        "run",
        RunRecord,
        optional="cancel_reason started_at completed_at params output error",
        uniques=[
            Unique("workflow", "instance_id", where=_is_latest),
            Unique("workflow", "instance_id", "run_number"),
        ],
    )


def _changes() -> Table[ChangeRow]:
    return Table(
        "change",
        ChangeRow,
        optional="step_key attempt event_type duration_ms pub_seq",
        uniques=[Unique("run_id", "version", "seq", "kind"), Unique("pub_seq")],
        numbered=True,
    )


class DictDatabase:
    """Keepstep's tables, empty, with its schema in place.

    A transaction is between :meth:`begin` and :meth:`commit` or :meth:`rollback`; who is in one names itself by a token.
    Every change of a row goes through :meth:`insert`, :meth:`put` and :meth:`delete`, which note what was there.

    Attributes:
        owner: who is in a transaction; None = nobody.
        committed: the changes of all transactions that committed, in order, for who takes them away.
    """

    def __init__(self) -> None:
        self.run = _runs()
        self.run_step = Table[StepRecord](
            "run_step",
            StepRecord,
            2,
            optional="seq at due_at event_type result error",
            uniques=[Unique("run_id", "seq")],
            of="run_id",
        )
        self.event = Table[EventRecord](
            "event",
            EventRecord,
            optional="event_id consumed_by",
            uniques=[Unique("run_id", "event_id")],
            numbered=True,
            of="run_id",
        )
        self.task = Table[TaskRecord]("task", TaskRecord, optional="run_at owner")
        self.log = Table[LogRecord]("log", LogRecord, 2, optional="data", of="run_id")
        self.hook = Table[HookRecord](
            "hook",
            HookRecord,
            optional="key run_at finished_at error trace",
            uniques=[Unique("name", "key", where=_is_collapsible)],
        )
        self.change = _changes()
        self.change_stream = Table[StreamRow]("change_stream", StreamRow)
        self.change_sink = Table[SinkRecord]("change_sink", SinkRecord, optional="run_at error")
        self.runner = Table[RunnerRecord]("runner", RunnerRecord)
        self.migration = Table[MigrationRow]("migration", MigrationRow)
        self.tables: dict[str, Table[Any]] = {
            each.name: each for each in vars(self).values() if isinstance(each, Table)
        }
        self.owner: object = None
        self.committed: list[Change] = []
        self._pending: list[Change] = []
        self.reset()

    # --- transactions

    def begin(self, owner: object) -> None:
        """Become the writer.

        Raises:
            BusyError: somebody else is.
        """
        if self.owner is not None:
            raise BusyError("the database is locked: another transaction is under way")
        self.owner = owner

    def commit(self, owner: object) -> None:
        """Keep what was changed since :meth:`begin`."""
        assert self.owner is owner, "a commit outside of its transaction"
        self.committed += self._pending
        self._pending = []
        self.owner = None

    def rollback(self, owner: object) -> None:
        """Undo what was changed since :meth:`begin`; nothing to do for who is in no transaction."""
        if self.owner is owner and owner is not None:
            self.undo(0)
            self.owner = None

    @property
    def mark(self) -> int:
        """How many changes the transaction under way has made."""
        return len(self._pending)

    def undo(self, mark: int) -> None:
        """Undo the changes beyond the first ``mark`` of the transaction under way."""
        while len(self._pending) > mark:
            name, old, new = self._pending.pop()
            table = self.tables[name]
            table.replace(table.key(old if new is None else new), new, old)

    def reset(self) -> None:
        """Empty, with the schema in place; whoever was in a transaction is in none."""
        for table in self.tables.values():
            table.clear()
        self.migration.rows[CORE.fragment] = MigrationRow(CORE.fragment, CORE.head, 0)
        self._pending = []
        self.committed = []
        self.owner = None

    def restore(self, kept: dict[str, list[Any]]) -> None:
        """Have these rows of these tables and no others; nobody may be in a transaction.

        Args:
            kept: what :meth:`contents` gave, or some tables of it.
        """
        assert self.owner is None, "a transaction is under way"
        for name, rows in kept.items():
            table = self.tables[name]
            table.clear()
            for row in rows:
                table.replace(table.key(row), None, row)
        self.committed = []

    def set_revision(self, revision: str) -> None:
        """Say which version the schema has."""
        self.migration.rows[CORE.fragment] = MigrationRow(CORE.fragment, revision, 0)

    # --- rows

    def insert(self, table: Table[R], row: R) -> None:
        """Add a row.

        Raises:
            ConstraintError: its key is there, a unique value is, or a column is empty that may not be.
        """
        key = table.key(row)
        if key in table.rows:
            raise ConstraintError(f"{table.name}: {key!r} is there already")
        self._replace(table, key, None, row)

    def insert_or_leave(self, table: Table[R], row: R) -> bool:
        """Add a row unless its key or a unique value of it is there; whether it was added."""
        key = table.key(row)
        if key in table.rows or table.clashes(row, key) is not None:
            return False
        self._replace(table, key, None, row)
        return True

    def put(self, table: Table[R], row: R) -> None:
        """Add a row, or put it in the place of the one with its key.

        Raises:
            ConstraintError: a unique value is there, or a column is empty that may not be.
        """
        key = table.key(row)
        self._replace(table, key, table.rows.get(key), row)

    def delete(self, table: Table[R], key: Any) -> None:
        """Take a row away, if it is there."""
        old = table.rows.get(key)
        if old is not None:
            table.replace(key, old, None)
            self._pending.append(Change(table.name, old, None))

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all tables but ``migration``, by key."""
        return {name: list(each.all()) for name, each in self.tables.items() if each is not self.migration}

    def _replace(self, table: Table[R], key: Any, old: R | None, new: R) -> None:
        refusal = table.lacks(new) or table.clashes(new, key)
        if refusal is not None:
            raise ConstraintError(refusal)
        table.replace(key, old, new)
        self._pending.append(Change(table.name, old, new))
