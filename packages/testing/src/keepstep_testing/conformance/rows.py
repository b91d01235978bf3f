"""Rows as they stand in a database: a plain one of each table, with what a test is about changed."""

from typing import Any

from keepstep.model.records import EventRecord, RunRecord, StepRecord, TaskRecord
from keepstep.model.status import Priority, Status, StepStatus

NOW = 1_000_000
"""Database time of a test, ms."""
RUN_ID = 7
RUNNER_ID = 40


def run_row(status: Status = Status.ACTIVE, **changes: Any) -> RunRecord:
    """A run of workflow ``order``, instance ``o-1``, as it would stand in ``status``."""
    run = RunRecord(
        id=RUN_ID,
        workflow="order",
        instance_id="o-1",
        run_number=3,
        latest=True,
        workflow_version=2,
        status=status.value,
        version=5,
        pause_requested=False,
        cancel_reason=None,
        created_at=100,
        started_at=200,
        updated_at=300,
        completed_at=400 if status.terminal else None,
        params='{"amount":1}',
        output='"done"' if status is Status.COMPLETE else None,
        error=None,
    )
    return run._replace(**changes)


def task_row(**changes: Any) -> TaskRecord:
    """The task of :func:`run_row`: claimed by nobody, with a deadline ahead."""
    task = TaskRecord(
        run_id=RUN_ID,
        workflow="order",
        priority=Priority.RESUME,
        run_at=NOW + 60_000,
        owner=None,
        fence=4,
        wake_seq=9,
        takeovers=2,
        seen_seq=1,
    )
    return task._replace(**changes)


def step_row(
    key: str, seq: int | None, status: StepStatus = StepStatus.COMPLETED, **changes: Any
) -> StepRecord:
    """A row of ``run_step``."""
    row = StepRecord(
        run_id=RUN_ID,
        key=key,
        seq=seq,
        status=status.value,
        attempt=1,
        started_at=500,
        at=None if seq is None else 500 + seq,
        due_at=None,
        event_type=None,
        result="null" if status is StepStatus.COMPLETED else None,
        error=None,
    )
    return row._replace(**changes)


def event_row(id: int, accepted_at: int = NOW, type: str = "approval", **changes: Any) -> EventRecord:  # noqa: A002 - the column's name
    """An unconsumed event."""
    row = EventRecord(
        id=id,
        run_id=RUN_ID,
        type=type,
        event_id=None,
        payload='{"ok":true}',
        accepted_at=accepted_at,
        consumed_by=None,
    )
    return row._replace(**changes)
