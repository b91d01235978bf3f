"""Listing a workflow's instances, newest first, page by page: a keyset cursor neither skips nor repeats (defect 15)."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import NamedTuple

from keepstep.errors import InvalidInputError
from keepstep.model.outcome import InstanceDetails, Page
from keepstep.model.status import Status
from keepstep.services.target import Done
from keepstep.services.views import details_view
from keepstep.store.listings import list_runs
from keepstep.store.script import Script

LIMIT_MAX = 1000
_CURSOR = struct.Struct(">Bqq")
_VERSION = 1


class Query(NamedTuple):
    """A checked request for a page; ``after`` is (created_at, id) of the last instance seen."""

    status: Status | None
    limit: int
    after: tuple[int, int] | None


def read_query(status: Status | str | None, limit: int, cursor: str | None) -> Query:
    """Check what a caller asks for.

    Raises:
        InvalidInputError: no such status, a limit out of range, or a cursor that no listing gave.
    """
    return Query(
        None if status is None else read_status(status),
        check_limit(limit),
        None if cursor is None else read_cursor(cursor),
    )


def check_limit(limit: int) -> int:
    """Return ``limit`` if a page may have that many rows.

    Raises:
        InvalidInputError: it may not.
    """
    if type(limit) is not int or not 1 <= limit <= LIMIT_MAX:
        raise InvalidInputError(f"limit must be an integer from 1 to {LIMIT_MAX}, not {limit!r}")
    return limit


def read_status(status: Status | str) -> Status:
    """Read a status.

    Raises:
        InvalidInputError: there is none of that name.
    """
    try:
        return Status(status)
    except ValueError:
        known = ", ".join(known.value for known in Status)
        raise InvalidInputError(f"{status!r} is no status; the statuses are {known}") from None


def list_instances(workflow: str, query: Query) -> Script[Done[Page[InstanceDetails]]]:
    """Read one page."""
    runs = yield from list_runs(workflow, query.status, query.limit + 1, query.after)
    shown, more = runs[: query.limit], len(runs) > query.limit
    cursor = write_cursor(shown[-1].created_at, shown[-1].id) if more else None
    return Done(Page(tuple(details_view(run) for run in shown), cursor))


def write_cursor(created_at: int, run_id: int) -> str:
    """Write a place in a listing as opaque url-safe text."""
    packed = _CURSOR.pack(_VERSION, created_at, run_id)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[int, int]:
    """Read what :func:`write_cursor` wrote.

    Raises:
        InvalidInputError: it did not.
    """
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        version, created_at, run_id = _CURSOR.unpack(packed)
    except (TypeError, ValueError, binascii.Error, struct.error):
        raise _no_cursor(cursor) from None
    if version != _VERSION or created_at < 0 or run_id < 0 or write_cursor(created_at, run_id) != cursor:
        raise _no_cursor(cursor)
    return created_at, run_id


def _no_cursor(cursor: object) -> InvalidInputError:
    shown = repr(cursor)
    return InvalidInputError(
        f"cursor {shown if len(shown) <= 60 else shown[:60] + '…'} is none that a listing gave; "
        "pass page.cursor unchanged, or None for the first page"
    )
