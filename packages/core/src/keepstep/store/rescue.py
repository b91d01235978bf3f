"""Freeing tasks: of runners whose lease has expired, of dead processes, of a runner that drains (B2, B3, B7).

Raised epochs and fences stop whatever the dead one still sends. Locks are taken in the order runner, task, run.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, case, exists, func, null, select

from keepstep.model.status import Priority
from keepstep.store.script import Call, Script
from keepstep.store.statement import DialectName, Statement, among, db_now, fixed, ids, limited
from keepstep.store.tables import IS_OWNED, run_step, runner, task

_MAX_SEQ = func.coalesce(
    select(func.max(run_step.c.seq)).where(run_step.c.run_id == task.c.run_id).scalar_subquery(), fixed(0)
)
_DUE_NOW = case((task.c.run_at < db_now(), task.c.run_at), else_=db_now())
"""Due now, or since when it was due before."""

_expired = select(runner.c.id).where(runner.c.locked_until < db_now())
LOCK_EXPIRED = Statement(_expired.with_for_update(skip_locked=True), "lock expired runners")
LOCK_RUNNERS = Statement(
    select(runner.c.id, runner.c.epoch).where(among(runner.c.id, ids("runners"))).with_for_update(),
    "lock runners",
)
RAISE_EPOCHS = Statement(
    runner.update().where(among(runner.c.id, ids("runners"))).values(epoch=runner.c.epoch + fixed(1)),
    "raise epochs",
)
DROP_RUNNERS = Statement(
    runner.delete().where(among(runner.c.id, ids("runners")), ~exists().where(task.c.owner == runner.c.id)),
    "drop runners",
)
LOCK_TASKS_OF = Statement(
    limited(select(task.c.run_id).where(among(task.c.owner, ids("runners")))).with_for_update(),
    "lock tasks of dead runners",
)
_FREE = task.update().values(owner=null(), priority=fixed(Priority.RESUME), run_at=_DUE_NOW)
TAKE_OVER = Statement(
    _FREE.where(among(task.c.run_id, ids("run_ids"))).values(
        fence=task.c.fence + fixed(1),
        takeovers=case((task.c.seen_seq < _MAX_SEQ, fixed(1)), else_=task.c.takeovers + fixed(1)),
        seen_seq=_MAX_SEQ,
    ),
    "take over",
)
GIVE_BACK = Statement(_FREE.where(task.c.owner == bindparam("runner")), "give back")

# Who owns tasks, found by one index look-up an owner, and has no row any more.
_owners = select(func.min(task.c.owner).label("id")).where(IS_OWNED).cte("owners", recursive=True)
_next_owner = select(func.min(task.c.owner)).where(task.c.owner > _owners.c.id).scalar_subquery()
_owners = _owners.union_all(select(_next_owner).where(_owners.c.id.is_not(None)))
LOOK_ORPHANED = Statement(
    select(_owners.c.id).where(_owners.c.id.is_not(None), ~exists().where(runner.c.id == _owners.c.id)),
    "look for tasks of nobody",
)


def rescue(dialect: DialectName, limit: int) -> Script[list[int]]:  # noqa: ARG001  # scripts are called alike
    """Make the tasks of runners whose lease has expired claimable, and count it (B2, B3, B7).

    Raises those runners' epochs and their tasks' fences. A runner whose groups are being committed at this moment is
    left for the next time. A dead runner that owns nothing any more is deleted.

    Args:
        dialect: which database.
        limit: how many runs at most; the rest follows with the next call.

    Returns:
        The rescued run ids.
    """
    expired = yield Call(LOCK_EXPIRED)
    orphaned = yield Call(LOOK_ORPHANED)
    return (yield from _take_over([row[0] for row in (*expired, *orphaned)], limit))


def rescue_process(
    dialect: DialectName,  # noqa: ARG001  # scripts are called alike
    runner_ids: Sequence[int],
    limit: int = 10_000,
) -> Script[list[int]]:
    """Do the same for runners that are known to be dead, without waiting for their leases."""
    locked = yield Call(LOCK_RUNNERS, {"runners": list(runner_ids)})
    return (yield from _take_over([row[0] for row in locked], limit))


def _take_over(runner_ids: list[int], limit: int) -> Script[list[int]]:
    if not runner_ids:
        return []
    dead = {"runners": runner_ids}
    yield Call(RAISE_EPOCHS, dead)
    run_ids: list[int] = [row[0] for row in (yield Call(LOCK_TASKS_OF, {**dead, "limit": limit}))]
    if run_ids:
        yield Call(TAKE_OVER, {"run_ids": run_ids})
    yield Call(DROP_RUNNERS, dead)
    return run_ids


def release_runner(dialect: DialectName, runner_id: int, epoch: int) -> Script[bool]:  # noqa: ARG001  # likewise
    """Drain a runner: what it still owns becomes claimable at once, uncounted, and its row goes.

    Returns:
        False when the runner was taken over before; nothing is written then.
    """
    locked = yield Call(LOCK_RUNNERS, {"runners": [runner_id]})
    if not locked or locked[0][1] != epoch:
        return False
    yield Call(GIVE_BACK, {"runner": runner_id})
    yield Call(DROP_RUNNERS, {"runners": [runner_id]})
    return True
