"""Histories, page by page: what a run did, which events it accepted, what it logged. Each page follows an index.

A page begins after a row that is named by its key, in either direction, so rows that come meanwhile shift nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, Text, bindparam, select

from keepstep.model.records import EventRecord, LogRecord, StepRecord
from keepstep.store.script import Call, Row, Script
from keepstep.store.statement import Statement, limited
from keepstep.store.tables import IS_BUFFERED, IS_CONSUMED, event, log, run_step

BEYOND = 2**62
"""After every ``seq``, id and number: where a page of the newest begins."""

_UNSEEN = run_step.c.seq.is_(None) | (run_step.c.seq > bindparam("seen_seq", type_=BigInteger()))


class Ways(NamedTuple):
    """One page's statement for each direction."""

    rising: Statement
    falling: Statement


def _of_run(table: Any) -> ColumnElement[bool]:
    return table.c.run_id == bindparam("run_id", type_=BigInteger())


def _page(order: ColumnElement[Any], *where: ColumnElement[bool], falling: bool = False) -> Select[Any]:
    place = bindparam("after", type_=Text() if order is run_step.c.key else BigInteger())
    beyond = order < place if falling else order > place
    found = select(order.table).where(_of_run(order.table), *where, beyond)
    return limited(found.order_by(order.desc() if falling else order))


def _ways(label: str, order: ColumnElement[Any], *where: ColumnElement[bool]) -> Ways:
    return Ways(
        Statement(_page(order, *where), f"history of {label}"),
        Statement(_page(order, *where, falling=True), f"history of {label}, newest first"),
    )


HISTORY_STEPS = _ways("steps", run_step.c.seq)
HISTORY_UNSEEN = _ways("other steps", run_step.c.key, _UNSEEN)
HISTORY_UNSEEN_LAST = Statement(
    limited(select(run_step).where(_of_run(run_step), _UNSEEN).order_by(run_step.c.key.desc())),
    "history of other steps, from the last key",
)
HISTORY_BUFFERED = _ways("buffered events", event.c.id, IS_BUFFERED)
HISTORY_CONSUMED = _ways("consumed events", event.c.id, IS_CONSUMED)
HISTORY_LOGS = _ways("logs", log.c.number)


def history_steps(
    run_id: int, after: int = 0, limit: int = 100, *, falling: bool = False
) -> Script[list[StepRecord]]:
    """A page of the resolved steps, beyond the ``seq`` ``after``."""
    found = yield Call(HISTORY_STEPS[falling], {"run_id": run_id, "after": after, "limit": limit})
    return [StepRecord._make(row) for row in found]


def unseen_steps(
    run_id: int, seen_seq: int, after: str | None, limit: int, *, falling: bool = False
) -> Script[list[StepRecord]]:
    """A page by key of the steps that were not resolved when ``seen_seq`` was the last ``seq``.

    A step stays in this set when it is resolved later: whoever pages through it sees each of them once.

    Args:
        run_id: the run.
        seen_seq: the last ``seq`` then.
        after: the key of the last row seen; None = from the beginning.
        limit: rows at most.
        falling: from the last key to the first.
    """
    wanted: dict[str, Any] = {"run_id": run_id, "seen_seq": seen_seq, "limit": limit}
    if after is None and falling:
        found = yield Call(HISTORY_UNSEEN_LAST, wanted)
    else:
        found = yield Call(HISTORY_UNSEEN[falling], {**wanted, "after": after or ""})
    return [StepRecord._make(row) for row in found]


def history_events(
    run_id: int, after: int = 0, limit: int = 100, *, falling: bool = False
) -> Script[list[EventRecord]]:
    """A page of the accepted events, consumed or not, beyond the id ``after``."""
    wanted = {"run_id": run_id, "after": after, "limit": limit}
    buffered = yield Call(HISTORY_BUFFERED[falling], wanted)
    consumed = yield Call(HISTORY_CONSUMED[falling], wanted)
    found = _once([*buffered, *consumed])
    return [EventRecord._make(row) for row in sorted(found, key=itemgetter(0), reverse=falling)[:limit]]


def _once(rows: Sequence[Row]) -> list[Row]:
    """Each event once: one that is consumed between the two reads is found by both, the second is right."""
    return list({row[0]: row for row in rows}.values())


def history_logs(
    run_id: int, after: int = -1, limit: int = 100, *, falling: bool = False
) -> Script[list[LogRecord]]:
    """A page of the log lines, beyond the number ``after``."""
    found = yield Call(HISTORY_LOGS[falling], {"run_id": run_id, "after": after, "limit": limit})
    return [LogRecord._make(row) for row in found]
