"""Operations from outside on a live or ended run: pause, resume, cancel, terminate, events (D7, E3–E5).

Each function takes the newest run and its task as they are now, and returns what to write, or None when what was
asked is the case already. It asks :mod:`keepstep.kernel.transitions` first, so what that table says is what
happens. Every write to a task raises ``wake_seq``: a boundary that was planned before it cannot end the run (B6).
Beginning another life (restart, retry of the failed step) is in ``again.py``.
"""

from __future__ import annotations

import json

from keepstep.errors import EventIdConflictError, WorkflowTerminatedError
from keepstep.kernel import transitions
from keepstep.kernel.refusals import ended, subject
from keepstep.kernel.transitions import Refuse, To, Trigger
from keepstep.model.outcome import Accepted, ErrorInfo
from keepstep.model.plan import Steering
from keepstep.model.recorded import error_text
from keepstep.model.records import EventRecord, RunRecord, TaskRecord
from keepstep.model.status import Priority, Status


def plan_pause(run: RunRecord, task: TaskRecord | None, now: int) -> Steering | None:
    """Plan ``pause()`` (E3): at once when nobody holds the run, else as a wish for the next boundary.

    Raises:
        InstanceTerminalError: the instance has ended.
    """
    if isinstance(transitions.decide(run.status, Trigger.PAUSE_REQUESTED), Refuse):
        raise ended(run, "it cannot be paused")
    task = _scheduled(run, task)
    if run.status == Status.PAUSED:
        return None
    if task.owner is None:
        decision = transitions.decide(run.status, Trigger.PAUSE)
        assert isinstance(decision, To)
        return _steer(
            run,
            changed(run, now, status=decision.status, pause_requested=False),
            task._replace(run_at=None, wake_seq=task.wake_seq + 1, takeovers=0),
        )
    if run.pause_requested:
        return None
    return _steer(run, changed(run, now, pause_requested=True), task._replace(wake_seq=task.wake_seq + 1))


def plan_resume(run: RunRecord, task: TaskRecord | None, now: int) -> Steering | None:
    """Plan ``resume()`` (E4): a paused run gets one tick now; a pending pause is withdrawn; else a no-op."""
    decision = transitions.decide(run.status, Trigger.RESUME)
    if isinstance(decision, To):
        return _steer(run, changed(run, now, status=decision.status), _woken(_scheduled(run, task), now))
    if run.pause_requested:
        scheduled = _scheduled(run, task)
        withdrawn = changed(run, now, pause_requested=False)
        return _steer(run, withdrawn, scheduled._replace(wake_seq=scheduled.wake_seq + 1))
    return None


def plan_cancel(run: RunRecord, task: TaskRecord | None, reason: str | None, now: int) -> Steering | None:
    """Plan ``cancel()`` (E5): the body will receive it; a repeat is a no-op.

    The task keeps its owner and fence, so that a step in flight may still record its result; the raised
    ``wake_seq`` keeps every end that has not seen the cancellation from committing (decision 0003). A paused run
    is resumed and a pending pause withdrawn, so that cleanup can run.

    Args:
        run: the newest run.
        task: its task.
        reason: for the body and for readers; None = none given.
        now: database time, ms.

    Raises:
        InstanceTerminalError: the instance has ended.
    """
    decision = transitions.decide(run.status, Trigger.CANCEL_REQUESTED)
    if isinstance(decision, Refuse):
        raise ended(run, "it cannot be cancelled")
    if run.cancel_reason is not None:
        return None
    status = decision.status if isinstance(decision, To) else Status(run.status)
    cancelling = changed(run, now, status=status, pause_requested=False, cancel_reason=reason or "")
    return _steer(run, cancelling, _woken(_scheduled(run, task), now))


def plan_terminate(run: RunRecord, task: TaskRecord | None, reason: str | None, now: int) -> Steering:
    """Plan ``terminate()`` (E5): at once, for good. The fence goes with the task: no holder can commit any more.

    Raises:
        InstanceTerminalError: the instance has ended already.
    """
    decision = transitions.decide(run.status, Trigger.TERMINATE)
    if not isinstance(decision, To):
        raise ended(run, "it cannot be terminated")
    return Steering(
        run_id=run.id,
        expect_version=run.version,
        run=terminated(run, decision.status, reason or "terminated", now),
        drop_task=task is not None,
    )


def plan_event(  # noqa: PLR0917 - all that it decides on; each has a type of its own
    run: RunRecord,
    task: TaskRecord | None,
    event: EventRecord,
    known: EventRecord | None,
    waits: bool,
    now: int,
) -> Steering | Accepted:
    """Plan ``send_event()`` (D4–D7): keep the event; wake the run when it waits for just that type.

    A repeat is recognised also after the run has ended: the event *was* accepted, and a sender whose first answer
    got lost must not read that it was not. A run that executes, is paused or waits for something else is not made
    due; it finds the event when it next looks, and the raised ``wake_seq`` keeps it from parking past it (B6).

    Args:
        run: the newest run.
        task: its task.
        event: what to accept; its ``id`` is assigned by the store, ``run_id`` and ``accepted_at`` here.
        known: the event of this run that has the same ``event_id``, if any.
        waits: whether an open wait of the run asks for the event's type.
        now: database time, ms.

    Returns:
        What to write, or ``Accepted(duplicate=True)``: nothing is written.

    Raises:
        InstanceTerminalError: the instance has ended.
        EventIdConflictError: the id was accepted before with another type or payload.
    """
    same = known is not None and known.type == event.type and _same_json(known.payload, event.payload)
    if same:
        return Accepted(duplicate=True)
    if isinstance(transitions.decide(run.status, Trigger.EVENT), Refuse):
        raise ended(run, f"it takes no event of type {event.type!r}")
    if known is not None:
        raise _conflict(run, event, known)
    scheduled = _scheduled(run, task)
    wakes = waits and run.status == Status.WAITING and scheduled.owner is None
    accepted = event._replace(run_id=run.id, accepted_at=now, consumed_by=None)
    return Steering(
        run_id=run.id,
        expect_version=run.version,
        task=_woken(scheduled, now) if wakes else scheduled._replace(wake_seq=scheduled.wake_seq + 1),
        event=accepted,
    )


def changed(
    run: RunRecord,
    now: int,
    *,
    status: Status | None = None,
    pause_requested: bool | None = None,
    cancel_reason: str | None = None,
) -> RunRecord:
    """Return the run's next version; what is not named stays."""
    return run._replace(
        version=run.version + 1,
        updated_at=now,
        status=run.status if status is None else status.value,
        pause_requested=run.pause_requested if pause_requested is None else pause_requested,
        cancel_reason=run.cancel_reason if cancel_reason is None else cancel_reason,
    )


def terminated(run: RunRecord, status: Status, reason: str, now: int) -> RunRecord:
    """Return the run as ended from outside, with the reason as its error."""
    error = ErrorInfo(WorkflowTerminatedError.__name__, reason, WorkflowTerminatedError.code)
    return changed(run, now, status=status, pause_requested=False)._replace(
        completed_at=now, error=error_text(error)
    )


def _steer(run: RunRecord, changed_run: RunRecord, task: TaskRecord) -> Steering:
    return Steering(run_id=run.id, expect_version=run.version, run=changed_run, task=task)


def _scheduled(run: RunRecord, task: TaskRecord | None) -> TaskRecord:
    assert task is not None, f"live {subject(run)} has no task row"
    return task


def _woken(task: TaskRecord, now: int) -> TaskRecord:
    # A task that is due already keeps its place in the order of claims (B2).
    due = now if task.run_at is None else min(task.run_at, now)
    return task._replace(run_at=due, priority=Priority.RESUME, wake_seq=task.wake_seq + 1)


def _same_json(one: str, other: str) -> bool:
    # The order of an object's members carries no meaning; 1, 1.0 and true stay different.
    return one == other or _canonical(one) == _canonical(other)


def _canonical(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)


def _conflict(run: RunRecord, event: EventRecord, known: EventRecord) -> EventIdConflictError:
    what = "another type" if known.type != event.type else "another payload"
    return EventIdConflictError(
        f"{subject(run)} accepted event id {event.event_id!r} before with {what} "
        f"(type {known.type!r}): the one sent now was not stored; "
        "send it with an id of its own, or repeat the first one unchanged"
    )
