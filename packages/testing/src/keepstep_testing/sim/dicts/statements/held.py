"""Held runs read again, runs given back, a due run for one tick (B6, B9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepstep.model.status import Priority
from keepstep.store import held
from keepstep_testing.sim.dicts.answers import Rows, answers
from keepstep_testing.sim.dicts.database import DictDatabase
from keepstep_testing.sim.dicts.statements.claims import among, is_claimable, with_runs


@answers(held.READ_HELD_RUNS)
def read_held_runs(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """Tasks of runs, with the runs."""
    return with_runs(db, among(db.task.get, given["run_ids"]))


@answers(held.GIVE_BACK)
def give_back(db: DictDatabase, given: Mapping[str, Any], now: int) -> None:
    """What the runner owns of these runs is due now, under a higher fence."""
    for run_id in sorted(set(given["run_ids"])):
        task = db.task.get(run_id)
        if task is not None and task.owner == given["runner"]:
            freed = {"owner": None, "run_at": now, "priority": Priority.RESUME, "fence": task.fence + 1}
            db.put(db.task, task._replace(**freed))


@answers(held.DUE_RUN)
def due_run(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """A run with its task, if it is due and nobody has it."""
    task = db.task.get(given["run"])
    return with_runs(db, [task]) if task is not None and is_claimable(task, now) else ()
