"""Runs, their steps and events: reading them, creating them, steering them from outside (E1–E7).

Reads are static texts served by an index each (``EXPLAIN`` tests). A script that reads in order to steer locks what it
reads: the task row first, then the run row, as boundaries do. What to change was decided by the kernel, on the
:class:`Snapshot` that was read here. Claiming and leases live in ``claims.py``, pages of histories in ``histories.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, bindparam, func, null, select
from sqlalchemy.dialects.postgresql import insert

from keepstep.errors import StoreConflictError
from keepstep.model.plan import Creation, Steering
from keepstep.model.records import EventRecord, RunnerRecord, RunRecord, StepRecord, TaskRecord
from keepstep.model.status import TERMINAL, StepStatus
from keepstep.store.changes import ADD_CHANGE
from keepstep.store.script import Call, Row, Script
from keepstep.store.statement import DialectName, Statement, among, db_now, fixed, ids, names
from keepstep.store.tables import IS_BUFFERED, IS_LATEST, event, run, run_step, runner, task


class Snapshot(NamedTuple):
    """An instance's newest run at one moment; ``task`` is None when it has ended."""

    now: int
    """Database time (B5)."""
    run: RunRecord
    task: TaskRecord | None


def given(column: ColumnElement[Any], name: str | None = None) -> ColumnElement[bool]:
    """``column = :name`` (by default the column's own name)."""
    return column == bindparam(name or column.key, type_=column.type)


_ONE_INSTANCE = (given(run.c.workflow), given(run.c.instance_id))

READ_INSTANCE = Statement(
    select(db_now(), *run.c, *task.c)
    .select_from(run.outerjoin(task, task.c.run_id == run.c.id))
    .where(*_ONE_INSTANCE, IS_LATEST),
    "read instance",
)
_latest = select(run.c.id).where(*_ONE_INSTANCE, IS_LATEST).scalar_subquery()
_task = select(task).where(task.c.run_id == _latest).with_for_update().cte("of_instance")
_has_task = select(func.count()).select_from(_task).scalar_subquery() >= fixed(
    0
)  # always: but it comes first
_run = select(run).where(run.c.id == _latest, IS_LATEST, _has_task).with_for_update().cte("newest")
LOCK_INSTANCE = Statement(
    select(db_now(), *_run.c, *_task.c).select_from(_run.outerjoin(_task, _task.c.run_id == _run.c.id)),
    "lock instance",
)
"""``READ_INSTANCE`` with both rows locked, the task's first, and read as they are then: one round trip in place of four.

A run that a restart has replaced while it was waited for is no row at all.
"""
READ_RUN = Statement(select(run).where(*_ONE_INSTANCE, given(run.c.run_number)), "read run")
EXISTING_IDS = Statement(
    select(run.c.instance_id).where(
        given(run.c.workflow), among(run.c.instance_id, names("instance_ids")), IS_LATEST
    ),
    "which instances exist",
)

LOAD_STEPS = Statement(
    select(run_step)
    .where(among(run_step.c.run_id, ids("run_ids")))
    .order_by(run_step.c.run_id, run_step.c.seq),
    "load steps",
)
LOAD_EVENTS = Statement(
    select(event)
    .where(among(event.c.run_id, ids("run_ids")), IS_BUFFERED)
    .order_by(event.c.run_id, event.c.id),
    "load events",
)
OPEN_STEPS = Statement(
    select(run_step)
    .where(given(run_step.c.run_id), run_step.c.seq.is_(None))
    .order_by(run_step.c.started_at),
    "open steps",
)
WAITS_FOR = Statement(
    select(run_step.c.key).where(
        given(run_step.c.run_id),
        run_step.c.seq.is_(None),
        run_step.c.status == fixed(StepStatus.WAITING),
        given(run_step.c.event_type),
    ),
    "waits for an event",
)
FIND_EVENT = Statement(
    select(event).where(given(event.c.run_id), given(event.c.event_id)), "find event by its sender's id"
)
HOLDER = Statement(
    select(runner).select_from(task.join(runner, runner.c.id == task.c.owner)).where(given(task.c.run_id)),
    "holder of a run",
)


CREATE_RUN = Statement(insert(run).on_conflict_do_nothing(), "create run", run.c.keys())
"""Insert a run unless its instance exists already (E2)."""
CREATE_TASK = Statement(insert(task).on_conflict_do_nothing(), "create task", task.c.keys())
PRESENT_RUNS = Statement(
    select(run.c.id, run.c.workflow, run.c.instance_id, run.c.completed_at)
    .where(among(run.c.id, ids("run_ids")))
    .with_for_update(),
    "which runs are there",
)

ADD_RUN = Statement(run.insert(), "add run", run.c.keys())
"""Insert a run that cannot be there yet, under a guard that holds."""
ADD_STEP = Statement(run_step.insert(), "add step", run_step.c.keys())
_put_task = insert(task)
PUT_TASK = Statement(
    _put_task.on_conflict_do_update(
        index_elements=[task.c.run_id],
        set_={each.name: _put_task.excluded[each.name] for each in task.c if not each.primary_key},
    ),
    "put task",
    task.c.keys(),
)
DROP_TASK = Statement(task.delete().where(given(task.c.run_id)), "drop task", ("run_id",))
DROP_STEPS = Statement(
    run_step.delete().where(
        given(run_step.c.run_id),
        run_step.c.seq.is_(None) | (run_step.c.seq >= bindparam("from_seq", type_=BigInteger())),
    ),
    "drop steps",
)
_dropped = select(run_step.c.key).where(
    run_step.c.run_id == bindparam("run"), run_step.c.seq >= bindparam("from_seq", type_=BigInteger())
)
RETURN_EVENTS = Statement(
    event.update()
    .where(event.c.run_id == bindparam("run"), event.c.consumed_by.in_(_dropped))
    .values(consumed_by=null()),
    "return events",
)
"""What dropped waits had taken is buffered again, for their next try."""
_expected = (given(run.c.id, "of_run"), run.c.version == bindparam("expect_version"))
PUT_RUN = Statement(
    run.update()
    .where(*_expected)
    .values({each.name: bindparam(each.name) for each in run.c if not each.primary_key})
    .returning(run.c.id),
    "put run",
)
EXPECT_RUN = Statement(select(run.c.id).where(*_expected).with_for_update(), "expect run")
_EVENT = [each for each in event.c if each.name != "id"]
ADD_EVENT = Statement(
    event.insert()
    .from_select(
        _EVENT, select(*(bindparam(each.name, type_=each.type) for each in _EVENT)).where(*_expected)
    )
    .returning(event.c.id),
    "add event",
)
"""Accept an event if the run is still as it was read."""


def run_record(row: Row) -> RunRecord:
    """A driver's row as a record; SQLite's 0 and 1 become booleans."""
    return RunRecord._make((*row[:4], bool(row[4]), *row[5:8], bool(row[8]), *row[9:]))


def read_instance(workflow: str, instance_id: str, lock: bool = False) -> Script[Snapshot | None]:
    """The newest run of an instance and its task.

    Args:
        workflow: which workflow.
        instance_id: which instance.
        lock: keep both rows from changing until the transaction ends, in order to steer the run.
    """
    instance = {"workflow": workflow, "instance_id": instance_id}
    while lock:
        found = yield Call(LOCK_INSTANCE, instance)
        if found and _is_whole(snapshot := _snapshot(found[0])):
            return snapshot
        if not (yield Call(READ_INSTANCE, instance)):
            return None
        # A restart or a retry came between: lock what it began.
    found = yield Call(READ_INSTANCE, instance)
    return _snapshot(found[0]) if found else None


def _is_whole(snapshot: Snapshot) -> bool:
    """Whether run and task are of one moment: a task that was inserted while the run was waited for is not seen yet."""
    return snapshot.task is not None or snapshot.run.status in TERMINAL


def _snapshot(row: Row) -> Snapshot:
    ends = 1 + len(RunRecord._fields)
    found = None if row[ends] is None else TaskRecord._make(row[ends:])
    return Snapshot(row[0], run_record(row[1:ends]), found)


def read_run(workflow: str, instance_id: str, run_number: int) -> Script[RunRecord | None]:
    """One run of an instance, also an old one (E6)."""
    found = yield Call(READ_RUN, {"workflow": workflow, "instance_id": instance_id, "run_number": run_number})
    return run_record(found[0]) if found else None


def existing_ids(workflow: str, instance_ids: Sequence[str]) -> Script[frozenset[str]]:
    """Which of these instances exist."""
    found = yield Call(EXISTING_IDS, {"workflow": workflow, "instance_ids": list(instance_ids)})
    return frozenset(row[0] for row in found)


def load_steps(dialect: DialectName, run_ids: Sequence[int]) -> Script[dict[int, list[StepRecord]]]:
    """The steps of each run: resolved ones in ``seq`` order, open ones last. Every run asked for has a list."""
    rows = yield Call(LOAD_STEPS, {"run_ids": list(run_ids)})
    loaded: dict[int, list[StepRecord]] = {run_id: [] for run_id in run_ids}
    for run_id, found in groupby(rows, itemgetter(0)):
        steps = [StepRecord._make(row) for row in found]
        loaded[run_id] = sorted(steps, key=_is_open) if dialect == "sqlite" else steps  # its NULLs come first
    return loaded


def _is_open(step: StepRecord) -> bool:
    return step.seq is None


def load_events(dialect: DialectName, run_ids: Sequence[int]) -> Script[dict[int, list[EventRecord]]]:  # noqa: ARG001  # scripts are called alike
    """The buffered events of each run, in order of acceptance (D4). Every run asked for has a list."""
    rows = yield Call(LOAD_EVENTS, {"run_ids": list(run_ids)})
    loaded: dict[int, list[EventRecord]] = {run_id: [] for run_id in run_ids}
    for row in rows:
        loaded[row[1]].append(EventRecord._make(row))
    return loaded


def find_event(run_id: int, event_id: str) -> Script[EventRecord | None]:
    """The event that its sender gave this id (D7)."""
    found = yield Call(FIND_EVENT, {"run_id": run_id, "event_id": event_id})
    return EventRecord._make(found[0]) if found else None


def waits_for(run_id: int, event_type: str) -> Script[bool]:
    """Whether a wait of the run is stored that takes events of the type."""
    found = yield Call(WAITS_FOR, {"run_id": run_id, "event_type": event_type})
    return bool(found)


def open_steps(run_id: int) -> Script[list[StepRecord]]:
    """The run's steps without a resolution, oldest first."""
    found = yield Call(OPEN_STEPS, {"run_id": run_id})
    return [StepRecord._make(row) for row in found]


def holder(run_id: int) -> Script[RunnerRecord | None]:
    """The runner that owns the run's task, its lease valid or not."""
    found = yield Call(HOLDER, {"run_id": run_id})
    return RunnerRecord._make(found[0]) if found else None


def insert_creations(dialect: DialectName, creations: Sequence[Creation]) -> Script[frozenset[int]]:  # noqa: ARG001  # scripts are called alike
    """Insert new runs and their tasks; an instance that exists already is left alone (E2).

    Returns:
        The run ids that are in place: all but those that lost.

    Raises:
        StoreConflictError: another instance has one of the run ids; nothing may be written.
    """
    kept = yield from write_creations(creations)
    if kept.taken:
        raise StoreConflictError(
            f"the internal keys {sorted(kept.taken)} are other instances' already, drawn by another process: "
            "nothing was created; create again"
        )
    return kept.in_place


class Kept(NamedTuple):
    """What became of creations.

    Attributes:
        in_place: run ids of those that are there, written now or by an earlier try whose answer was lost.
        taken: run ids that another instance has: two processes drew the same key.
    """

    in_place: frozenset[int]
    taken: frozenset[int]


def write_creations(creations: Sequence[Creation]) -> Script[Kept]:
    """Insert what can be; the caller judges the rest."""
    if not creations:
        return Kept(frozenset(), frozenset())
    # The order of unique keys is the same in every process: two batches cannot wait for each other.
    ordered = sorted(creations, key=_instance)
    yield Call(CREATE_RUN, [each.run for each in ordered])
    wanted = {each.run.id: _instance(each) for each in ordered}
    rows = yield Call(PRESENT_RUNS, {"run_ids": list(wanted)})
    ours = {row[0]: row[3] for row in rows if wanted[row[0]] == (row[1], row[2])}
    # One that an earlier try wrote may have ended since; its task, which every live run has, must not come back.
    live = {run_id for run_id, completed_at in ours.items() if completed_at is None}
    yield Call(CREATE_TASK, [each.task for each in ordered if each.run.id in live])
    changes = [told for each in ordered if each.run.id in live for told in each.changes]
    if changes:
        yield Call(ADD_CHANGE, changes)
    return Kept(frozenset(ours), frozenset(row[0] for row in rows) - ours.keys())


def _instance(creation: Creation) -> tuple[str, str]:
    return creation.run.workflow, creation.run.instance_id


def apply_steering(dialect: DialectName, steering: Steering) -> Script[bool]:  # noqa: ARG001  # scripts are called alike
    """Write what an operation from outside changes, if the run is still as it was read (E7).

    Read the run with ``read_instance(…, lock=True)`` in the same transaction: the task's row is written as a whole.

    Returns:
        False when the run's version has moved; nothing is written then.
    """
    run_id = steering.run_id
    if not (yield from _is_as_read(steering)):
        return False
    if steering.drop_from_seq is not None:
        yield Call(RETURN_EVENTS, {"run": run_id, "from_seq": steering.drop_from_seq})
        yield Call(DROP_STEPS, {"run_id": run_id, "from_seq": steering.drop_from_seq})
    if steering.drop_task:
        yield Call(DROP_TASK, [(run_id,)])
    elif steering.task is not None:
        yield Call(PUT_TASK, [steering.task])
    if steering.creation is not None:
        yield Call(ADD_RUN, [steering.creation.run])
        yield Call(PUT_TASK, [steering.creation.task])
    if steering.steps:
        yield Call(ADD_STEP, list(steering.steps))
    if steering.changes:
        yield Call(ADD_CHANGE, list(steering.changes))
    return True


def _is_as_read(steering: Steering) -> Script[bool]:
    """Whether the run is as it was read; if so its new row and its event are written, in as few calls as can be."""
    run, event = steering.run, steering.event
    expected = {"of_run": steering.run_id, "expect_version": steering.expect_version}
    if run is not None:
        if not (yield Call(PUT_RUN, {**expected, **run._asdict()})):
            return False
        expected["expect_version"] = run.version
    if event is not None:
        return bool((yield Call(ADD_EVENT, {**event._asdict(), **expected})))
    return run is not None or bool((yield Call(EXPECT_RUN, expected)))
