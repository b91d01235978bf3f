"""Hooks as a caller asks for them: triggered, listed, inspected, requeued (F1). Checked before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from keepstep.authoring.hooks import HookDefinition
from keepstep.authoring.trace import current_trace, trace_of
from keepstep.errors import HookNotFoundError, InvalidInputError
from keepstep.kernel.hooks import check_requeue
from keepstep.model.duration import instant_ms, to_datetime
from keepstep.model.ids import check_hook_key
from keepstep.model.limits import Limits
from keepstep.model.outcome import HookView, Page
from keepstep.model.recorded import read_error
from keepstep.model.records import HookRecord
from keepstep.model.status import HookStatus
from keepstep.services.listing import check_limit
from keepstep.services.target import Done
from keepstep.store import hooks
from keepstep.store.hooks import Trigger
from keepstep.store.script import Script

_NEWEST = 2**63 - 1


def read_trigger(
    hook: HookDefinition[Any],
    payload: Any,
    row_id: int,
    limits: Limits,
    *,
    at: datetime | None,
    key: str | None,
    trace: Mapping[str, str] | None,
) -> Trigger:
    """Check what a caller wants to trigger.

    Args:
        hook: under its stored name.
        payload: a value of its annotated type.
        row_id: a fresh internal key.
        limits: C10.
        at: not before this instant.
        key: collapses duplicates, 1 to 256 characters.
        trace: headers; None = the trace context of the running code.

    Raises:
        HookPayloadError, SerializationError, PayloadTooLargeError: the payload cannot be stored.
        InvalidInputError: the key is not text of 1 to 256 characters.
        InvalidDurationError: the instant has no time zone.
    """
    found = current_trace() if trace is None else trace_of(trace)
    return Trigger(
        id=row_id,
        name=hook.name,
        key=check_hook_key(key),
        due_at=None if at is None else instant_ms(at, "the instant of a hook"),
        payload=hook.encode(payload, limits),
        trace=orjson.dumps(dict(found)).decode() if found else None,
    )


def trigger(wanted: Trigger) -> Script[Done[str]]:
    """Store it; the id of the row that stays."""
    return Done(str((yield from hooks.insert_trigger(wanted))))


class Query(NamedTuple):
    """A checked request for a page."""

    status: HookStatus | None
    name: str | None
    limit: int
    before: int


def read_query(status: HookStatus | str | None, name: str | None, limit: int, cursor: str | None) -> Query:
    """Check what a caller asks for.

    Raises:
        InvalidInputError: no such status, a limit out of range, or a cursor that no listing gave.
    """
    try:
        wanted = None if status is None else HookStatus(status)
    except ValueError:
        known = ", ".join(each.value for each in HookStatus)
        raise InvalidInputError(f"{status!r} is no status of a hook; these are {known}") from None
    before = _NEWEST if cursor is None else read_id(cursor)
    if before is None:
        raise InvalidInputError(f"cursor {cursor!r:.60} is none that a listing of hooks gave")
    return Query(wanted, name, check_limit(limit), before)


def list_hooks(query: Query) -> Script[Done[Page[HookView]]]:
    """Read one page, youngest first."""
    rows = yield from hooks.list_hooks(query.status, query.name, query.limit + 1, query.before)
    shown, more = rows[: query.limit], len(rows) > query.limit
    return Done(Page(tuple(map(view, shown)), str(shown[-1].id) if more else None))


def get_hook(hook_id: str) -> Script[Done[HookView]]:
    """Read one row.

    Raises:
        HookNotFoundError: there is none.
    """
    return Done(view((yield from _found(hook_id))))


def requeue(hook_id: str) -> Script[Done[None]]:
    """Have a row delivered at once, with all its attempts before it, whatever became of it.

    Raises:
        HookNotFoundError: there is none.
        HookStateError: it is being delivered just now.
    """
    row = yield from _found(hook_id, lock=True)
    check_requeue(row)
    yield from hooks.requeue_hook(row)
    return Done(None)


def _found(hook_id: str, *, lock: bool = False) -> Script[HookRecord]:
    row_id = read_id(hook_id)
    row = None if row_id is None else (yield from hooks.read_hook(row_id, lock=lock))
    if row is None:
        raise HookNotFoundError(
            f"there is no hook row {hook_id!r}: it was rolled back, or its retention has passed; list() shows them"
        )
    return row


def read_id(text: str) -> int | None:
    """A row's id from what callers hold, None if it cannot be one."""
    fits = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 19  # pyright: ignore[reportUnnecessaryIsInstance]
    return int(text) if fits and int(text) <= _NEWEST else None


def view(row: HookRecord) -> HookView:
    """Tell one row."""
    return HookView(
        id=str(row.id),
        name=row.name,
        key=row.key,
        status=HookStatus(row.status),
        attempts=row.attempt,
        created_at=to_datetime(row.created_at),
        due_at=None if row.run_at is None else to_datetime(row.run_at),
        finished_at=None if row.finished_at is None else to_datetime(row.finished_at),
        payload=orjson.loads(row.payload),
        error=None if row.error is None else read_error(row.error),
        trace={} if row.trace is None else orjson.loads(row.trace),
    )
