"""A run's history page by page, its steps, events and logs each with a cursor of their own (S0-60).

Nothing that was there when the first page was read is skipped, and nothing comes twice, whatever the run does
meanwhile (defect 15):

    events, logs   go by their number, which rises in the order of acceptance.
    steps          resolved ones go by ``seq``. The others have none yet, so they go by key, after the resolved ones
                   (before them when the newest come first). A step that is resolved between two pages stays among
                   those that go by key: its cursor remembers the last ``seq`` of the resolved ones.

A cursor carries the run that it belongs to, so a restart between two pages does not change the subject.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar, cast

import orjson

from keepstep.errors import InvalidInputError
from keepstep.model.outcome import EventView, LogView, Page, StepView
from keepstep.model.records import RunRecord, StepRecord
from keepstep.services.listing import LIMIT_MAX
from keepstep.services.target import Done, Target, not_found
from keepstep.services.views import event_view, log_view, step_view
from keepstep.store.histories import BEYOND, history_events, history_logs, history_steps, unseen_steps
from keepstep.store.runs import read_instance, read_run
from keepstep.store.script import Script

R = TypeVar("R")
V = TypeVar("V")

LEVELS = ("debug", "info", "warning", "error")
Level = Literal["debug", "info", "warning", "error"]
Order = Literal["asc", "desc"]
SCANNED_MAX = 10_000
"""Log lines that one page looks through for those that were asked for."""


class Place(NamedTuple):
    """What a cursor says: the part and run that it belongs to, the direction, and the last row seen."""

    part: str
    run_number: int
    order: str
    number: int
    """The row's ``seq``, id or number; for a step that goes by key, the last ``seq`` of those that do not."""
    key: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """A checked request: of each part the place to go on from, None = its beginning.

    A request with cursors goes on with the parts that they are of, and leaves the others empty.
    """

    run: int | None
    order: Order
    limit: int
    steps: Place | None
    events: Place | None
    logs: Place | None
    with_logs: bool
    log_level: Level
    log_category: str | None

    @property
    def goes_on(self) -> bool:
        """Whether there is a cursor."""
        return not self.steps is self.events is self.logs is None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of each part; ``logs`` is None when they were not asked for."""

    run_number: int
    steps: Page[StepView]
    events: Page[EventView]
    logs: Page[LogView] | None


def read_query(
    *,
    run: int | None = None,
    order: Order = "asc",
    limit: int = 100,
    steps_cursor: str | None = None,
    events_cursor: str | None = None,
    logs_cursor: str | None = None,
    include_logs: bool = False,
    log_level: Level = "debug",
    log_category: str | None = None,
) -> HistoryQuery:
    """Check what a caller asks for; ``log_level`` is the lowest, ``log_category`` what a line says as ``category=``.

    Raises:
        InvalidInputError: a limit out of range, a cursor that no page gave, or cursors of different runs or orders.
    """
    if type(limit) is not int or not 1 <= limit <= LIMIT_MAX:
        raise InvalidInputError(f"page_size must be an integer from 1 to {LIMIT_MAX}, not {limit!r}")
    given = {"steps": steps_cursor, "events": events_cursor, "logs": logs_cursor}
    places = {part: None if text is None else read_place(part, text) for part, text in given.items()}
    for part, place in places.items():
        if place is None:
            continue
        run = place.run_number if run is None else run
        if (place.run_number, place.order) != (run, order):
            raise InvalidInputError(
                f"{part}_cursor belongs to run {place.run_number}, order {place.order!r}, "
                f"and was given with run {run}, order {order!r}; start that listing without a cursor"
            )
    with_logs = include_logs or logs_cursor is not None
    return HistoryQuery(
        run, order, limit, **places, with_logs=with_logs, log_level=log_level, log_category=log_category
    )


def read_page(target: Target, query: HistoryQuery) -> Script[Done[HistoryPage]]:
    """Read a page of a run's history.

    Raises:
        InstanceNotFoundError: there is no such instance.
        InvalidInputError: it has no such run.
    """
    run = yield from find_run(target, query.run)
    steps: Page[StepView] = Page()
    events: Page[EventView] = Page()
    logs: Page[LogView] | None = Page() if query.with_logs else None
    if query.steps is not None or not query.goes_on:
        steps = yield from _steps(run, query)
    if query.events is not None or not query.goes_on:
        events = yield from _events(run, query)
    if query.logs is not None or (query.with_logs and not query.goes_on):
        logs = yield from _logs(run, query)
    return Done(HistoryPage(run.run_number, steps, events, logs))


def find_run(target: Target, run_number: int | None) -> Script[RunRecord]:
    """Find one run of an instance; None = the newest.

    Raises:
        InstanceNotFoundError: there is no such instance.
        InvalidInputError: it has no such run.
    """
    now = yield from read_instance(*target)
    if now is None:
        raise not_found(target, "there is nothing to read")
    run: RunRecord | None = now.run
    if run_number is not None:
        known = type(run_number) is int and 1 <= run_number <= now.run.run_number
        run = (yield from read_run(*target, run_number)) if known else None
    if run is None:
        raise InvalidInputError(f"{target} has no run {run_number}; its newest run is {now.run.run_number}")
    return run


def _steps(run: RunRecord, query: HistoryQuery) -> Script[Page[StepView]]:
    falling, wanted = query.order == "desc", query.limit + 1
    at = query.steps
    if falling:
        if at is None or at.key is not None:
            rows, seen = yield from _unseen(run, at, wanted, falling=True)
        else:
            rows, seen = [], at.number
        left = wanted - len(rows)
        before = at.number if at is not None and at.key is None else seen + 1
        rows += (yield from history_steps(run.id, before, left, falling=True)) if left else []
    elif at is None or at.key is None:
        rows = yield from history_steps(run.id, 0 if at is None else at.number, wanted)
        seen = rows[-1].seq or 0 if rows else (0 if at is None else at.number)
        if left := wanted - len(rows):
            rows += yield from unseen_steps(run.id, seen, None, left)
    else:
        rows, seen = yield from _unseen(run, at, wanted, falling=False)

    def place(row: StepRecord) -> Place:
        if row.seq is not None and row.seq <= seen:
            return Place("steps", run.run_number, query.order, row.seq)
        return Place("steps", run.run_number, query.order, seen, row.key)

    return _paged(rows, query.limit, step_view, place)


def _unseen(
    run: RunRecord, at: Place | None, wanted: int, *, falling: bool
) -> Script[tuple[list[StepRecord], int]]:
    if at is None:
        newest = yield from history_steps(run.id, BEYOND, 1, falling=True)
        seen, key = (newest[0].seq or 0 if newest else 0), None
    else:
        seen, key = at.number, at.key
    return (yield from unseen_steps(run.id, seen, key, wanted, falling=falling)), seen


def _events(run: RunRecord, query: HistoryQuery) -> Script[Page[EventView]]:
    falling = query.order == "desc"
    after = query.events.number if query.events is not None else BEYOND if falling else 0
    rows = yield from history_events(run.id, after, query.limit + 1, falling=falling)
    return _paged(
        rows, query.limit, event_view, lambda row: Place("events", run.run_number, query.order, row.id)
    )


def _logs(run: RunRecord, query: HistoryQuery) -> Script[Page[LogView]]:
    """Look through lines until a page is full; a page that ends early for the looking has a cursor all the same."""
    falling = query.order == "desc"
    at = query.logs.number if query.logs is not None else BEYOND if falling else -1
    found: list[LogView] = []
    scanned = 0
    while scanned < SCANNED_MAX:
        rows = yield from history_logs(run.id, at, LIMIT_MAX, falling=falling)
        for row in rows:
            line = log_view(row)
            if _asked_for(line, query):
                if len(found) == query.limit:
                    return Page(tuple(found), write_place(_log_place(run, query, at)))
                found.append(line)
            at = row.number
        scanned += len(rows)
        if len(rows) < LIMIT_MAX:
            return Page(tuple(found), None)
    return Page(tuple(found), write_place(_log_place(run, query, at)))


def _log_place(run: RunRecord, query: HistoryQuery, number: int) -> Place:
    return Place("logs", run.run_number, query.order, number)


def _asked_for(line: LogView, query: HistoryQuery) -> bool:
    if LEVELS.index(line.level) < LEVELS.index(query.log_level):
        return False
    if query.log_category is None:
        return True
    return (
        isinstance(line.data, dict)
        and cast("dict[str, Any]", line.data).get("category") == query.log_category
    )


def _paged(rows: Sequence[R], limit: int, view: Callable[[R], V], place: Callable[[R], Place]) -> Page[V]:
    shown = rows[:limit]
    cursor = write_place(place(shown[-1])) if len(rows) > limit else None
    return Page(tuple(map(view, shown)), cursor)


def write_place(place: Place) -> str:
    """Write a place as opaque url-safe text."""
    return base64.urlsafe_b64encode(orjson.dumps([1, *place])).decode().rstrip("=")


def read_place(part: str, cursor: str) -> Place:
    """Read what :func:`write_place` wrote for this part.

    Raises:
        InvalidInputError: it did not.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        version, *fields = orjson.loads(text)
        place = Place(*fields)
    except (TypeError, ValueError, binascii.Error):
        raise _no_cursor(part, cursor) from None
    numbers = type(place.run_number) is int and type(place.number) is int and abs(place.number) < BEYOND
    keyed = place.key is None or (part == "steps" and type(place.key) is str)
    known = version == 1 and place.part == part and place.order in {"asc", "desc"}
    if not (numbers and keyed and known) or write_place(place) != cursor:
        raise _no_cursor(part, cursor)
    return place


def _no_cursor(part: str, cursor: str) -> InvalidInputError:
    shown = repr(cursor)
    return InvalidInputError(
        f"{part}_cursor {shown if len(shown) <= 60 else shown[:60] + '…'} is none that a history gave; "
        "pass it unchanged, or leave it out for the first page"
    )
