"""Held runs read again, and given back: how a runner keeps in step with what others wrote (B6, E5).

One query for all of a runner's doubts, not one per run. Claiming lives in ``claims.py``, steering in ``runs.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, null, select

from keepstep.model.records import EventRecord, RunRecord, TaskRecord
from keepstep.model.status import Priority
from keepstep.store.runs import load_events, run_record
from keepstep.store.script import Call, Script
from keepstep.store.statement import DialectName, Statement, among, db_now, fixed, ids
from keepstep.store.tables import IS_CLAIMABLE, run, task


class HeldRun(NamedTuple):
    """A run as others left it: its task and row, and its buffered events."""

    task: TaskRecord
    run: RunRecord
    events: list[EventRecord]


READ_HELD_RUNS = Statement(
    select(*task.c, *run.c)
    .select_from(task.join(run, run.c.id == task.c.run_id))
    .where(among(task.c.run_id, ids("run_ids"))),
    "read held runs",
)
GIVE_BACK = Statement(
    task.update()
    .where(among(task.c.run_id, ids("run_ids")), task.c.owner == bindparam("runner"))
    .values(owner=null(), run_at=db_now(), priority=fixed(Priority.RESUME), fence=task.c.fence + fixed(1)),
    "give tasks back",
)


def read_held(dialect: DialectName, run_ids: Sequence[int]) -> Script[dict[int, HeldRun]]:
    """Each run with its task and buffered events; a run whose task is gone (ended, restarted) is left out."""
    rows = yield Call(READ_HELD_RUNS, {"run_ids": list(run_ids)})
    width = len(TaskRecord._fields)
    found = {row[0]: (TaskRecord._make(row[:width]), run_record(row[width:])) for row in rows}
    woken = [run_id for run_id, (held, _) in found.items() if held.wake_seq]
    events = (yield from load_events(dialect, woken)) if woken else {}
    return {run_id: HeldRun(*each, events.get(run_id, [])) for run_id, each in found.items()}


def give_back(runner_id: int, run_ids: Sequence[int]) -> Script[None]:
    """Release tasks that the runner owns without knowing of them: due now, under a higher fence."""
    yield Call(GIVE_BACK, {"runner": runner_id, "run_ids": list(run_ids)})


DUE_RUN = Statement(
    select(*task.c, *run.c)
    .select_from(task.join(run, run.c.id == task.c.run_id))
    .where(task.c.run_id == bindparam("run"), IS_CLAIMABLE, task.c.run_at <= db_now()),
    "read a due run",
)


def due_run(run_id: int) -> Script[tuple[TaskRecord, RunRecord] | None]:
    """The run with its task, if it is due and nobody holds it (B9)."""
    found = yield Call(DUE_RUN, {"run": run_id})
    width = len(TaskRecord._fields)
    return (TaskRecord._make(found[0][:width]), run_record(found[0][width:])) if found else None
