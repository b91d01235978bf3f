"""Sending an event: kept always, waking only the run that waits for it, once per id (D4–D7, B6)."""

import pytest

from keepstep.errors import EventIdConflictError, InstanceTerminalError
from keepstep.kernel.lifecycle import plan_event
from keepstep.model.outcome import Accepted
from keepstep.model.plan import Steering
from keepstep.model.status import TERMINAL, Priority, Status
from tests.support.rows import NOW, RUN_ID, RUNNER_ID, event_row, run_row, task_of, task_row


def test_an_event_wakes_the_run_that_waits_for_it():
    """The event is stored and the run is due now, ahead of new runs (D4)."""
    task = task_row(priority=Priority.NEW)
    event = event_row(0, accepted_at=1, run_id=0)
    assert plan_event(run_row(Status.WAITING), task, event, None, waits=True, now=NOW) == Steering(
        run_id=RUN_ID,
        expect_version=5,
        task=task._replace(run_at=NOW, priority=Priority.RESUME, wake_seq=10),
        event=event._replace(run_id=RUN_ID, accepted_at=NOW),
    )


@pytest.mark.parametrize(
    ("status", "owner", "waits"),
    [
        (Status.WAITING, None, False),
        (Status.ACTIVE, None, True),
        (Status.ACTIVE, RUNNER_ID, True),
        (Status.ACTIVE, RUNNER_ID, False),
        (Status.PAUSED, None, True),
        (Status.PAUSED, None, False),
    ],
)
def test_otherwise_it_is_kept_and_the_schedule_stays(status, owner, waits):
    """Nobody waits for it now, or the run is paused or held: kept for later, and no park can miss it (D5, B6)."""
    run = run_row(status)
    task = task_of(run, owner=owner)
    steering = plan_event(run, task, event_row(0), None, waits, NOW)
    assert isinstance(steering, Steering)
    assert task is not None
    assert (steering.task, steering.run) == (task._replace(wake_seq=10), None)
    assert steering.event == event_row(0)


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_an_ended_run_takes_no_event(status):
    """The refusal names the type (D7)."""
    with pytest.raises(InstanceTerminalError, match=r"it takes no event of type 'approval'"):
        plan_event(run_row(status), None, event_row(0), None, waits=False, now=NOW)


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("payload", ['{"ok":true,"n":1}', '{"n":1,"ok":true}', '{"n": 1, "ok": true}'])
def test_a_repeat_says_so_and_writes_nothing(status, payload):
    """One id and an equal payload: accepted before, also when the run has ended since (D7)."""
    run = run_row(status)
    known = event_row(3, event_id="e", payload='{"ok":true,"n":1}')
    sent = event_row(0, event_id="e", payload=payload)
    assert plan_event(run, task_of(run), sent, known, waits=True, now=NOW) == Accepted(duplicate=True)


@pytest.mark.parametrize(
    ("type_", "payload", "what"),
    [
        ("approval", '{"ok":false}', "another payload"),
        ("approval", '{"ok":1}', "another payload"),
        ("refusal", '{"ok":true}', "another type"),
    ],
)
def test_an_id_belongs_to_one_event(type_, payload, what):
    """The same id with other content is a conflict that stores nothing (D7)."""
    sent = event_row(0, event_id="e", type=type_, payload=payload)
    with pytest.raises(EventIdConflictError, match=f"accepted event id 'e' before with {what}"):
        plan_event(run_row(), task_row(), sent, event_row(3, event_id="e"), waits=True, now=NOW)


def test_a_conflict_on_an_ended_run_is_about_the_end():
    """Another payload under a known id would have been refused in any case (D7)."""
    sent = event_row(0, event_id="e", payload="1")
    with pytest.raises(InstanceTerminalError):
        plan_event(run_row(Status.COMPLETE), None, sent, event_row(3, event_id="e"), waits=False, now=NOW)
