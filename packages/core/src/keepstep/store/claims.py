"""Claims and leases: who advances which run, and until when (B2, B4, B5).

A claim takes due tasks that nobody owns: resuming work first, then new runs. Within each, the workflows that have due
tasks share the room alike, and each workflow's tasks go by ``run_at``: a share is one contiguous range of the partial
index, and a queue of a hundred thousand holds nobody else back (decision 0018). The lease is the runner's one row,
renewed however many tasks it covers. What becomes of them when it has expired is in ``rescue.py``. Locks are taken in one
order everywhere: runner, task, run.

Database time decides (``db_now``). When to look is the engine's business, what a run does is the kernel's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    bindparam,
    exists,
    func,
    or_,
    select,
)

from keepstep.model.records import RunnerRecord, RunRecord, TaskRecord
from keepstep.model.status import Priority, Status
from keepstep.store.api import Mode
from keepstep.store.claims_pg import CLAIM, NEXT_DUE_SINCE
from keepstep.store.clock import read_now
from keepstep.store.runs import run_record
from keepstep.store.script import Call, Row, Script
from keepstep.store.statement import (
    DialectName,
    Statement,
    among,
    db_now,
    each_of,
    fixed,
    ids,
    limited,
    names,
)
from keepstep.store.tables import IS_CLAIMABLE, run, runner, task

CLAIM_MODE: Mapping[DialectName, Mode] = {"sqlite": "write", "postgresql": "single"}
"""How a claim is executed: on PostgreSQL it is one statement, so one round trip."""


class Claimed(NamedTuple):
    """A task and its run, as they are after the claim."""

    task: TaskRecord
    run: RunRecord


Since = Mapping[tuple[str, int], int]
"""By workflow and priority: what is due before is claimed already, or waits for a look at everything (PostgreSQL)."""


class Claims(NamedTuple):
    """What a claim took.

    Attributes:
        now: the database's time (B5).
        claimed: in order of priority and ``run_at``.
        more: whether a workflow used up its share, so that more of it may be due.
    """

    now: int
    claimed: list[Claimed]
    more: bool


_DUE = (
    IS_CLAIMABLE,
    task.c.priority == bindparam("priority"),
    task.c.workflow == bindparam("workflow"),
    task.c.run_at <= select(db_now()).scalar_subquery(),  # read once: a range of the index, not a filter
)
_MY_LEASE = select(runner.c.epoch).where(runner.c.id == bindparam("runner")).scalar_subquery() == bindparam(
    "epoch"
)
_due_ids = limited(select(task.c.run_id).where(*_DUE).order_by(task.c.run_at))
TAKE = Statement(
    task.update()
    .where(task.c.run_id.in_(_due_ids), _MY_LEASE)
    .values(owner=bindparam("runner"), fence=task.c.fence + fixed(1))
    .returning(*task.c),
    "claim",
)
START_RUNS = Statement(
    run.update()
    .where(
        among(run.c.id, ids("run_ids")),
        or_(run.c.status != fixed(Status.ACTIVE), run.c.started_at.is_(None)),
    )
    .values(
        status=fixed(Status.ACTIVE),
        started_at=func.coalesce(run.c.started_at, db_now()),
        updated_at=db_now(),
        version=run.c.version + fixed(1),
    ),
    "start claimed runs",
)
READ_RUNS = Statement(select(run).where(among(run.c.id, ids("run_ids"))), "read claimed runs")

_claimed = (
    select(*task.c, *run.c).select_from(task.join(run, run.c.id == task.c.run_id)).order_by(task.c.run_at)
)
LOOK_DUE = Statement(limited(_claimed.where(*_DUE)), "look for due runs")
LOOK_EXPIRED = Statement(
    limited(
        _claimed.where(
            task.c.owner.in_(select(runner.c.id).where(runner.c.locked_until < db_now())),
            among(task.c.workflow, names("workflows")),
        )
    ),
    "look for runs of expired leases",
)


_turn = each_of(names("workflows")).table_valued("value", name="turn")


def _oldest(priority: int) -> ColumnElement[Any]:
    """When the oldest unowned task of a turn's workflow falls due."""
    due = select(task.c.run_at).where(
        IS_CLAIMABLE, task.c.priority == fixed(priority), task.c.workflow == _turn.c.value
    )
    return due.order_by(task.c.run_at).limit(fixed(1)).offset(fixed(0)).correlate(_turn).scalar_subquery()


def _first_due(priority: int) -> ColumnElement[Any]:
    return select(func.min(_oldest(priority))).select_from(_turn).scalar_subquery()


LOOK_TURNS = Statement(
    select(
        _turn.c.value, _oldest(Priority.RESUME) <= db_now(), _oldest(Priority.NEW) <= db_now()
    ).select_from(_turn),
    "look whose turn it is",
)
"""The named workflows, and whether each has resuming work and new runs that are due."""

_first_expiry = select(func.min(runner.c.locked_until)).where(
    exists().where(task.c.owner == runner.c.id, among(task.c.workflow, names("workflows")))
)
NEXT_DUE = Statement(
    select(db_now(), _first_due(Priority.RESUME), _first_due(Priority.NEW), _first_expiry.scalar_subquery()),
    "next due",
)
LOOK_HELD = Statement(select(task).where(task.c.owner == bindparam("runner")), "look at held tasks")
READ_TASKS = Statement(select(task).where(among(task.c.run_id, ids("run_ids"))), "read tasks")

_now_plus_lease = db_now() + bindparam("lease_ms", type_=BigInteger())
REGISTER = Statement(
    runner.insert()
    .values(
        id=bindparam("id"),
        epoch=bindparam("epoch"),
        locked_until=_now_plus_lease,
        host=bindparam("host"),
        pid=bindparam("pid"),
        started_at=db_now(),
    )
    .returning(runner.c.started_at),
    "register runner",
)
RENEW = Statement(
    runner.update()
    .where(runner.c.id == bindparam("runner"), runner.c.epoch == bindparam("of_epoch"))
    .values(locked_until=_now_plus_lease)
    .returning(runner.c.locked_until),
    "renew lease",
)
OF_HOST = Statement(select(runner).where(runner.c.host == bindparam("host")), "runners of a host")


def claim(
    dialect: DialectName,
    runner_id: int,
    epoch: int,
    limit: int,
    workflows: Sequence[str],
    *,
    since: Since | None = None,
) -> Script[Claims]:
    """Claim due runs: resuming work before new runs, shared among workflows, the oldest of each first (B2).

    When resuming work has used up a share, no new run is taken: more of it may be due, and goes first.
    On PostgreSQL it is one statement, fit for mode ``single``.

    Args:
        dialect: which database.
        runner_id: who claims; its ``epoch`` must hold, else nothing is claimed.
        epoch: as registered.
        limit: how many runs at most.
        workflows: names that the runner has registered, in order of their turns: the first ones have a share where
            there is less room than workflows.
        since: leave what was due before; None = nothing.
    """
    mine = {"runner": runner_id, "epoch": epoch}
    if dialect == "postgresql":
        rows = yield Call(CLAIM, {**mine, "limit": limit, **_from_marks(workflows, since or {})})
        taken = [_claimed_row(row[2:]) for row in rows if row[2] is not None]
        return Claims(rows[0][0], sorted(taken, key=_claim_order), rows[0][1])
    now = yield from read_now()
    tasks, more = yield from _shared_out(TAKE, {**mine, "now": now}, limit, workflows)
    if not tasks:
        return Claims(now, [], more)
    run_ids = [row[0] for row in tasks]
    yield Call(START_RUNS, {"run_ids": run_ids, "now": now})
    runs = {row[0]: run_record(row) for row in (yield Call(READ_RUNS, {"run_ids": run_ids}))}
    taken = [Claimed(TaskRecord._make(row), runs[row[0]]) for row in tasks]
    return Claims(now, sorted(taken, key=_claim_order), more)


def _shared_out(
    statement: Statement, params: Mapping[str, Any], limit: int, workflows: Sequence[str]
) -> Script[tuple[list[Row], bool]]:
    """Rows that a statement finds, a share for each workflow that has some, and whether a share was used up."""
    turns = {name: due for name, *due in (yield Call(LOOK_TURNS, {**params, "workflows": list(workflows)}))}
    rows: list[Row] = []
    for priority in (Priority.RESUME, Priority.NEW):
        sharing = [name for name in workflows if turns[name][priority]]
        more = False
        for name, share in share_out(limit - len(rows), sharing):
            found = yield Call(statement, {**params, "priority": priority, "workflow": name, "limit": share})
            rows += found
            more |= len(found) == share
        if more:
            return rows, True
    return rows, False


def share_out(room: int, names: Sequence[str]) -> list[tuple[str, int]]:
    """Equal shares of ``room``; what does not divide goes to the first ones, and nobody gets a share of nothing."""
    each, rest = divmod(room, len(names)) if names else (0, 0)
    shares = ((name, each + (place < rest)) for place, name in enumerate(names))
    return [(name, share) for name, share in shares if share]


def _claim_order(claimed: Claimed) -> tuple[int, int, int]:
    return claimed.task.priority, claimed.task.run_at or 0, claimed.task.run_id


def _claimed_row(row: Row) -> Claimed:
    ends = len(TaskRecord._fields)
    return Claimed(TaskRecord._make(row[:ends]), run_record(row[ends:]))


def due(limit: int, workflows: Sequence[str]) -> Script[list[Claimed]]:
    """Runs that may be advanced now, as a claim would take them, read and not claimed: for optimistic ticks (B9)."""
    rows, _ = yield from _shared_out(LOOK_DUE, {}, limit, workflows)
    found = sorted(map(_claimed_row, rows), key=_claim_order)
    if len(rows) < limit:
        expired = yield Call(LOOK_EXPIRED, {"workflows": list(workflows), "limit": limit - len(rows)})
        found += map(_claimed_row, expired)
    return found


def next_due(workflows: Sequence[str], since: Since | None = None) -> Script[tuple[int, int | None]]:
    """The database's time, and when the next run of these workflows falls due or the next lease on one of them expires.

    With ``since``, which is as for :func:`claim` and only for PostgreSQL, no lease is looked at.
    """
    if since is None:
        ((now, *instants),) = yield Call(NEXT_DUE, {"workflows": list(workflows)})
    else:
        ((now, *instants),) = yield Call(NEXT_DUE_SINCE, _from_marks(workflows, since))
    return now, min((each for each in instants if each is not None), default=None)


def _from_marks(workflows: Sequence[str], since: Since) -> dict[str, Any]:
    marks = {
        f"{kind}_since": [since.get((name, priority), 0) for name in workflows]
        for kind, priority in (("resuming", Priority.RESUME), ("fresh", Priority.NEW))
    }
    return {"workflows": list(workflows), **marks}


def look_held(runner_id: int) -> Script[list[TaskRecord]]:
    """The tasks that a runner owns, to notice wake-ups and lost runs (B3, B6)."""
    return [TaskRecord._make(row) for row in (yield Call(LOOK_HELD, {"runner": runner_id}))]


def read_tasks(run_ids: Sequence[int]) -> Script[list[TaskRecord]]:
    """The tasks of these runs; runs that have ended have none."""
    return [TaskRecord._make(row) for row in (yield Call(READ_TASKS, {"run_ids": list(run_ids)}))]


def register_runner(record: RunnerRecord, lease_ms: int) -> Script[int]:
    """Insert a runner with a lease of ``lease_ms`` from now; returns the database's time, its ``started_at``.

    The record's instants are not used: the database's are (B5).
    """
    params = {
        "id": record.id,
        "epoch": record.epoch,
        "host": record.host,
        "pid": record.pid,
        "lease_ms": lease_ms,
    }
    return (yield Call(REGISTER, params))[0][0]


def renew(runner_id: int, epoch: int, lease_ms: int) -> Script[int | None]:
    """Prolong the lease to ``lease_ms`` from now (B4); returns when it ends, or None when it was taken over."""
    found = yield Call(RENEW, {"runner": runner_id, "of_epoch": epoch, "lease_ms": lease_ms})
    return found[0][0] if found else None


def runners_of_host(host: str) -> Script[list[RunnerRecord]]:
    """The runners that were registered from this host and boot."""
    return [RunnerRecord._make(row) for row in (yield Call(OF_HOST, {"host": host}))]
