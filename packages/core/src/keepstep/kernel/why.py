"""``instance.why()``: what an instance does now or waits for, and what would move it on, in words (E1, H).

Reads only what :class:`InstanceDetails` holds. Instants are UTC; one of the day of ``now`` is shown without its date.
"""

from __future__ import annotations

from datetime import UTC, datetime

from keepstep.model.outcome import ErrorInfo, InstanceDetails, Waiting
from keepstep.model.status import Status

_LISTED_MAX = 5


def explain(details: InstanceDetails, now: datetime) -> str:
    """Say in words why the instance is where it is.

    Args:
        details: the instance as read.
        now: the database's time of that reading, timezone-aware.

    Returns:
        Text that begins with the status; what else is worth knowing (a pending cancellation, buffered events,
        takeovers, warnings) follows as sentences of its own.
    """
    return "\n".join([f"{details.status}{_main(details, now)}", *_remarks(details)])


def _main(details: InstanceDetails, now: datetime) -> str:
    match details.status:
        case Status.ACTIVE:
            return _active(details, now)
        case Status.WAITING:
            return _waiting(details, now)
        case Status.PAUSED:
            return f": resume() continues{_fallen_due(details, now)}"
        case Status.COMPLETE:
            return f" since {_at(_ended_at(details), now)}: the body returned; restart() begins the next run"
        case Status.ERRORED:
            return f" since {_at(_ended_at(details), now)}: {_failure(details.error)}"
        case Status.TERMINATED | Status.CANCELLED:
            reason = details.error.message if details.error is not None else "no reason was recorded"
            return f" since {_at(_ended_at(details), now)}: {reason}; restart() begins the next run"


def _active(details: InstanceDetails, now: datetime) -> str:
    if details.lease_holder is not None:
        return f": {_held(details, details.lease_holder, now)}{_next_pause(details)}"
    due = details.next_wake_at
    if due is not None and due <= now:
        hint = "is one running that has this workflow?"
        return f", due since {_at(due, now)}: no runner has claimed it yet ({hint}){_next_pause(details)}"
    return f", due at {_at(due, now)}" if due is not None else ": a runner will claim it"


def _held(details: InstanceDetails, holder: str, now: datetime) -> str:
    until = details.lease_until
    if until is None:
        return f"runner {holder} executes it"
    if until < now:
        return f"runner {holder} held it until {_at(until, now)}; its lease expired and another runner will take over"
    return f"runner {holder} executes it, lease until {_at(until, now)}"


def _next_pause(details: InstanceDetails) -> str:
    return (
        "; a pause was asked for and takes effect when the step that executes has ended"
        if details.pausing
        else ""
    )


def _parked(details: InstanceDetails, difference: str, now: datetime) -> str:
    again = "" if details.next_wake_at is None else f", and at {_at(details.next_wake_at, now)} in any case"
    return (
        f": the code does not fit what the run has recorded: {difference}; "
        f"deploy code that does: it is tried again when events come{again}"
    )


def _waiting(details: InstanceDetails, now: datetime) -> str:
    if details.parked is not None:
        return _parked(details, details.parked, now)
    if not details.waiting_for:
        return (
            _woken(details, now) or ": nothing that could wake it is recorded; restart() begins the next run"
        )
    listed = [_one(each, now) for each in details.waiting_for[:_LISTED_MAX]]
    more = len(details.waiting_for) - _LISTED_MAX
    if more > 0:
        listed.append(f"and {more} more")
    if len(listed) == 1:
        return f" {listed[0]}{_woken(details, now)}"
    return f" for any of {len(details.waiting_for)}{_woken(details, now)}:" + "".join(
        f"\n- {each}" for each in listed
    )


def _woken(details: InstanceDetails, now: datetime) -> str:
    due = details.next_wake_at
    if due is None or due > now:
        return ""
    return f"; due since {_at(due, now)}, no runner has claimed it yet"


def _one(waiting: Waiting, now: datetime) -> str:
    since = f"since {_at(waiting.since, now)}"
    until = "" if waiting.until is None else f" until {_at(waiting.until, now)}"
    match waiting.what:
        case "event":
            type_ = f"{waiting.event_type!r}"
            deadline = f",{until}" if until else ", without a deadline"
            return (
                f"{since} for an event of type {type_} (step {waiting.key}){deadline}; "
                f"send_event({type_}, …) resumes it"
            )
        case "retry":
            error = f": {waiting.error.name}: {waiting.error.message}" if waiting.error is not None else ""
            return f"{since} to retry step {waiting.key}{until}; attempt {waiting.attempt} failed{error}"
        case "sleep":
            return f"{since} in step {waiting.key}{until}; it wakes by itself"
        case "timer":
            return f"{since} for a timer of the body (step {waiting.key}){until}; it wakes by itself"
        case _:
            return f"{since} for {waiting.what} (step {waiting.key}){until}"


def _fallen_due(details: InstanceDetails, now: datetime) -> str:
    due = sum(1 for each in details.waiting_for if each.until is not None and each.until <= now)
    if not due:
        return ""
    return f"; {due} timer{'s' if due > 1 else ''} fell due meanwhile and {'take' if due > 1 else 'takes'} effect then"


def _failure(error: ErrorInfo | None) -> str:
    if error is None:
        return "no error was recorded; restart() begins the next run"
    if error.step_key is None:
        return f"{error.name}: {error.message}; restart() begins the next run, restart(from_step=…) keeps results"
    after = (
        ""
        if error.attempts is None
        else f" after {error.attempts} attempt{'s' if error.attempts != 1 else ''}"
    )
    return (
        f"step {error.step_key} failed{after}: {error.name}: {error.message}; "
        "retry_failed_step() tries it again, restart() begins the next run"
    )


def _remarks(details: InstanceDetails) -> list[str]:
    remarks: list[str] = []
    if details.cancelling:
        when = "when it is resumed" if details.status == Status.PAUSED else "at its next await"
        remarks.append(f"A cancellation was asked for: the body receives it {when}, or is cleaning up.")
    if details.takeovers:
        remarks.append(
            f"Its lease has expired {details.takeovers} time(s) in a row without a step's result: "
            "a step may be killing or blocking its runner."
        )
    if details.buffered_events and details.status not in {Status.COMPLETE, Status.ERRORED}:
        remarks.append(f"{details.buffered_events} event(s) are buffered that no wait has taken.")
    remarks += [f"Warning: {warning}" for warning in details.warnings]
    return remarks


def _ended_at(details: InstanceDetails) -> datetime:
    return details.completed_at or details.updated_at


def _at(instant: datetime, now: datetime) -> str:
    instant, now = instant.astimezone(UTC), now.astimezone(UTC)
    if instant.date() == now.date():
        return instant.strftime("%H:%M:%S")
    return instant.strftime("%Y-%m-%d %H:%M:%S")
