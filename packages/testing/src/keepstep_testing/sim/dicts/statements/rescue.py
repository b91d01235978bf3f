"""Tasks of dead runners are freed (B2, B3, B7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepstep.model.records import TaskRecord
from keepstep.model.status import Priority
from keepstep.store import rescue
from keepstep_testing.sim.dicts.answers import Rows, answers
from keepstep_testing.sim.dicts.database import DictDatabase


@answers(rescue.LOCK_EXPIRED)
def lock_expired(db: DictDatabase, _given: Mapping[str, Any], now: int) -> Rows:
    """Runners whose lease has ended."""
    return [(runner.id,) for runner in db.runner.all() if runner.locked_until < now]


@answers(rescue.LOCK_RUNNERS)
def lock_runners(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """Runners and their epochs."""
    return [(each, row.epoch) for each in sorted(set(given["runners"])) if (row := db.runner.get(each))]


@answers(rescue.RAISE_EPOCHS)
def raise_epochs(db: DictDatabase, given: Mapping[str, Any], _now: int) -> None:
    """What they still send is refused."""
    for runner_id in sorted(set(given["runners"])):
        runner = db.runner.get(runner_id)
        if runner is not None:
            db.put(db.runner, runner._replace(epoch=runner.epoch + 1))


@answers(rescue.DROP_RUNNERS)
def drop_runners(db: DictDatabase, given: Mapping[str, Any], _now: int) -> None:
    """Those that own nothing go."""
    owners = {task.owner for task in db.task.rows.values()}
    for runner_id in sorted(set(given["runners"])):
        if runner_id not in owners:
            db.delete(db.runner, runner_id)


@answers(rescue.LOCK_TASKS_OF)
def lock_tasks_of(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """What they own, as much as is asked for."""
    runners = set(given["runners"])
    owned = sorted((task.owner, task.run_id) for task in db.task.rows.values() if task.owner in runners)
    return [(run_id,) for _, run_id in owned][: given["limit"]]


def _free(db: DictDatabase, task: TaskRecord, now: int, **changes: Any) -> None:
    """Claimable now, or since it was due before."""
    run_at = now if task.run_at is None else min(task.run_at, now)
    db.put(db.task, task._replace(owner=None, priority=Priority.RESUME, run_at=run_at, **changes))


@answers(rescue.TAKE_OVER)
def take_over(db: DictDatabase, given: Mapping[str, Any], now: int) -> None:
    """Tasks are freed under a higher fence. It counts as one more in a row, or as the first if results came between."""
    for run_id in sorted(set(given["run_ids"])):
        task = db.task.get(run_id)
        if task is None:
            continue
        newest = max((step.seq or 0 for step in db.run_step.of(run_id)), default=0)
        takeovers = 1 if task.seen_seq < newest else task.takeovers + 1
        _free(db, task, now, fence=task.fence + 1, takeovers=takeovers, seen_seq=newest)


@answers(rescue.GIVE_BACK)
def give_back(db: DictDatabase, given: Mapping[str, Any], now: int) -> None:
    """All that a runner owns is freed, uncounted."""
    for task in db.task.all():
        if task.owner == given["runner"]:
            _free(db, task, now)


@answers(rescue.LOOK_ORPHANED)
def look_orphaned(db: DictDatabase, _given: Mapping[str, Any], _now: int) -> Rows:
    """Who owns tasks and is no runner any more."""
    owners = {task.owner for task in db.task.rows.values() if task.owner is not None}
    return [(owner,) for owner in sorted(owners) if db.runner.get(owner) is None]
