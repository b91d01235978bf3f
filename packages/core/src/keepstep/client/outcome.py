"""How an instance ended, as a typed result or the error that ``result()`` raises."""

from __future__ import annotations

from typing import Any, TypeVar

from keepstep.authoring.definition import WorkflowDefinition
from keepstep.errors import (
    ResultTimeoutError,
    UsageError,
    WorkflowCancelledError,
    WorkflowFailedError,
    WorkflowTerminatedError,
)
from keepstep.model.duration import describe_ms
from keepstep.model.outcome import Standing
from keepstep.model.status import Status
from keepstep.services.target import Target

R = TypeVar("R")


def result_of(definition: WorkflowDefinition[Any, R], run: Standing) -> R:
    """Decode what an ended run returned.

    Raises:
        WorkflowFailedError: it errored.
        WorkflowTerminatedError: it was terminated.
        WorkflowCancelledError: it was cancelled.
    """
    target = Target(run.workflow, run.instance_id)
    error = run.error
    said = "no error was recorded" if error is None else error.message
    match run.status:
        case Status.COMPLETE:
            return definition.result_codec.decode(run.output or "null")
        case Status.ERRORED:
            raise WorkflowFailedError(str(target), "Error" if error is None else error.name, said)
        case Status.TERMINATED:
            raise WorkflowTerminatedError(f"{target} was terminated: {said}")
        case Status.CANCELLED:
            raise WorkflowCancelledError(f"{target} was cancelled: {said}")
        case Status.ACTIVE | Status.WAITING | Status.PAUSED:
            raise AssertionError(f"{target} has not ended")


def not_yet(run: Standing, waited_ms: int) -> ResultTimeoutError:
    """Build the error for a wait that was shorter than the instance."""
    return ResultTimeoutError(
        f"{Target(run.workflow, run.instance_id)} is still {run.status} after {describe_ms(waited_ms)}; "
        "it goes on: ask again, or ask why() what it waits for"
    )


def cannot_wait(run: Standing) -> UsageError:
    """Build the error for a wait inside a host's transaction."""
    return UsageError(
        f"{Target(run.workflow, run.instance_id)} is {run.status}: app.using(…) cannot wait for its result, "
        "because that would hold your transaction open; after the commit ask app.workflows (or app.sync)"
    )
