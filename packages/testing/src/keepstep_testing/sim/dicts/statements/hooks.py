"""The outbox (F1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepstep.model.records import HookRecord
from keepstep.model.status import HookStatus
from keepstep.store import hooks
from keepstep_testing.sim.dicts.answers import Rows, answers
from keepstep_testing.sim.dicts.database import DictDatabase

PENDING = HookStatus.PENDING.value


def _pending(db: DictDatabase, name: str, key: str | None) -> HookRecord | None:
    """The pending row with a hook's key."""
    if key is None:
        return None
    for row in db.hook.rows.values():
        if row.key == key and row.name == name and row.status == PENDING:
            return row
    return None


@answers(hooks.TRIGGER)
def trigger(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """A call is stored; of two that are pending under one key the one that is due first stays."""
    due_at = now if given["due_at"] is None else given["due_at"]
    there = _pending(db, given["name"], given["key"])
    if there is None:
        row = HookRecord(
            given["id"],
            given["name"],
            given["key"],
            PENDING,
            due_at,
            0,
            0,
            now,
            None,
            given["payload"],
            None,
            given["trace"],
        )
        db.insert(db.hook, row)
        return [(row.id,)]
    sooner = there.run_at is not None and due_at < there.run_at
    told = {"run_at": due_at, "payload": given["payload"], "trace": given["trace"]} if sooner else {}
    db.put(db.hook, there._replace(**told))
    return [(there.id,)]


def _waiting(db: DictDatabase, name: str) -> list[HookRecord]:
    """A hook's rows that are to be looked at, the first due first."""
    found = [row for row in db.hook.rows.values() if row.name == name and row.run_at is not None]
    return sorted(found, key=lambda row: (row.run_at or 0, row.id))


@answers(hooks.TAKE)
def take(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """Due rows are claimed for a delivery, or taken over from one whose lease has ended."""
    due = [row for row in _waiting(db, given["name"]) if (row.run_at or 0) <= now][: given["limit"]]
    until = given["lease_until"]
    taken = [
        row._replace(
            status=HookStatus.DELIVERING.value, attempt=row.attempt + 1, fence=row.fence + 1, run_at=until
        )
        for row in sorted(due)
    ]
    for row in taken:
        db.put(db.hook, row)
    return taken


@answers(hooks.FIRST_DUE["sqlite"])
def first_due(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """Now, each hook, and when its first row is due."""
    return [(now, name, rows[0].run_at if (rows := _waiting(db, name)) else None) for name in given["names"]]


def _claimed(db: DictDatabase, row: int, fence: int) -> HookRecord | None:
    """The row, if the claim with this fence is still the last one."""
    found = db.hook.get(row)
    return found if found is not None and found.fence == fence else None


def _under_way(db: DictDatabase, row: int, fence: int) -> HookRecord | None:
    """The row, if the delivery of this claim has no outcome yet."""
    found = _claimed(db, row, fence)
    return found if found is not None and found.status == HookStatus.DELIVERING else None


@answers(hooks.FINISH)
def finish(db: DictDatabase, *values: Any) -> None:
    """A claim's outcome that is the last one."""
    status, ended_at, error, row, fence = values
    found = _under_way(db, row, fence)
    if found is not None:
        error = found.error if error is None else error
        db.put(db.hook, found._replace(status=status, run_at=None, finished_at=ended_at, error=error))


def _put_again(db: DictDatabase, row: HookRecord, due: int, at: int, **changes: Any) -> None:
    """Pending again; or, where another row with its key is pending already, merged into that one."""
    there = _pending(db, row.name, row.key)
    if there is None or there.id == row.id:
        again = {"status": PENDING, "run_at": due, "finished_at": None}
    else:
        again = {"status": HookStatus.MERGED.value, "run_at": None, "finished_at": at}
    db.put(db.hook, row._replace(**again, **changes))


@answers(hooks.TRY_AGAIN)
def try_again(db: DictDatabase, given: Mapping[str, Any], _now: int) -> None:
    """A claim's outcome after which another attempt follows."""
    found = _under_way(db, given["row"], given["of_fence"])
    if found is None:
        return
    error = found.error if given["to_error"] is None else given["to_error"]
    attempt = found.attempt - given["uncounted"]
    _put_again(db, found, given["due_at"], given["ended_at"], attempt=attempt, error=error)


@answers(hooks.REQUEUE)
def requeue(db: DictDatabase, given: Mapping[str, Any], now: int) -> None:
    """All attempts anew, from now."""
    found = _claimed(db, given["row"], given["of_fence"])
    if found is not None:
        _put_again(db, found, now, now, attempt=0, fence=found.fence + 1)


@answers(hooks.RENEW)
def renew(db: DictDatabase, until: int, row: int, fence: int) -> None:
    """The lease of a delivery under way is prolonged."""
    found = _under_way(db, row, fence)
    if found is not None:
        db.put(db.hook, found._replace(run_at=until))


@answers(hooks.READ_HOOK, hooks.LOCK_HOOK)
def read_hook(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """One row."""
    found = db.hook.get(given["row"])
    return () if found is None else [found]


@answers(hooks.LIST_HOOKS)
def list_hooks(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """A page, the youngest first."""
    status, name = given["of_status"], given["of_name"]
    found = [
        row
        for row in db.hook.all()
        if row.id < given["before"]
        and status in {hooks.NO_NAME, row.status}
        and name in {hooks.NO_NAME, row.name}
    ]
    return found[::-1][: given["limit"]]


@answers(hooks.PRUNE)
def prune(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """Rows that ended before an instant go, the oldest first."""
    old = [
        (row.finished_at, row.id)
        for row in db.hook.rows.values()
        if row.status == given["of_status"]
        and row.finished_at is not None
        and row.finished_at < given["before"]
    ]
    gone = sorted(row_id for _, row_id in sorted(old)[: given["limit"]])
    for row_id in gone:
        db.delete(db.hook, row_id)
    return [(row_id,) for row_id in gone]
