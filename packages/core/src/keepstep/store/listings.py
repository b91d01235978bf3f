"""Pages of a workflow's newest runs, youngest first: one index each, whatever the page."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, bindparam, select

from keepstep.model.records import RunRecord
from keepstep.store.runs import given, run_record
from keepstep.store.script import Call, Script
from keepstep.store.statement import Statement, limited
from keepstep.store.tables import IS_LATEST, run


def _listing(label: str, *where: ColumnElement[bool]) -> Statement:
    found = select(run).where(given(run.c.workflow), IS_LATEST, *where)
    return Statement(limited(found.order_by(run.c.created_at.desc(), run.c.id.desc())), label)


class Listing(NamedTuple):
    """One order of runs: its first page, and what follows a row as two ranges of the index.

    A comparison of pairs would say it in one, but SQLite seeks by its first half only.
    """

    first: Statement
    same_instant: Statement
    older: Statement


def _listings(label: str, *where: ColumnElement[bool]) -> Listing:
    created_at, before = bindparam("created_at", type_=BigInteger()), bindparam("id", type_=BigInteger())
    return Listing(
        _listing(label, *where),
        _listing(f"{label}, rest of an instant", *where, run.c.created_at == created_at, run.c.id < before),
        _listing(f"{label}, older", *where, run.c.created_at < created_at),
    )


LISTING = _listings("list runs")
LISTING_BY_STATUS = _listings("list runs by status", given(run.c.status))


def list_runs(
    workflow: str, status: str | None, limit: int, after: tuple[int, int] | None = None
) -> Script[list[RunRecord]]:
    """A page of a workflow's newest runs, youngest first.

    Args:
        workflow: which workflow.
        status: only runs of this status, or None for all.
        limit: rows at most; ask for one more to learn whether a page follows.
        after: ``(created_at, id)`` of the last row of the page before. Rows with equal instants are told apart.
    """
    listing = LISTING if status is None else LISTING_BY_STATUS
    wanted: dict[str, Any] = {"workflow": workflow}
    if status is not None:
        wanted["status"] = status
    if after is None:
        rows = yield Call(listing.first, {**wanted, "limit": limit})
        return [run_record(row) for row in rows]
    place = {"created_at": after[0]}
    rows = [*(yield Call(listing.same_instant, {**wanted, **place, "id": after[1], "limit": limit}))]
    if len(rows) < limit:
        rows += yield Call(listing.older, {**wanted, **place, "limit": limit - len(rows)})
    return [run_record(row) for row in rows]
