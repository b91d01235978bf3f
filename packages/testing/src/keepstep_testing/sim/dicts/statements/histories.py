"""Pages of a run's history, rising or falling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from keepstep.store import histories
from keepstep_testing.sim.dicts.answers import Rows, answers
from keepstep_testing.sim.dicts.database import DictDatabase
from keepstep_testing.sim.dicts.table import Table

Where = Callable[[Any, Mapping[str, Any]], bool]


def _page(table: str, column: int, where: Where, *, falling: bool) -> Callable[..., Rows]:
    """Rows of a run beyond a place in a column, in the order of that column."""

    def page(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
        rows: Table[Any] = db.tables[table]
        place = given.get("after")
        found = [
            row
            for row in rows.of(given["run_id"])
            if row[column] is not None
            and where(row, given)
            and _is_beyond(row[column], place, falling=falling)
        ]
        return sorted(found, key=itemgetter(column), reverse=falling)[: given["limit"]]

    return page


def _is_beyond(value: Any, place: Any, *, falling: bool) -> bool:
    return place is None or (value < place if falling else value > place)


def _is_unseen(step: Any, given: Mapping[str, Any]) -> bool:
    return step.seq is None or step.seq > given["seen_seq"]


_WAYS: tuple[tuple[histories.Ways, str, int, Where], ...] = (
    (histories.HISTORY_STEPS, "run_step", 2, lambda _step, _given: True),
    (histories.HISTORY_UNSEEN, "run_step", 1, _is_unseen),
    (histories.HISTORY_BUFFERED, "event", 0, lambda event, _given: event.consumed_by is None),
    (histories.HISTORY_CONSUMED, "event", 0, lambda event, _given: event.consumed_by is not None),
    (histories.HISTORY_LOGS, "log", 1, lambda _line, _given: True),
)
for ways, table, column, where in _WAYS:
    answers(ways.rising)(_page(table, column, where, falling=False))
    answers(ways.falling)(_page(table, column, where, falling=True))
answers(histories.HISTORY_UNSEEN_LAST)(_page("run_step", 1, _is_unseen, falling=True))
