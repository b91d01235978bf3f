"""Guards of boundaries, and what a boundary adds: steps, consumed events, lines of the log (B1, B3, B6, C2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepstep.model.records import LogRecord, StepRecord, TaskRecord
from keepstep.store import boundaries
from keepstep_testing.sim.dicts.answers import Rows, answers
from keepstep_testing.sim.dicts.database import DictDatabase
from keepstep_testing.sim.dicts.statements.claims import holds_lease


@answers(boundaries.APPEND_STEP)
def append_step(db: DictDatabase, *values: Any) -> None:
    """A step is added, or takes the place of its own open row; a resolved row stays as it is."""
    step = StepRecord(*values)
    there = db.run_step.get((step.run_id, step.key))
    if there is None or there.seq is None:
        db.put(db.run_step, step)


@answers(boundaries.APPEND_LOG)
def append_log(db: DictDatabase, *values: Any) -> None:
    """A line is added, unless it is there."""
    db.insert_or_leave(db.log, LogRecord(*values))


@answers(boundaries.CONSUME_EVENT)
def consume_event(db: DictDatabase, by_key: str, event: int, run: int) -> None:
    """A wait takes an event of its run that nothing has taken."""
    found = db.event.get(event)
    if found is not None and found.run_id == run and found.consumed_by is None:
        db.put(db.event, found._replace(consumed_by=by_key))


@answers(boundaries.READ_EPOCH, boundaries.LOCK_EPOCH)
def read_epoch(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """A runner's epoch."""
    runner = db.runner.get(given["runner"])
    return () if runner is None else [(runner.epoch,)]


def _held(db: DictDatabase, given: Mapping[str, Any]) -> list[TaskRecord]:
    """Those of the asked runs' tasks that the runner owns, if its epoch still holds."""
    runner = given["runner"]
    if not holds_lease(db, runner, given["epoch"]):
        return []
    found = [db.task.get(run_id) for run_id in given["run_ids"]]
    return [task for task in found if task is not None and task.owner == runner]


@answers(boundaries.READ_HELD)
def read_held(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """The guard of runs that stay held: fence and wake-up number."""
    return [(task.run_id, task.fence, task.wake_seq) for task in _held(db, given)]


@answers(boundaries.READ_ENDING)
def read_ending(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """The guard of runs that are given back: also the version."""
    return [
        (task.run_id, task.fence, task.wake_seq, run.version)
        for task in _held(db, given)
        if (run := db.run.get(task.run_id)) is not None
    ]


@answers(boundaries.LOCK_TASK)
def lock_task(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """Who has a run, under which numbers, and until when; and the time."""
    task = db.task.get(given["run"])
    if task is None:
        return ()
    owner = db.runner.get(task.owner)
    return [(task.owner, task.fence, task.wake_seq, None if owner is None else owner.locked_until, now)]


@answers(boundaries.LOCK_RUN)
def lock_run(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """A run's version."""
    run = db.run.get(given["run"])
    return () if run is None else [(run.version,)]


@answers(boundaries.RAISE_FENCE)
def raise_fence(db: DictDatabase, given: Mapping[str, Any], _now: int) -> None:
    """Whoever read the same state, or held the run before, loses (B9)."""
    task = db.task.get(given["run"])
    if task is not None:
        db.put(db.task, task._replace(fence=task.fence + 1))


@answers(boundaries.LATER_STEP)
def later_step(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """The first result that is stored from a place on."""
    later = [step.seq for step in db.run_step.of(given["run"]) if (step.seq or 0) >= given["from_seq"]]
    return [(min(later, key=lambda seq: seq or 0),)] if later else ()


@answers(boundaries.START_RUN)
def start_run(db: DictDatabase, given: Mapping[str, Any], _now: int) -> None:
    """A run that has not started started then (A3)."""
    run = db.run.get(given["run"])
    if run is not None:
        started_at = given["began_at"] if run.started_at is None else run.started_at
        db.put(db.run, run._replace(started_at=started_at))
