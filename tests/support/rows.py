"""Rows and commands for tests of decisions: a plain one each, with what the test is about changed."""

from typing import Any

from keepstep.model.codec import PLAIN
from keepstep.model.commands import DoCommand, TimerCommand, WaitCommand
from keepstep.model.records import RunRecord, StepRecord, TaskRecord
from keepstep.model.retry import Retry
from keepstep.model.status import Status, StepKind
from keepstep_testing.conformance.rows import NOW, RUN_ID, RUNNER_ID, event_row, run_row, step_row, task_row

__all__ = [
    "NOW", "RUNNER_ID", "RUN_ID", "do", "event_row", "run_row", "step_row", "task_of", "task_row", "timer", "wait",
]  # fmt: skip


def task_of(run: RunRecord, **changes: Any) -> TaskRecord | None:
    """The task that a run has in its status: none when it has ended, unscheduled when it is paused."""
    if Status(run.status).terminal:
        return None
    if run.status == Status.PAUSED:
        return task_row(run_at=None, **changes)
    return task_row(**changes)


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
