"""Another life for an instance: restart, restart from a step, retry of the failed step (E6).

A restart writes the next run as a row of its own. The old run keeps its history; its events, waits and leases hang
on its own key, so they cannot touch the new run. A retry re-opens an errored run in place.
"""

from __future__ import annotations

from collections.abc import Sequence

from keepstep.errors import InstanceStateError, InvalidInputError
from keepstep.kernel import transitions
from keepstep.kernel.create import new_task, next_run
from keepstep.kernel.lifecycle import changed, terminated
from keepstep.kernel.refusals import subject
from keepstep.kernel.transitions import To, Trigger
from keepstep.model.facts import CANCEL_KEY
from keepstep.model.outcome import ErrorInfo
from keepstep.model.plan import Creation, Steering
from keepstep.model.recorded import read_error
from keepstep.model.records import RunRecord, StepRecord, TaskRecord
from keepstep.model.status import Priority, Status, StepStatus

_FENCES_PER_VERSION = 1024


def plan_restart(
    run: RunRecord, task: TaskRecord | None, new_run_id: int, params: str | None, now: int
) -> Steering:
    """Plan ``restart()``: from any status; a live run is terminated by it.

    Args:
        run: the newest run.
        task: its task, None when it has ended.
        new_run_id: a fresh internal key.
        params: encoded params of the next run; None = the same again.
        now: database time, ms.
    """
    creation = next_run(run, new_run_id, run.params if params is None else params, now)
    return _restart(run, task, creation, (), now)


def plan_restart_from(  # noqa: PLR0917 - all that it decides on; each has a type of its own
    run: RunRecord,
    task: TaskRecord | None,
    new_run_id: int,
    steps: Sequence[StepRecord],
    from_key: str,
    now: int,
) -> Steering:
    """Plan ``restart(from_step=…)``: the next run begins with the results recorded before that step.

    A step that is not resolved yet has everything resolved before it. Nothing from a cancellation on is taken
    over: the next run is not cancelled. The next run starts at the old one's ``started_at``, so that loop time
    never runs backwards between the taken results (A3).

    Args:
        run: the newest run.
        task: its task, None when it has ended.
        new_run_id: a fresh internal key.
        steps: all step rows of ``run``.
        from_key: the first step to execute again.
        now: database time, ms.

    Raises:
        InvalidInputError: the run has no step of that key.
    """
    seeds = _results_before(run, steps, from_key)
    creation = next_run(run, new_run_id, run.params, now)
    creation = creation._replace(run=creation.run._replace(started_at=run.started_at))
    return _restart(run, task, creation, tuple(row._replace(run_id=new_run_id) for row in seeds), now)


def plan_retry_failed_step(
    run: RunRecord, task: TaskRecord | None, steps: Sequence[StepRecord], now: int
) -> Steering:
    """Plan ``retry_failed_step()``: forget the failure and what came after it, and go on from there.

    The step gets all its attempts again. A wait that timed out gets its whole timeout again, from now: its old
    deadline has passed, and no event could have come since. Other deadlines keep counting. A cancellation that
    the body had not received before the failure is void; one that it had received stands.

    Args:
        run: the newest run.
        task: its task: None, because an errored run has none.
        steps: all step rows of ``run``.
        now: database time, ms.

    Raises:
        InstanceStateError: the instance is not ``errored``, or not by a step.
    """
    decision = transitions.decide(run.status, Trigger.RETRY_FAILED_STEP)
    if not isinstance(decision, To):
        raise InstanceStateError(
            f"{subject(run)} is {run.status}: no step to retry; {_instead(Status(run.status))}"
        )
    assert task is None, f"ended {subject(run)} has a task row"
    failed = _failed_row(run, steps)
    assert failed.seq is not None
    reopened = changed(run, now, status=decision.status)
    return Steering(
        run_id=run.id,
        expect_version=run.version,
        run=reopened._replace(
            completed_at=None,
            output=None,
            error=None,
            cancel_reason=run.cancel_reason if _cancelled_before(steps, failed.seq) else None,
        ),
        task=_reopened_task(reopened, now),
        steps=() if failed.event_type is None else (_waiting_again(failed, now),),
        drop_from_seq=failed.seq,
    )


def _restart(
    run: RunRecord, task: TaskRecord | None, creation: Creation, seeds: tuple[StepRecord, ...], now: int
) -> Steering:
    decision = transitions.decide(run.status, Trigger.RESTART)
    old = (
        terminated(run, decision.status, "restarted", now) if isinstance(decision, To) else changed(run, now)
    )
    return Steering(
        run_id=run.id,
        expect_version=run.version,
        run=old._replace(latest=False),
        drop_task=task is not None,
        creation=creation,
        steps=seeds,
    )


def _results_before(run: RunRecord, steps: Sequence[StepRecord], from_key: str) -> list[StepRecord]:
    named = next((row for row in steps if row.key == from_key), None)
    if named is None:
        raise _unknown_step(run, steps, from_key)
    stops = [
        row.seq for row in (named, *(row for row in steps if row.key == CANCEL_KEY)) if row.seq is not None
    ]
    stop = min(stops, default=None)
    resolved = [row for row in steps if row.seq is not None and (stop is None or row.seq < stop)]
    return sorted(resolved, key=_seq)


def _unknown_step(run: RunRecord, steps: Sequence[StepRecord], from_key: str) -> InvalidInputError:
    in_order = sorted(steps, key=lambda row: (row.seq is None, row.seq or row.started_at))
    known = ", ".join(repr(row.key) for row in in_order) or "none yet"
    return InvalidInputError(
        f"{subject(run)} has no step {from_key!r} in run {run.run_number}, so it cannot restart from it; "
        f"recorded steps: {known}"
    )


def _failed_row(run: RunRecord, steps: Sequence[StepRecord]) -> StepRecord:
    error = read_error(run.error) if run.error is not None else None
    key = None if error is None else error.step_key
    row = next((row for row in steps if row.key == key and row.status == StepStatus.FAILED), None)
    if row is None or row.seq is None:
        raise _not_by_a_step(run, error)
    return row


def _not_by_a_step(run: RunRecord, error: ErrorInfo | None) -> InstanceStateError:
    what = "an error that was not recorded" if error is None else f"{error.name}: {error.message}"
    return InstanceStateError(
        f"{subject(run)} is errored, but not by a step ({what}): there is no failed step to retry; "
        "restart() begins the next run, restart(from_step=…) keeps the results before a step"
    )


def _instead(status: Status) -> str:
    match status:
        case Status.PAUSED:
            return "resume() continues it"
        case Status.ACTIVE | Status.WAITING:
            return "a failed attempt is retried by itself while its step has attempts left"
        case Status.COMPLETE | Status.ERRORED | Status.TERMINATED | Status.CANCELLED:
            return "restart() begins its next run, restart(from_step=…) keeps the results before a step"


def _cancelled_before(steps: Sequence[StepRecord], seq: int) -> bool:
    return any(row.key == CANCEL_KEY and row.seq is not None and row.seq < seq for row in steps)


def _waiting_again(failed: StepRecord, now: int) -> StepRecord:
    assert failed.due_at is not None
    return failed._replace(
        seq=None,
        status=StepStatus.WAITING.value,
        started_at=now,
        at=None,
        due_at=now + failed.due_at - failed.started_at,
        error=None,
    )


def _reopened_task(run: RunRecord, now: int) -> TaskRecord:
    # The fence went with the old task row. Versions outlive it, and claims between two of them are few: a multiple
    # of the version lies above every fence that an earlier holder of this run may still have in memory (B3).
    return new_task(run, now)._replace(priority=Priority.RESUME, fence=run.version * _FENCES_PER_VERSION)


def _seq(row: StepRecord) -> int:
    assert row.seq is not None
    return row.seq
