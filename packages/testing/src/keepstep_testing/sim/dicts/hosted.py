"""Scripts within a user's own transaction (C8, G1): an engine whose statements on keepstep's tables dicts answer.

All else that the user executes is for the engine's real database. The two begin, commit and roll back together: in a
simulation nothing can come between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import IntegrityError, OperationalError

from keepstep.store.statement import Statement
from keepstep_testing.sim.connections import refusal
from keepstep_testing.sim.dicts.answers import ANSWERS, answer
from keepstep_testing.sim.dicts.database import BusyError, DictDatabase
from keepstep_testing.sim.dicts.table import ConstraintError


def answered_by(dicts: DictDatabase, engine: Engine) -> Engine:
    """Have dicts answer what is executed on keepstep's tables through an engine of SQLite.

    Args:
        dicts: the tables.
        engine: its database keeps the user's own.
    """
    hosted = _Hosted(dicts)
    event.listen(engine, "begin", hosted.begin)
    event.listen(engine, "savepoint", hosted.set_savepoint)
    event.listen(engine, "rollback_savepoint", hosted.go_back)
    event.listen(engine, "release_savepoint", hosted.release)
    event.listen(engine, "commit", dicts.commit)
    event.listen(engine, "rollback", dicts.rollback)
    event.listen(engine, "do_execute", hosted.execute)
    event.listen(engine, "do_executemany", hosted.execute)
    return engine


class _Hosted:
    """What dicts do where SQLAlchemy tells what it is about to do."""

    def __init__(self, dicts: DictDatabase) -> None:
        self._dicts = dicts
        self._statements = {each.text("sqlite"): each for each in ANSWERS}
        self._savepoints: list[int] = []

    def begin(self, connection: Connection) -> None:
        try:
            self._dicts.begin(connection)
        except BusyError as error:
            raise OperationalError("BEGIN", None, refusal("LOCKED", str(error))) from error
        self._savepoints.clear()

    def set_savepoint(self, _connection: Connection, _name: str | None) -> None:
        self._savepoints.append(self._dicts.mark)

    def go_back(self, _connection: Connection, _name: str, _context: Any) -> None:
        self._dicts.undo(self._savepoints.pop())

    def release(self, _connection: Connection, _name: str, _context: Any) -> None:
        self._savepoints.pop()

    def execute(self, cursor: Any, _text: str, _parameters: Any, context: Any) -> bool | None:
        """Answer, and say so; None = it is for SQLite."""
        clause = context.compiled and context.compiled.statement
        statement = self._statements.get(str(getattr(clause, "text", "")))
        if statement is None:
            return None
        _give(cursor, [row for each in context.compiled_parameters for row in self._answer(statement, each)])
        return True

    def _answer(self, statement: Statement, given: dict[str, Any]) -> Sequence[Any]:
        now: int | None = given.get("now")
        assert now is not None or not statement.takes_now, f"{statement!r} is given no clock"
        try:
            return answer(self._dicts, statement, given, now or 0)
        except ConstraintError as error:
            raise IntegrityError(statement.label, None, refusal("CONSTRAINT", str(error))) from error


def _give(cursor: Any, rows: Sequence[Any]) -> None:
    """Have a cursor of SQLite give these rows."""
    width = len(rows[0]) if rows else 1
    one = f"SELECT {', '.join('?' * width)}"
    text = " UNION ALL ".join([one] * len(rows)) if rows else "SELECT 1 WHERE 0"
    cursor.execute(text, [value for row in rows for value in row])
