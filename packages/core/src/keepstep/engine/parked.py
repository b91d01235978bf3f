"""What stays in memory of a run that waits, beside its rows: its body, and what the body's driver cannot read (A6)."""

from __future__ import annotations

from typing import NamedTuple

from keepstep.engine.execution import Execution
from keepstep.engine.opensteps import OpenSteps
from keepstep.kernel.settle import open_row
from keepstep.loop.body import Body
from keepstep.model.records import EventRecord, RunRecord, StepRecord, TaskRecord


class Parked(NamedTuple):
    """A run that was let go because each of its branches waits. There may be a great many, so it is small.

    Attributes:
        fence: the task's, under which it was held.
        version: the run row's, as the park has left it.
        body: at rest.
        size: rough bytes of the body.
        tried: rows of its steps that were tried and wait to be again; those of timers and waits are the body's to tell.
        resting: attempts that failed and wait to be made again; None without any.
        cancel_delivered: whether the body has received a cancellation.
        last_at: loop time of the last resolution, ms.
    """

    fence: int
    version: int
    body: Body
    size: int
    tried: tuple[StepRecord, ...]
    resting: OpenSteps | None
    cancel_delivered: bool
    last_at: int


def park(execution: Execution) -> Parked:
    """What is to be kept of a run that was let go with every branch waiting."""
    body, attempts = execution.body, execution.attempts
    return Parked(
        fence=execution.fence,
        version=execution.run.version + 1,
        body=body,
        size=body.size,
        tried=tuple(row for row in execution.pending.stored if row.key not in body.waits),
        resting=attempts if attempts.resting else None,
        cancel_delivered=execution.cancel_delivered,
        last_at=execution.last_at,
    )


def resume(task: TaskRecord, run: RunRecord, parked: Parked, events: list[EventRecord]) -> Execution:
    """Go on with what was kept, after a claim that shows that nobody else has advanced the run.

    Args:
        task: as claimed.
        run: as claimed.
        parked: what was kept.
        events: the run's buffered events, read after the claim.
    """
    waits = (wait.record or open_row(wait, run.id) for wait in parked.body.waits.values())
    execution = Execution(task, run, parked.body, (*parked.tried, *waits), events)
    execution.attempts = parked.resting or execution.attempts
    execution.cancel_delivered = parked.cancel_delivered
    execution.last_at = parked.last_at
    return execution
