"""``instance.why()``: one sentence a state, with what would move it on (E1, H)."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from keepstep.kernel.why import explain
from keepstep.model.outcome import ErrorInfo, InstanceDetails, Waiting
from keepstep.model.status import Status

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
EARLIER = datetime(2026, 3, 5, 10, 2, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
APPROVAL = Waiting("wait:ok", "event", EARLIER, LATER, event_type="approval")
SLEEP = Waiting("sleep:night", "sleep", EARLIER, LATER)


def why(status, **changes):
    """Explain an instance in ``status``."""
    fields = {
        "id": "o-1",
        "workflow": "order",
        "run_number": 1,
        "pausing": False,
        "cancelling": False,
        "created_at": EARLIER,
        "started_at": EARLIER,
        "updated_at": EARLIER,
        "completed_at": EARLIER if status.terminal else None,
        "params": None,
        "output": None,
        "error": None,
    }
    return explain(InstanceDetails(status=status, **{**fields, **changes}), NOW)


def test_active_and_executing():
    """Who holds the lease, until when."""
    until = NOW + timedelta(seconds=30)
    assert why(Status.ACTIVE, lease_holder="web/123", lease_until=until) == (
        "active: runner web/123 executes it, lease until 12:00:30"
    )
    assert why(Status.ACTIVE, lease_holder="web/123") == "active: runner web/123 executes it"


def test_active_with_an_expired_lease():
    """The holder is dead or cut off."""
    assert why(Status.ACTIVE, lease_holder="web/123", lease_until=EARLIER) == (
        "active: runner web/123 held it until 10:02:00; its lease expired and another runner will take over"
    )


def test_active_and_due():
    """Nobody has claimed it: perhaps nobody can."""
    assert why(Status.ACTIVE, next_wake_at=EARLIER) == (
        "active, due since 10:02:00: no runner has claimed it yet (is one running that has this workflow?)"
    )


def test_active_and_not_due():
    """Released until later, or just being claimed."""
    assert why(Status.ACTIVE, next_wake_at=LATER) == "active, due at 2026-03-06 12:00:00"
    assert why(Status.ACTIVE) == "active: a runner will claim it"


def test_active_and_pausing():
    """The pause is on its way."""
    text = why(Status.ACTIVE, lease_holder="web/123", pausing=True)
    assert text.endswith("; a pause was asked for and takes effect when the step that executes has ended")


def test_waiting_for_an_event():
    """Type, step, deadline, and the call that resumes it."""
    assert why(Status.WAITING, waiting_for=(APPROVAL,), next_wake_at=LATER) == (
        "waiting since 10:02:00 for an event of type 'approval' (step wait:ok), until 2026-03-06 12:00:00; "
        "send_event('approval', …) resumes it"
    )


def test_waiting_for_an_event_without_a_deadline():
    """For ever means for ever."""
    forever = Waiting("wait:ok", "event", EARLIER, None, event_type="approval")
    assert "(step wait:ok), without a deadline; send_event" in why(Status.WAITING, waiting_for=(forever,))


@pytest.mark.parametrize(
    ("waiting", "text"),
    [
        (SLEEP, "waiting since 10:02:00 in step sleep:night until 2026-03-06 12:00:00; it wakes by itself"),
        (
            Waiting("timer:loop", "timer", EARLIER, LATER),
            (
                "waiting since 10:02:00 for a timer of the body (step timer:loop) until 2026-03-06 12:00:00; "
                "it wakes by itself"
            ),
        ),
        (
            Waiting("do:charge", "retry", EARLIER, LATER, attempt=2, error=ErrorInfo("HTTPError", "503")),
            (
                "waiting since 10:02:00 to retry step do:charge until 2026-03-06 12:00:00; "
                "attempt 2 failed: HTTPError: 503"
            ),
        ),
        (
            Waiting("child:pay", "child", EARLIER, None),
            "waiting since 10:02:00 for child (step child:pay)",
        ),
    ],
)
def test_waiting_for_one_thing(waiting, text):
    """Each kind of wait in its own words."""
    assert why(Status.WAITING, waiting_for=(waiting,)) == text


def test_waiting_for_several():
    """The list is cut, the count is not."""
    lines = why(Status.WAITING, waiting_for=(APPROVAL, *(SLEEP,) * 6)).splitlines()
    assert lines[0] == "waiting for any of 7:"
    assert lines[1].startswith("- since 10:02:00 for an event of type 'approval'")
    assert (len(lines), lines[-1]) == (7, "- and 2 more")


def test_waiting_and_woken():
    """The wait is over and no runner has noticed."""
    text = why(Status.WAITING, waiting_for=(SLEEP,), next_wake_at=EARLIER)
    assert text.endswith("; due since 10:02:00, no runner has claimed it yet")
    assert why(Status.WAITING, next_wake_at=EARLIER).startswith("waiting; due since 10:02:00")


def test_waiting_for_nothing():
    """A run parked for other code has no deadline; its log says why (E10)."""
    assert why(Status.WAITING).startswith("waiting: nothing that could wake it is recorded")


@pytest.mark.parametrize(
    ("due", "tail"),
    [
        (0, ""),
        (1, "; 1 timer fell due meanwhile and takes effect then"),
        (2, "; 2 timers fell due meanwhile and take effect then"),
    ],
)
def test_paused(due, tail):
    """Timers keep counting while paused (E3)."""
    overdue = Waiting("sleep:a", "sleep", EARLIER, EARLIER)
    text = why(Status.PAUSED, waiting_for=(overdue,) * due + (APPROVAL,))
    assert text == f"paused: resume() continues{tail}"


def test_errored_by_a_step():
    """Which step, how often, and both ways on (E6)."""
    error = ErrorInfo("HTTPError", "503", None, "do:charge", 6)
    assert why(Status.ERRORED, error=error) == (
        "errored since 10:02:00: step do:charge failed after 6 attempts: HTTPError: 503; "
        "retry_failed_step() tries it again, restart() begins the next run"
    )
    single = ErrorInfo("HTTPError", "503", None, "do:charge", 1)
    assert "failed after 1 attempt: HTTPError" in why(Status.ERRORED, error=single)
    timed_out = ErrorInfo("EventTimeoutError", "no event", None, "wait:ok")
    assert "step wait:ok failed: EventTimeoutError" in why(Status.ERRORED, error=timed_out)


def test_errored_by_the_body():
    """No step to retry (C5)."""
    assert why(Status.ERRORED, error=ErrorInfo("KeyError", "'x'")) == (
        "errored since 10:02:00: KeyError: 'x'; restart() begins the next run, restart(from_step=…) keeps results"
    )
    assert "no error was recorded" in why(Status.ERRORED)


def test_ended():
    """How it ended, when, and what begins it again."""
    assert why(Status.COMPLETE) == (
        "complete since 10:02:00: the body returned; restart() begins the next run"
    )
    stopped = ErrorInfo("WorkflowTerminatedError", "out of stock")
    assert why(Status.TERMINATED, error=stopped) == (
        "terminated since 10:02:00: out of stock; restart() begins the next run"
    )
    assert why(Status.CANCELLED, completed_at=None).startswith(
        "cancelled since 10:02:00: no reason was recorded"
    )


def test_what_else_is_worth_knowing():
    """Pending cancellation, takeovers, buffered events and warnings are sentences of their own."""
    lines = why(
        Status.ACTIVE,
        lease_holder="web/123",
        cancelling=True,
        takeovers=2,
        buffered_events=3,
        warnings=("step do:old is recorded and no longer asked for",),
    ).splitlines()
    assert lines[1:] == [
        "A cancellation was asked for: the body receives it at its next await, or is cleaning up.",
        "Its lease has expired 2 time(s) in a row without a step's result: a step may be killing or blocking its runner.",
        "3 event(s) are buffered that no wait has taken.",
        "Warning: step do:old is recorded and no longer asked for",
    ]
    assert "receives it when it is resumed" in why(Status.PAUSED, cancelling=True)


def test_instants_are_utc():
    """Whatever zone the caller reads in."""
    zone = timezone(timedelta(hours=5))
    assert "due since 10:02:00" in why(Status.ACTIVE, next_wake_at=EARLIER.astimezone(zone))


def test_waiting_for_other_code():
    """What differs is told, and when it is tried again (E10)."""
    told = why(Status.WAITING, parked="'do:pay' is not asked for", next_wake_at=LATER)
    assert told.startswith(
        "waiting: the code does not fit what the run has recorded: 'do:pay' is not asked for; "
    )
    assert "deploy code that does" in told
