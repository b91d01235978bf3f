"""Claims and leases (B2, B4, B5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from keepstep.model.records import RunnerRecord, TaskRecord
from keepstep.model.status import Priority, Status
from keepstep.store import claims
from keepstep_testing.sim.dicts.answers import Rows, answers
from keepstep_testing.sim.dicts.database import DictDatabase

R = TypeVar("R")


def holds_lease(db: DictDatabase, runner: int, epoch: int) -> bool:
    """Whether a runner's epoch is still the one that it was registered with (B3)."""
    row = db.runner.get(runner)
    return row is not None and row.epoch == epoch


def with_runs(db: DictDatabase, tasks: Iterable[TaskRecord]) -> list[tuple[Any, ...]]:
    """Each task and its run as one row."""
    return [(*task, *run) for task in tasks if (run := db.run.get(task.run_id)) is not None]


def among(get: Callable[[int], R | None], keys: Iterable[int]) -> list[R]:
    """The rows of these keys that are there, by key."""
    return [row for key in sorted(set(keys)) if (row := get(key)) is not None]


def is_claimable(task: TaskRecord, now: int) -> bool:
    """Whether a task is due and nobody has it."""
    return task.owner is None and task.run_at is not None and task.run_at <= now


def _due(db: DictDatabase, given: Mapping[str, Any], now: int) -> list[TaskRecord]:
    """A workflow's claimable tasks of a priority, the oldest first, as many as are asked for."""
    found = [
        task
        for task in db.task.rows.values()
        if is_claimable(task, now)
        and task.workflow == given["workflow"]
        and task.priority == given["priority"]
    ]
    found.sort(key=_by_run_at)
    return found[: given["limit"]]


def _by_run_at(task: TaskRecord) -> tuple[int, int]:
    return task.run_at or 0, task.run_id


@answers(claims.TAKE)
def take(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """The runner becomes the owner of due tasks, under a higher fence; nothing if its epoch has moved."""
    runner = given["runner"]
    if not holds_lease(db, runner, given["epoch"]):
        return ()
    taken = [task._replace(owner=runner, fence=task.fence + 1) for task in sorted(_due(db, given, now))]
    for task in taken:
        db.put(db.task, task)
    return taken


@answers(claims.START_RUNS)
def start_runs(db: DictDatabase, given: Mapping[str, Any], now: int) -> None:
    """Claimed runs that are not under way become active; the first claim is when they start (A3)."""
    for run_id in sorted(set(given["run_ids"])):
        run = db.run.get(run_id)
        if run is None or (run.status == Status.ACTIVE and run.started_at is not None):
            continue
        started_at = now if run.started_at is None else run.started_at
        changes = {"started_at": started_at, "updated_at": now, "version": run.version + 1}
        db.put(db.run, run._replace(status=Status.ACTIVE.value, **changes))


@answers(claims.READ_RUNS)
def read_runs(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """Runs by their keys."""
    return among(db.run.get, given["run_ids"])


@answers(claims.READ_TASKS)
def read_tasks(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """Tasks by their runs."""
    return among(db.task.get, given["run_ids"])


@answers(claims.LOOK_DUE)
def look_due(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """What a claim would take, with the runs."""
    return with_runs(db, _due(db, given, now))


@answers(claims.LOOK_EXPIRED)
def look_expired(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """Tasks whose owner's lease has ended, with their runs, by ``run_at``."""
    workflows = set(given["workflows"])
    expired = {runner.id for runner in db.runner.rows.values() if runner.locked_until < now}
    found = [task for task in db.task.rows.values() if task.owner in expired and task.workflow in workflows]
    found.sort(key=lambda task: (task.run_at is not None, task.run_at or 0, task.owner or 0, task.run_id))
    return with_runs(db, found)[: given["limit"]]


@answers(claims.LOOK_TURNS)
def look_turns(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """For each workflow: whether resuming work of it is due, and whether new runs are."""
    due = {(task.workflow, task.priority) for task in db.task.rows.values() if is_claimable(task, now)}
    return [
        (name, (name, Priority.RESUME) in due, (name, Priority.NEW) in due) for name in given["workflows"]
    ]


@answers(claims.NEXT_DUE)
def next_due(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """Now; when these workflows' first unowned task of each priority falls due; when the first lease on one ends."""
    workflows = set(given["workflows"])
    first: dict[int, int] = {}
    leases: list[int] = []
    for task in db.task.rows.values():
        if task.workflow not in workflows:
            continue
        if task.owner is not None:
            runner = db.runner.get(task.owner)
            leases += [] if runner is None else [runner.locked_until]
        elif task.run_at is not None:
            first[task.priority] = min(first.get(task.priority, task.run_at), task.run_at)
    return [(now, first.get(Priority.RESUME), first.get(Priority.NEW), min(leases, default=None))]


@answers(claims.LOOK_HELD)
def look_held(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """What a runner owns."""
    runner = given["runner"]
    return sorted(task for task in db.task.rows.values() if task.owner == runner)


@answers(claims.REGISTER)
def register(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """A new runner, with a lease from now."""
    until = now + given["lease_ms"]
    db.insert(db.runner, RunnerRecord(given["id"], given["epoch"], until, given["host"], given["pid"], now))
    return [(now,)]


@answers(claims.RENEW)
def renew(db: DictDatabase, given: Mapping[str, Any], now: int) -> Rows:
    """A lease from now, if the epoch still holds; when it ends."""
    runner = db.runner.get(given["runner"])
    if runner is None or runner.epoch != given["of_epoch"]:
        return ()
    until = now + given["lease_ms"]
    db.put(db.runner, runner._replace(locked_until=until))
    return [(until,)]


@answers(claims.OF_HOST)
def of_host(db: DictDatabase, given: Mapping[str, Any], _now: int) -> Rows:
    """The runners of a host."""
    return [runner for runner in db.runner.all() if runner.host == given["host"]]
