"""Runs are created, and steered from outside (E2, E5, E6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keepstep.model.records import EventRecord, RunRecord, StepRecord, TaskRecord
from keepstep.store import lock, runs
from keepstep_testing.sim.dicts.answers import Rows, answers
from keepstep_testing.sim.dicts.database import DictDatabase


def _run(*values: Any) -> RunRecord:
    """A run's row as databases keep it: what is true is 1."""
    run = RunRecord(*values)
    return run._replace(latest=int(run.latest), pause_requested=int(run.pause_requested))


@answers(lock.WRITE_NOTHING)
def write_nothing(_db: DictDatabase, _given: Mapping[str, Any], _now: int) -> None:
    """Whoever is in a transaction is the writer."""


@answers(runs.CREATE_RUN)
def create_run(db: DictDatabase, *values: Any) -> None:
    """A run is added, unless its key or its instance is there (E2)."""
    db.insert_or_leave(db.run, _run(*values))


@answers(runs.CREATE_TASK)
def create_task(db: DictDatabase, *values: Any) -> None:
    """A task is added, unless it is there."""
    db.insert_or_leave(db.task, TaskRecord(*values))


@answers(runs.ADD_RUN)
def add_run(db: DictDatabase, *values: Any) -> None:
    """A run is added."""
    db.insert(db.run, _run(*values))


@answers(runs.ADD_STEP)
def add_step(db: DictDatabase, *values: Any) -> None:
    """A step is added."""
    db.insert(db.run_step, StepRecord(*values))


@answers(runs.ADD_EVENT)
def add_event(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """An event is accepted, after all others, if its run is as it was read."""
    if _expected(db, given) is None:
        return ()
    values = {name: given[name] for name in EventRecord._fields if name != "id"}
    event = EventRecord(id=db.event.next_number(), **values)
    db.insert(db.event, event)
    return [(event.id,)]


@answers(runs.PUT_TASK)
def put_task(db: DictDatabase, *values: Any) -> None:
    """A task is written as a whole."""
    db.put(db.task, TaskRecord(*values))


@answers(runs.DROP_TASK)
def drop_task(db: DictDatabase, run_id: int) -> None:
    """A run that has ended has no task."""
    db.delete(db.task, run_id)


@answers(runs.DROP_STEPS)
def drop_steps(db: DictDatabase, given: Mapping[str, Any], _now: int) -> None:
    """A run's open steps go, and its results from a place on."""
    for step in sorted(db.run_step.of(given["run_id"]), key=lambda step: step.key):
        if step.seq is None or step.seq >= given["from_seq"]:
            db.delete(db.run_step, (step.run_id, step.key))


@answers(runs.RETURN_EVENTS)
def return_events(db: DictDatabase, given: Mapping[str, Any], _now: int) -> None:
    """What a run's waits had taken from a place on is buffered again."""
    run = given["run"]
    waits = {step.key for step in db.run_step.of(run) if (step.seq or -1) >= given["from_seq"]}
    for event in sorted(db.event.of(run)):
        if event.consumed_by in waits:
            db.put(db.event, event._replace(consumed_by=None))


def _expected(db: DictDatabase, given: Mapping[str, Any]) -> RunRecord | None:
    """The run, if its version is the expected one."""
    run = db.run.get(given["of_run"])
    return run if run is not None and run.version == given["expect_version"] else None


@answers(runs.PUT_RUN)
def put_run(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """A run's row is written as a whole, if it is as it was read (E7)."""
    run = _expected(db, given)
    if run is None:
        return ()
    values = [run.id, *(given[name] for name in RunRecord._fields if name != "id")]
    db.put(db.run, _run(*values))
    return [(run.id,)]


@answers(runs.EXPECT_RUN)
def expect_run(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """Whether a run is as it was read."""
    run = _expected(db, given)
    return () if run is None else [(run.id,)]
