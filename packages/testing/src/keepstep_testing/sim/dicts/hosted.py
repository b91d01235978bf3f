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
from keepstep_testing.sim.database import refusal
from keepstep_testing.sim.dicts.answers import ANSWERS, answer
from keepstep_testing.sim.dicts.database import BusyError, DictDatabase
from keepstep_testing.sim.dicts.table import ConstraintError


def answered_by(dicts: DictDatabase, engine: Engine) -> Engine:
    """Have dicts answer what is executed on keepstep's tables through an engine of SQLite.

    Args:
        dicts: the tables.
        engine: its database keeps the user's own.
    """
    statements = {each.text("sqlite"): each for each in ANSWERS}

    def begun(connection: Connection) -> None:
        try:
            dicts.begin(connection)
        except BusyError as error:
            raise OperationalError("BEGIN", None, refusal("LOCKED", str(error))) from error

    def execute(cursor: Any, _text: str, _parameters: Any, context: Any) -> bool | None:
        statement = statements.get(str(getattr(context.compiled and context.compiled.statement, "text", "")))
        if statement is None:
            return None
        rows = [row for each in context.compiled_parameters for row in _answered(dicts, statement, each)]
        _give(cursor, rows)
        return True

    event.listen(engine, "begin", begun)
    event.listen(engine, "commit", dicts.commit)
    event.listen(engine, "rollback", dicts.rollback)
    for name in ("do_execute", "do_executemany"):
        event.listen(engine, name, execute)
    return engine


def _answered(dicts: DictDatabase, statement: Statement, given: dict[str, Any]) -> Sequence[Any]:
    now: int | None = given.get("now")
    assert now is not None or not statement.takes_now, (
        f"{statement!r}: whose transaction this is has no clock"
    )
    try:
        return answer(dicts, statement, given, now or 0)
    except ConstraintError as error:
        raise IntegrityError(statement.label, None, refusal("CONSTRAINT", str(error))) from error


def _give(cursor: Any, rows: Sequence[Any]) -> None:
    """Have a cursor of SQLite give these rows."""
    width = len(rows[0]) if rows else 1
    one = f"SELECT {', '.join('?' * width)}"
    text = " UNION ALL ".join([one] * len(rows)) if rows else "SELECT 1 WHERE 0"
    cursor.execute(text, [value for row in rows for value in row])
