"""The register: what answers each statement. What a statement does is said in ``statements/``, never here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from keepstep.store.script import Params, Row
from keepstep.store.statement import Statement
from keepstep_testing.sim.dicts.database import DictDatabase
from keepstep_testing.sim.dicts.table import ConstraintError

F = TypeVar("F", bound=Callable[..., Any])

Rows = Sequence[Row]

ANSWERS: dict[Statement, Callable[..., Rows | None]] = {}
"""By statement: for one with an ``order``, ``answer(db, *row)``; else ``answer(db, given, now)``. None = no rows."""


class UnknownStatementError(Exception):
    """Nobody has said what the dict lane answers to a statement."""


def answers(*statements: Statement) -> Callable[[F], F]:
    """Register what answers these statements."""

    def register(answer: F) -> F:
        for each in statements:
            assert each not in ANSWERS, f"{each!r} has two answers"
            ANSWERS[each] = answer
        return answer

    return register


def answer(db: DictDatabase, statement: Statement, params: Params, now: int) -> Rows:
    """Do what a call asks, within the transaction under way.

    Args:
        db: the tables.
        statement: which statement.
        params: one execution's by name, or rows in the statement's order.
        now: database time, ms, where the parameters have no ``now`` of their own.

    Raises:
        ConstraintError: a constraint refuses a row; the statement has done nothing then.
        UnknownStatementError: the statement has no answer.
    """
    found = ANSWERS.get(statement)
    if found is None:
        raise UnknownStatementError(
            f"the dict lane has no answer to {statement!r}: write one in keepstep_testing/sim/dicts/statements"
        )
    mark = db.mark
    try:
        if not isinstance(params, Mapping):
            for row in params:
                found(db, *row)
            return ()
        if statement.order:
            return found(db, *[params[name] for name in statement.order]) or ()
        return found(db, params, cast("int | None", params.get("now")) or now) or ()
    except ConstraintError:
        db.undo(mark)
        raise
