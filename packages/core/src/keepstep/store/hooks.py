# ruff: noqa: S608  # only the names of tables and columns are spliced in
"""The outbox: hooks are triggered, claimed, finished one by one, requeued and pruned (F1).

A claim is a lease for one delivery: it raises the row's fence and puts ``run_at`` to where the lease ends. An outcome is
written where the fence is still the claim's. Each hook's due rows are one range of an index, so that a backlog of one
costs a claim of another nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, assert_never

from sqlalchemy import BigInteger, ColumnElement, bindparam, case, exists, func, null, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from keepstep.model.hooks import Again, Dead, Delivered, Finished, GivenBack
from keepstep.model.records import HookRecord
from keepstep.model.status import HookStatus
from keepstep.store.script import Call, Row, Script
from keepstep.store.statement import (
    DATABASE_CLOCK,
    DialectName,
    ListOf,
    Statement,
    db_now,
    fixed,
    limited,
    names,
)
from keepstep.store.tables import IS_COLLAPSIBLE, hook

PENDING, DELIVERING = fixed(HookStatus.PENDING), fixed(HookStatus.DELIVERING)
NO_NAME = ""
"""In a listing: of any name or status."""


class Trigger(NamedTuple):
    """A checked request to call a hook after the commit."""

    id: int
    name: str
    key: str | None
    due_at: int | None
    """None = at once."""
    payload: str
    trace: str | None


_given = insert(hook).values(
    id=bindparam("id"),
    name=bindparam("name"),
    key=bindparam("key", type_=hook.c.key.type),
    status=PENDING,
    run_at=func.coalesce(bindparam("due_at", type_=BigInteger()), db_now()),
    attempt=fixed(0),
    fence=fixed(0),
    created_at=db_now(),
    payload=bindparam("payload"),
    trace=bindparam("trace", type_=hook.c.trace.type),
)
_sooner = _given.excluded.run_at < hook.c.run_at
TRIGGER = Statement(
    _given.on_conflict_do_update(
        index_elements=[hook.c.name, hook.c.key],
        index_where=IS_COLLAPSIBLE,
        set_={
            "run_at": case((_sooner, _given.excluded.run_at), else_=hook.c.run_at),
            "payload": case((_sooner, _given.excluded.payload), else_=hook.c.payload),
            "trace": case((_sooner, _given.excluded.trace), else_=hook.c.trace),
        },
    ).returning(hook.c.id),
    "trigger hook",
)
"""Of two pending rows with one key the one that is due first stays (F1)."""

_due = (
    hook.c.name == bindparam("name"),
    hook.c.run_at.is_not(None),
    hook.c.run_at <= bindparam("now", type_=BigInteger()),
)
_due_ids = limited(select(hook.c.id).where(*_due).order_by(hook.c.run_at))
TAKE = Statement(
    hook.update()
    .where(hook.c.id.in_(_due_ids))
    .values(
        status=DELIVERING,
        attempt=hook.c.attempt + fixed(1),
        fence=hook.c.fence + fixed(1),
        run_at=bindparam("lease_until", type_=BigInteger()),
    )
    .returning(*hook.c),
    "claim hooks",
)
_COLUMNS = ", ".join(f'hook."{each.name}"' for each in hook.columns)
_NOW = f"coalesce(:now, {DATABASE_CLOCK['postgresql']})"
CLAIM = Statement(
    text(f"""WITH
clock AS MATERIALIZED (SELECT {_NOW} AS now),
due AS MATERIALIZED (
  SELECT found.id FROM unnest(:names, :most) AS want (name, most), LATERAL (
    SELECT id FROM {hook} WHERE {hook}.name = want.name AND run_at IS NOT NULL AND run_at <= (SELECT now FROM clock)
    ORDER BY run_at LIMIT want.most FOR UPDATE SKIP LOCKED) AS found
)
UPDATE {hook} AS hook SET status = '{HookStatus.DELIVERING}', attempt = hook.attempt + 1, fence = hook.fence + 1,
  run_at = (SELECT now FROM clock) + :lease_ms
WHERE hook.id = ANY (ARRAY(SELECT id FROM due)) RETURNING {_COLUMNS}""").bindparams(
        bindparam("now", type_=BigInteger(), required=False),
        bindparam("lease_ms", type_=BigInteger()),
        names("names"),
        bindparam("most", type_=ListOf(BigInteger())),
    ),
    "claim hooks",
)
"""The whole claim on PostgreSQL."""

FIRST_DUE: Mapping[DialectName, Statement] = {
    "postgresql": Statement(
        text(f"""SELECT {_NOW}, want.name, first.run_at FROM unnest(:names) AS want (name), LATERAL (
    SELECT run_at FROM {hook} WHERE {hook}.name = want.name AND run_at IS NOT NULL ORDER BY run_at LIMIT 1) AS first
""").bindparams(bindparam("now", type_=BigInteger(), required=False), names("names")),
        "first due hooks",
    ),
    "sqlite": Statement(
        text(f"""SELECT coalesce(:now, {DATABASE_CLOCK["sqlite"]}), want.value, (
    SELECT run_at FROM {hook} WHERE {hook}.name = want.value AND run_at IS NOT NULL ORDER BY run_at LIMIT 1)
  FROM json_each(:names) AS want""").bindparams(
            bindparam("now", type_=BigInteger(), required=False), names("names")
        ),
        "first due hooks",
    ),
}
"""When the first row of each hook is due: one look into the index a hook."""

_mine = (hook.c.id == bindparam("row"), hook.c.fence == bindparam("of_fence"))
_under_way = (*_mine, hook.c.status == DELIVERING)
"""An outcome is written once, also when the answer of the first writing was lost and it is written again."""
FINISH = Statement(
    hook.update()
    .where(*_under_way)
    .values(
        status=bindparam("to_status"),
        run_at=null(),
        finished_at=bindparam("ended_at"),
        error=func.coalesce(bindparam("to_error", type_=hook.c.error.type), hook.c.error),
    ),
    "finish hook",
    ("to_status", "ended_at", "to_error", "row", "of_fence"),
)
_other = hook.alias("other")
_HAS_HEIR = exists().where(
    hook.c.key.is_not(None),
    _other.c.id != hook.c.id,
    _other.c.name == hook.c.name,
    _other.c.key == hook.c.key,
    _other.c.status == PENDING,
)


def _pending_again(due: ColumnElement[Any], at: ColumnElement[Any]) -> dict[str, Any]:
    """Pending, unless another row with its key is pending already: then that one goes on."""
    return {
        "status": case((_HAS_HEIR, fixed(HookStatus.MERGED)), else_=PENDING),
        "run_at": case((_HAS_HEIR, null()), else_=due),
        "finished_at": case((_HAS_HEIR, at), else_=null()),
    }


_at = bindparam("ended_at", type_=BigInteger())
TRY_AGAIN = Statement(
    hook.update()
    .where(*_under_way)
    .values(
        attempt=hook.c.attempt - bindparam("uncounted"),
        error=func.coalesce(bindparam("to_error", type_=hook.c.error.type), hook.c.error),
        **_pending_again(bindparam("due_at", type_=BigInteger()), _at),
    ),
    "try hook again",
)
RENEW = Statement(
    hook.update().where(*_under_way).values(run_at=bindparam("lease_until", type_=BigInteger())),
    "renew hooks",
    ("lease_until", "row", "of_fence"),
)
REQUEUE = Statement(
    hook.update()
    .where(*_mine)
    .values(attempt=fixed(0), fence=hook.c.fence + fixed(1), **_pending_again(db_now(), db_now())),
    "requeue hook",
)
READ_HOOK = Statement(select(hook).where(hook.c.id == bindparam("row")), "read hook")
LOCK_HOOK = Statement(select(hook).where(hook.c.id == bindparam("row")).with_for_update(), "lock hook")
_status, _name = (
    bindparam("of_status", type_=hook.c.status.type),
    bindparam("of_name", type_=hook.c.name.type),
)
LIST_HOOKS = Statement(
    limited(
        select(hook)
        .where(
            hook.c.id < bindparam("before", type_=BigInteger()),
            or_(_status == fixed(NO_NAME), hook.c.status == _status),
            or_(_name == fixed(NO_NAME), hook.c.name == _name),
        )
        .order_by(hook.c.id.desc())
    ),
    "list hooks",
)
_old = limited(
    select(hook.c.id).where(
        hook.c.status == bindparam("of_status"),
        hook.c.finished_at.is_not(None),
        hook.c.finished_at < bindparam("before", type_=BigInteger()),
    )
)
PRUNE = Statement(hook.delete().where(hook.c.id.in_(_old)).returning(hook.c.id), "prune hooks")


def insert_trigger(trigger: Trigger, now: int | None = None) -> Script[int]:
    """Store a call that is to be made after the commit; the id of the row that stays (F1).

    Args:
        trigger: what to store.
        now: database time where the caller has it; None = the database's own clock.
    """
    params = trigger._asdict()
    found = yield Call(TRIGGER, params if now is None else {**params, "now": now})
    return found[0][0]


def claim_hooks(
    dialect: DialectName, places: Mapping[str, int], lease_ms: int, now: int
) -> Script[list[HookRecord]]:
    """Claim due rows, the oldest of each hook first; on PostgreSQL one statement.

    Args:
        dialect: which database.
        places: how many rows of each hook at most.
        lease_ms: how long a delivery may be silent.
        now: database time on SQLite, which has the caller's clock.
    """
    if dialect == "postgresql":
        wanted = {"names": list(places), "most": list(places.values()), "lease_ms": lease_ms}
        return [HookRecord._make(row) for row in (yield Call(CLAIM, wanted))]
    rows: list[Row] = []
    for name, most in places.items():
        wanted = {"name": name, "limit": most, "now": now, "lease_until": now + lease_ms}
        rows += yield Call(TAKE, wanted)
    return [HookRecord._make(row) for row in rows]


class FirstDue(NamedTuple):
    """The database's time, and when the first row of each hook is due that has any."""

    now: int
    dues: dict[str, int]


def first_due_hooks(dialect: DialectName, of: Sequence[str]) -> Script[FirstDue | None]:
    """When the first row of each of these hooks is due; None when they have none."""
    rows = yield Call(FIRST_DUE[dialect], {"names": list(of)})
    dues = {name: due for _, name, due in rows if due is not None}
    return FirstDue(rows[0][0], dues) if dues else None


def finish_hooks(finished: Sequence[Finished]) -> Script[None]:
    """Write outcomes, each only where its claim still holds (F1)."""
    ended: list[tuple[Any, ...]] = []
    for each in finished:
        match each.outcome:
            case Delivered():
                ended.append((HookStatus.DELIVERED.value, each.at, None, each.id, each.fence))
            case Dead(error):
                ended.append((HookStatus.DEAD.value, each.at, error, each.id, each.fence))
            case Again(due_at, error):
                yield from _again(each, due_at, error, 0)
            case GivenBack(due_at):
                yield from _again(each, due_at, None, 1)
            case _:
                assert_never(each.outcome)
    if ended:
        yield Call(FINISH, ended)


def _again(each: Finished, due_at: int, error: str | None, uncounted: int) -> Script[None]:
    wanted = {"row": each.id, "of_fence": each.fence, "due_at": due_at, "ended_at": each.at}
    yield Call(TRY_AGAIN, {**wanted, "to_error": error, "uncounted": uncounted})


def renew_hooks(claims: Sequence[tuple[int, int]], until: int) -> Script[None]:
    """Prolong the leases of deliveries under way, given as (id, fence)."""
    yield Call(RENEW, [(until, *each) for each in claims])


def read_hook(row_id: int, *, lock: bool = False) -> Script[HookRecord | None]:
    """One row."""
    found = yield Call(LOCK_HOOK if lock else READ_HOOK, {"row": row_id})
    return HookRecord._make(found[0]) if found else None


def list_hooks(status: str | None, name: str | None, limit: int, before: int) -> Script[list[HookRecord]]:
    """A page of rows, youngest first, with ids below ``before``."""
    wanted = {"of_status": status or NO_NAME, "of_name": name or NO_NAME, "limit": limit, "before": before}
    return [HookRecord._make(row) for row in (yield Call(LIST_HOOKS, wanted))]


def requeue_hook(row: HookRecord) -> Script[None]:
    """Have a row that was read under a lock delivered anew, with all its attempts before it."""
    yield Call(REQUEUE, {"row": row.id, "of_fence": row.fence})


def prune_hooks(ends: Mapping[HookStatus, int], limit: int) -> Script[int]:
    """Delete rows that ended before the instant that is given for their status; how many."""
    pruned = 0
    for status, before in ends.items():
        found = yield Call(PRUNE, {"of_status": status.value, "before": before, "limit": limit})
        pruned += len(found)
    return pruned
