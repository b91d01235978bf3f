"""Runs, steps and events as they are read; the time; the version of the schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keepstep.model.records import RunRecord, StepRecord, TaskRecord
from keepstep.model.status import StepStatus
from keepstep.store import clock, listings, migrations, runs
from keepstep.store.tables import PREFIX
from keepstep_testing.sim.dicts.answers import Rows, answers
from keepstep_testing.sim.dicts.database import DictDatabase
from keepstep_testing.sim.dicts.statements.claims import among
from keepstep_testing.whole import ALL_ROWS

_NO_TASK = (None,) * len(TaskRecord._fields)


@answers(clock.READ_NOW)
def read_now(_db: DictDatabase, _given: Mapping[str, Any], now: int) -> Rows:
    """The time."""
    return [(now,)]


@answers(migrations.READ_REVISION)
def read_revision(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """Which schema is in place."""
    found = db.migration.get(given["fragment"])
    return () if found is None else [(found.revision,)]


def _latest(db: DictDatabase, workflow: str, instance_id: str) -> RunRecord | None:
    """The newest run of an instance."""
    for run in db.run.rows.values():
        if run.latest and run.instance_id == instance_id and run.workflow == workflow:
            return run
    return None


@answers(runs.LOCK_INSTANCE)
@answers(runs.READ_INSTANCE)
def read_instance(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """The time, an instance's newest run, and its task or nothing."""
    run = _latest(db, given["workflow"], given["instance_id"])
    return () if run is None else [(now, *run, *(db.task.get(run.id) or _NO_TASK))]


@answers(runs.READ_RUN)
def read_run(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """One run of an instance by its number."""
    wanted = (given["workflow"], given["instance_id"], given["run_number"])
    return [run for run in db.run.rows.values() if run[1:4] == wanted]


@answers(runs.EXISTING_IDS)
def existing_ids(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """Which of these instances are there."""
    return [(each,) for each in sorted(set(given["instance_ids"])) if _latest(db, given["workflow"], each)]


@answers(runs.PRESENT_RUNS)
def present_runs(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """Whose the keys are, and whether those runs have ended."""
    found = among(db.run.get, given["run_ids"])
    return [(run.id, run.workflow, run.instance_id, run.completed_at) for run in found]


@answers(runs.HOLDER)
def holder(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """The runner that owns a run."""
    task = db.task.get(given["run_id"])
    runner = None if task is None else db.runner.get(task.owner)
    return () if runner is None else [runner]


@answers(runs.LOAD_STEPS)
def load_steps(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """The steps of runs, run by run, open ones first, then by number."""
    found: list[StepRecord] = []
    for run_id in sorted(set(given["run_ids"])):
        found += sorted(db.run_step.of(run_id), key=lambda step: (step.seq or 0, step.key))
    return found


@answers(runs.OPEN_STEPS)
def open_steps(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """A run's open steps, the oldest first."""
    found = [step for step in db.run_step.of(given["run_id"]) if step.seq is None]
    found.sort(key=lambda step: (step.started_at, step.key))
    return found


@answers(runs.WAITS_FOR)
def waits_for(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """A run's open waits for a type of event."""
    return [
        (step.key,)
        for step in db.run_step.of(given["run_id"])
        if step.seq is None and step.status == StepStatus.WAITING and step.event_type == given["event_type"]
    ]


@answers(runs.LOAD_EVENTS)
def load_events(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """The buffered events of runs, run by run, in the order in which they were accepted."""
    return [
        event
        for run_id in sorted(set(given["run_ids"]))
        for event in sorted(db.event.of(run_id))
        if event.consumed_by is None
    ]


@answers(runs.FIND_EVENT)
def find_event(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """A run's event with its sender's id."""
    wanted = given["event_id"]
    return [
        event for event in db.event.of(given["run_id"]) if wanted is not None and event.event_id == wanted
    ]


def _listed(which: Callable[[RunRecord, Mapping[str, Any]], bool]) -> Callable[..., Rows]:
    """A page of a workflow's newest runs, the youngest first, of one status where one is asked for."""

    def page(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
        found = [
            run
            for run in db.run.rows.values()
            if run.latest
            and run.workflow == given["workflow"]
            and run.status == given.get("status", run.status)
            and which(run, given)
        ]
        return sorted(found, key=lambda run: (-run.created_at, -run.id))[: given["limit"]]

    return page


for listing in (listings.LISTING, listings.LISTING_BY_STATUS):
    answers(listing.first)(_listed(lambda _run, _given: True))
    answers(listing.same_instant)(
        _listed(lambda run, given: run.created_at == given["created_at"] and run.id < given["id"])
    )
    answers(listing.older)(_listed(lambda run, given: run.created_at < given["created_at"]))


def _all(table: str) -> Callable[..., Rows]:
    """Every row of a table, by key."""

    def rows(db: DictDatabase, _given: Mapping[str, Any], _now: int) -> Rows:
        return db.tables[table].all()

    return rows


for name, statement in ALL_ROWS.items():
    answers(statement)(_all(name.removeprefix(PREFIX)))
