"""When a run that kills its runners is stopped (B7)."""

from __future__ import annotations

from keepstep.errors import RunnerCrashLoopError
from keepstep.kernel import transitions
from keepstep.kernel.transitions import To, Trigger
from keepstep.model.outcome import ErrorInfo
from keepstep.model.plan import Finish
from keepstep.model.recorded import error_text
from keepstep.model.records import TaskRecord
from keepstep.model.status import Status


def crash_loop(task: TaskRecord, limit: int) -> Finish | None:
    """Plan the end of a run whose lease expired ``limit`` times in a row without a boundary; None below that.

    Args:
        task: the task as claimed; a claimed run is ``active``.
        limit: expired leases that are too many, 1 or more.
    """
    if task.takeovers < limit:
        return None
    decision = transitions.decide(Status.ACTIVE, Trigger.CRASH_LOOP)
    assert isinstance(decision, To)
    message = (
        f"the lease of this run of workflow {task.workflow!r} expired {task.takeovers} times in a row without a step's "
        "result: a step probably kills or blocks the process that executes it; look at the last steps of its history"
    )
    error = ErrorInfo(RunnerCrashLoopError.__name__, message, RunnerCrashLoopError.code)
    return Finish(decision.status, None, error_text(error))
