"""Writing boundaries: guards first, then the rows of those that still hold (B1, B3, B6).

:func:`commit_group` writes the boundaries of many runs of one runner in one transaction; each wins or loses alone.
:func:`commit_leased` writes one in a transaction that a user's step shares, :func:`commit_optimistic` one without a
lease. All read the guard under a lock, leave losers out, and write what is left with one ``executemany`` a table.
Locks are taken in one order everywhere: runner, task, run. On PostgreSQL a group is a single statement instead
(``boundaries_pg.py``).

What a boundary contains was decided before it came here: nothing here looks at a status, a policy or a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, assert_never

from sqlalchemy import BigInteger, bindparam, column, false, func, null, select, text
from sqlalchemy.dialects.postgresql import insert

from keepstep.model.plan import Boundary, ContinueAsNew, Creation, Finish, Hold, Park, Pause, Release
from keepstep.model.status import Priority, Status
from keepstep.store import boundaries_pg
from keepstep.store.changes import ADD_CHANGE
from keepstep.store.group import GroupResult
from keepstep.store.runs import ADD_RUN, DROP_TASK, PUT_TASK, insert_creations
from keepstep.store.script import Call, Script
from keepstep.store.statement import IDLE_MAX, DialectName, Statement, db_now, fixed, ids
from keepstep.store.tables import event, log, run, run_step, runner, task

_step = insert(run_step)
APPEND_STEP = Statement(
    _step.on_conflict_do_update(
        index_elements=[run_step.c.run_id, run_step.c.key],
        set_={each.name: _step.excluded[each.name] for each in run_step.c if not each.primary_key},
        where=run_step.c.seq.is_(None),
    ),
    "append step",
    run_step.c.keys(),
)
"""Append a step row, or put it in place of the open row of its key. A resolved row is never replaced (C2)."""

APPEND_LOG = Statement(insert(log).on_conflict_do_nothing(), "append log", log.c.keys())
CONSUME_EVENT = Statement(
    event.update()
    .values(consumed_by=bindparam("by_key"))
    .where(
        event.c.id == bindparam("event"), event.c.run_id == bindparam("run"), event.c.consumed_by.is_(None)
    ),
    "consume event",
    ("by_key", "event", "run"),
)
_LEASE = select(runner.c.epoch).where(runner.c.id == bindparam("runner")).scalar_subquery() == bindparam(
    "epoch"
)
READ_EPOCH = Statement(select(runner.c.epoch).where(runner.c.id == bindparam("runner")), "read epoch")
_asked = func.json_each(ids("run_ids")).table_valued(column("value", BigInteger), name="asked")
_HELD = (
    select(task.c.run_id, task.c.fence, task.c.wake_seq)
    .select_from(_asked.join(task, task.c.run_id == _asked.c.value))
    .where(task.c.owner + fixed(0) == bindparam("runner"), _LEASE)  # by key: not through the index on owner
)
READ_HELD = Statement(_HELD, "guard held runs")
READ_ENDING = Statement(
    _HELD.add_columns(run.c.version).join(run, run.c.id == task.c.run_id), "guard ending runs"
)

_FREE_TASK = (
    task.update().where(task.c.run_id == bindparam("run")).values(owner=null(), run_at=bindparam("due"))
)
PARK_TASK = Statement(
    _FREE_TASK.values(priority=fixed(Priority.RESUME), takeovers=fixed(0)), "park task", ("due", "run")
)
RELEASE_TASK = Statement(_FREE_TASK.values(priority=fixed(Priority.RESUME)), "release task", ("due", "run"))

_CHANGE_RUN = (
    run.update()
    .where(run.c.id == bindparam("run"))
    .values(
        status=bindparam("to_status"), version=run.c.version + fixed(1), updated_at=bindparam("changed_at")
    )
)
MOVE_EVENT = Statement(
    event.update().values(run_id=bindparam("to_run")).where(event.c.id == bindparam("event")),
    "move event",
    ("to_run", "event"),
)
"""Give an event that nothing has consumed to the run that continues its own (C10)."""
MOVE_RUN = Statement(
    _CHANGE_RUN.values(error=bindparam("to_error")),
    "move run",
    ("to_status", "changed_at", "to_error", "run"),
)
PAUSE_RUN = Statement(
    _CHANGE_RUN.values(pause_requested=false(), error=null()), "pause run", ("to_status", "changed_at", "run")
)
_FINISH = _CHANGE_RUN.values(
    pause_requested=false(),
    completed_at=bindparam("ended_at"),
    output=bindparam("to_output"),
    error=bindparam("to_error"),
)
_FINISH_ORDER = ("to_status", "changed_at", "ended_at", "to_output", "to_error", "run")
FINISH_RUN = Statement(_FINISH, "finish run", _FINISH_ORDER)
SUPERSEDE_RUN = Statement(_FINISH.values(latest=false()), "supersede run", _FINISH_ORDER)
"""Finish a run whose instance goes on in another one, inserted next (C10)."""

_GUARD_TASK = select(task.c.owner, task.c.fence, task.c.wake_seq, runner.c.locked_until, db_now()).where(
    task.c.run_id == bindparam("run")
)
STAY_AWAKE = Statement(
    text(f"SELECT set_config('idle_in_transaction_session_timeout', '{IDLE_MAX}', true)"), "stay awake"
)
"""From here to its end a transaction on PostgreSQL must not stand still: it may be a host's, with settings of its own."""
LOCK_EPOCH = Statement(
    select(runner.c.epoch)
    .where(runner.c.id == bindparam("runner"))
    .with_for_update(read=True, key_share=True),
    "lock epoch",
)
LOCK_TASK = Statement(
    _GUARD_TASK.select_from(task.outerjoin(runner, runner.c.id == task.c.owner)).with_for_update(of=task),
    "lock task",
)
LOCK_RUN = Statement(select(run.c.version).where(run.c.id == bindparam("run")).with_for_update(), "lock run")
RAISE_FENCE = Statement(
    task.update().where(task.c.run_id == bindparam("run")).values(fence=task.c.fence + fixed(1)),
    "raise fence",
)

LATER_STEP = Statement(
    select(run_step.c.seq)
    .where(run_step.c.run_id == bindparam("run"), run_step.c.seq >= bindparam("from_seq"))
    .order_by(run_step.c.seq)
    .limit(fixed(1))
    .offset(fixed(0)),
    "find a later step",
)
"""Whether the holder of an expired lease recorded results after a tick had read the run: that raises no guard."""

START_RUN = Statement(
    run.update()
    .where(run.c.id == bindparam("run"))
    .values(started_at=func.coalesce(run.c.started_at, bindparam("began_at", type_=BigInteger()))),
    "start run",
)


def commit_group(
    dialect: DialectName,
    runner_id: int,
    epoch: int,
    boundaries: Sequence[Boundary],
    creations: Sequence[Creation] = (),
    *,
    wait: bool = True,
) -> Script[GroupResult]:
    """Write the boundaries and creations that still hold, in one transaction (B1, B3).

    Args:
        dialect: which database.
        runner_id: the runner that holds the boundaries' runs.
        epoch: its epoch; when it has moved, nothing at all is written.
        boundaries: at most one for each run.
        creations: new runs; one whose instance exists already loses alone (E2). A run created here has no
            boundary in the same group.
        wait: whether to wait for rows that another transaction has locked (PostgreSQL; SQLite locks all at once).

    Returns:
        Which run ids were written, and whether the runner's epoch holds. Nothing of a loser is written.
    """
    if dialect == "postgresql":
        return (yield from boundaries_pg.commit_group(runner_id, epoch, boundaries, creations, wait=wait))
    won, epoch_held = yield from _read_guards(runner_id, epoch, boundaries)
    if not epoch_held:
        return GroupResult(frozenset(), epoch_held=False)
    kept = {boundary.run_id for boundary in won}
    if creations:
        kept |= yield from insert_creations(dialect, creations)
    if won:
        yield from _write(won)
    return GroupResult(frozenset(kept), epoch_held=True)


def commit_leased(dialect: DialectName, runner_id: int, epoch: int, boundary: Boundary) -> Script[bool]:
    """Write one boundary in a transaction that also holds a user's writes (C8); False means roll it back.

    Args:
        dialect: which database.
        runner_id: the runner that holds the run.
        epoch: its epoch as registered.
        boundary: what to write.
    """
    if dialect == "postgresql":
        yield Call(STAY_AWAKE)
    found = yield Call(LOCK_EPOCH, {"runner": runner_id})
    if not found or found[0][0] != epoch:
        return False
    found = yield Call(LOCK_TASK, {"run": boundary.run_id})
    if not found or found[0][0] != runner_id or not _fits(boundary, *found[0][1:3]):
        return False
    if not isinstance(boundary.end, Hold) and not (yield from _lock_version(boundary)):
        return False
    yield from _write([boundary])
    return True


def commit_optimistic(dialect: DialectName, boundary: Boundary) -> Script[bool]:
    """Write one boundary without a lease (B9): nobody may hold the run, or its holder's lease has expired.

    Raises the fence, so that whoever read the same state, or held the run before, loses (B3).

    Args:
        dialect: which database.
        boundary: what to write; its end gives the run back (never :class:`Hold`).
    """
    assert not isinstance(boundary.end, Hold), "an optimistic tick cannot keep its run: use Release"
    if dialect == "postgresql":
        yield Call(STAY_AWAKE)
    found = yield Call(LOCK_TASK, {"run": boundary.run_id})
    if not found:
        return False
    owner, fence, wake_seq, locked_until, now = found[0]
    if owner is not None and locked_until is not None and locked_until >= now:
        return False
    if not _fits(boundary, fence, wake_seq) or not (yield from _lock_version(boundary)):
        return False
    if owner is not None and (yield from _is_further(boundary)):
        return False
    yield Call(RAISE_FENCE, {"run": boundary.run_id})
    if boundary.started_at is not None:
        yield Call(START_RUN, {"run": boundary.run_id, "began_at": boundary.started_at})
    yield from _write([boundary])
    return True


def _read_guards(
    runner_id: int, epoch: int, boundaries: Sequence[Boundary]
) -> Script[tuple[list[Boundary], bool]]:
    """The boundaries whose guard holds, in their order, and whether the epoch does. SQLite's: BEGIN IMMEDIATE locks."""
    lease = {"runner": runner_id, "epoch": epoch}
    ending = [each.run_id for each in boundaries if type(each.end) is not Hold]
    holding = [each.run_id for each in boundaries if type(each.end) is Hold]
    held: dict[int, tuple[Any, ...]] = {}
    if holding:
        for row in (yield Call(READ_HELD, {"run_ids": holding, **lease})):
            held[row[0]] = (row[1], row[2])
    if ending:
        for row in (yield Call(READ_ENDING, {"run_ids": ending, **lease})):
            held[row[0]] = (row[1], row[2], row[3])
    if not held:
        found = yield Call(READ_EPOCH, {"runner": runner_id})
        return [], bool(found) and found[0][0] == epoch
    return [each for each in boundaries if (read := held.get(each.run_id)) and _fits(each, *read)], True


def _fits(boundary: Boundary, fence: int, wake_seq: int, version: int | None = None) -> bool:
    return (
        boundary.fence == fence
        and (boundary.wake_seq is None or boundary.wake_seq == wake_seq)
        and (version is None or type(boundary.end) is Hold or boundary.version == version)
    )


def _lock_version(boundary: Boundary) -> Script[bool]:
    found = yield Call(LOCK_RUN, {"run": boundary.run_id})
    return bool(found) and found[0][0] == boundary.version


def _is_further(boundary: Boundary) -> Script[bool]:
    """Whether results are stored in the place of the boundary's own."""
    first = min((step.seq for step in boundary.steps if step.seq is not None), default=None)
    return first is not None and bool((yield Call(LATER_STEP, {"run": boundary.run_id, "from_seq": first})))


def _write(boundaries: Sequence[Boundary]) -> Script[None]:
    """Write what the boundaries contain; their guards hold."""
    steps = [step for each in boundaries for step in each.steps]
    if steps:
        yield Call(APPEND_STEP, steps)
    consumed = [(taken.key, taken.event_id, each.run_id) for each in boundaries for taken in each.consumed]
    if consumed:
        yield Call(CONSUME_EVENT, consumed)
    logs = [line for each in boundaries for line in each.logs]
    if logs:
        yield Call(APPEND_LOG, logs)
    yield from _write_ends([each for each in boundaries if type(each.end) is not Hold])
    changes = [told for each in boundaries for told in each.changes]
    if changes:
        yield Call(ADD_CHANGE, changes)


def _write_ends(boundaries: Iterable[Boundary]) -> Script[None]:
    rows: dict[Statement, list[tuple[Any, ...]]] = {}
    for each in boundaries:
        for statement, row in _end_rows(each):
            rows.setdefault(statement, []).append(row)
    for statement, parameters in rows.items():
        yield Call(statement, parameters)


def _end_rows(boundary: Boundary) -> tuple[tuple[Statement, tuple[Any, ...]], ...]:
    """What an end changes, a row for each statement, in the order in which they must run."""
    run_id, at, end = boundary.run_id, boundary.at, boundary.end
    match end:
        case Finish(status, output, error):
            finished = (status.value, at, at, output, error, run_id)
            return (FINISH_RUN, finished), (DROP_TASK, (run_id,))
        case Park(run_at, error):
            return (PARK_TASK, (run_at, run_id)), (MOVE_RUN, (Status.WAITING.value, at, error, run_id))
        case Release(run_at):
            return (RELEASE_TASK, (run_at, run_id)), (MOVE_RUN, (Status.ACTIVE.value, at, None, run_id))
        case Pause():
            return (PARK_TASK, (None, run_id)), (PAUSE_RUN, (Status.PAUSED.value, at, run_id))
        case ContinueAsNew(next_run, next_task, events):
            finished = (Status.COMPLETE.value, at, at, None, None, run_id)
            ended = (SUPERSEDE_RUN, finished), (DROP_TASK, (run_id,))
            moved = tuple((MOVE_EVENT, (next_run.id, each)) for each in events)
            return (*ended, (ADD_RUN, next_run), (PUT_TASK, next_task), *moved)
        case Hold():
            return ()
        case _:
            assert_never(end)
