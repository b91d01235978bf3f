"""Rows and commands for tests of decisions: a plain one each, with what the test is about changed."""

from typing import Any

from keepstep.model.codec import PLAIN
from keepstep.model.commands import DoCommand, TimerCommand, WaitCommand
from keepstep.model.records import EventRecord, RunRecord, StepRecord, TaskRecord
from keepstep.model.retry import Retry
from keepstep.model.status import Priority, Status, StepKind, StepStatus

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


def task_of(run: RunRecord, **changes: Any) -> TaskRecord | None:
    """The task that a run has in its status: none when it has ended, unscheduled when it is paused."""
    if Status(run.status).terminal:
        return None
    if run.status == Status.PAUSED:
        return task_row(run_at=None, **changes)
    return task_row(**changes)


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


def timer(key: str, due_at: int, opened_at: int = 0, record: StepRecord | None = None) -> TimerCommand:
    """An open sleep."""
    return TimerCommand(key, StepKind.SLEEP, due_at, opened_at, record)


def wait(
    key: str,
    due_at: int | None,
    opened_at: int = 0,
    event_type: str = "approval",
    record: StepRecord | None = None,
) -> WaitCommand:
    """An open wait for an event."""
    return WaitCommand(key, event_type, due_at, opened_at, record)


def do(key: str = "do:charge", retry: Retry | None = None, **changes: Any) -> DoCommand:
    """An open step that calls a function."""
    options: dict[str, Any] = {"timeout_ms": None, "opened_at": 10, **changes}
    return DoCommand(
        key=key,
        kind=StepKind.DO,
        fn=lambda: None,
        args=(),
        kwargs={},
        codec=PLAIN,
        retry=Retry() if retry is None else retry,
        **options,
    )
