"""Wrong calls: refused inside the body, at the call, before a key is taken (H)."""

import functools
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from keepstep.authoring.definition import workflow
from keepstep.authoring.events import EventModel, WorkflowEvent
from keepstep.authoring.step import WorkflowStep
from keepstep.errors import (
    InvalidDurationError,
    InvalidEventTypeError,
    InvalidNameError,
    KeepstepError,
    SerializationError,
    StepLimitExceededError,
    UsageError,
)
from keepstep.model.commands import Raised, Returned
from keepstep.model.limits import Limits
from keepstep.model.retry import Retry
from tests.support.bodies import Drive, resolved

Event = WorkflowEvent[Any]


async def plain(*args: Any) -> Any:
    """A step's callback; the loop never calls it."""


async def charge(amount: int, /, order: str, *, currency: str = "eur") -> int:
    """A step's callback with parameters."""
    raise NotImplementedError


async def unreadable() -> "Missing":  # type: ignore[name-defined] # noqa: F821
    """A callback whose annotation names nothing."""


class Undeclared(EventModel, type="undeclared"):
    """An event that the workflow does not declare."""


class Declared(EventModel, type="declared"):
    """An event that it declares."""


WRONG: dict[str, tuple[type[KeepstepError], str, Callable[[Any], Any]]] = {
    "name is empty": (InvalidNameError, "0 characters", lambda step: step.do("", plain)),
    "name is long": (InvalidNameError, "257 characters", lambda step: step.do("x" * 257, plain)),
    "name is reserved": (InvalidNameError, "'#'", lambda step: step.do("a#2", plain)),
    "name is no text": (InvalidNameError, "must be text, not 5", lambda step: step.do(5, plain)),
    "name is unhashable": (InvalidNameError, "must be text", lambda step: step.sleep(["a"], "1h")),
    "scope is reserved": (InvalidNameError, "'>'", lambda step: step.scope("a>b")),
    "no function": (UsageError, "awaited without a function", lambda step: step.do("a")),
    "no callable": (UsageError, "needs a function to call, not 5", lambda step: step.do("a", 5)),
    "coroutine": (UsageError, "started already", lambda step: step.do("a", charge(1, "o"))),
    "transaction of nothing": (UsageError, "needs a function", lambda step: step.transaction("a", None)),
    "decorated nothing": (UsageError, "needs a function", lambda step: step.do("a")(5)),
    "unknown option": (
        UsageError,
        "no option 'retries': known are retry, timeout, non_retryable, journal_intent, reconcile; charge has no such",
        lambda step: step.do("a", charge, 1, "o", retries=3),
    ),
    "unknown option of the decorator": (
        UsageError,
        "no option 'retries'",
        lambda step: step.do("a", retries=3),
    ),
    "option at the decorated call": (
        UsageError,
        "timeout is an option of step.do",
        lambda step: step.do("a")(plain)(timeout="5s"),
    ),
    "option of a transaction": (
        UsageError,
        "it has none",
        lambda step: step.transaction("a", charge, retry=None),
    ),
    "positional-only by name": (
        UsageError,
        "no option 'amount'",
        lambda step: step.do("a", charge, amount=1),
    ),
    "retry is a number": (
        UsageError,
        "must be a Retry or a mapping",
        lambda step: step.do("a", plain, retry=3),
    ),
    "retry has unknown keys": (
        UsageError,
        "unknown retry option",
        lambda step: step.do("a", plain, retry={"x": 1}),
    ),
    "timeout is a number": (
        InvalidDurationError,
        "needs a unit",
        lambda step: step.do("a", plain, timeout=5),
    ),
    "timeout is nothing": (
        InvalidDurationError,
        "longer than 0",
        lambda step: step.do("a", plain, timeout="0s"),
    ),
    "non_retryable is no type": (
        UsageError,
        "exception classes",
        lambda step: step.do("a", plain, non_retryable=[5]),
    ),
    "intent is no flag": (
        UsageError,
        "True or False",
        lambda step: step.do("a", plain, journal_intent="yes"),
    ),
    "reconcile is no function": (
        UsageError,
        "must be a function",
        lambda step: step.do("a", plain, journal_intent=True, reconcile=5),
    ),
    "reconcile without intent": (
        UsageError,
        "journal_intent=True",
        lambda step: step.do("a", plain, reconcile=plain),
    ),
    "annotation cannot be resolved": (
        UsageError,
        "cannot be resolved",
        lambda step: step.do("a", unreadable),
    ),
    "sleep is a number": (InvalidDurationError, "needs a unit", lambda step: step.sleep("a", 5)),
    "sleep is negative": (
        InvalidDurationError,
        "negative",
        lambda step: step.sleep("a", timedelta(seconds=-1)),
    ),
    "sleep is not a number": (
        InvalidDurationError,
        "needs a unit",
        lambda step: step.sleep("a", float("nan")),
    ),
    "sleep is too long": (InvalidDurationError, "at most 365 d", lambda step: step.sleep("a", "366 days")),
    "sleep_until is naive": (
        InvalidDurationError,
        "naive",
        lambda step: step.sleep_until("a", datetime(2024, 1, 1)),  # noqa: DTZ001 - the mistake itself
    ),
    "sleep_until is a number": (
        InvalidDurationError,
        "timezone-aware",
        lambda step: step.sleep_until("a", 5),
    ),
    "sleep_until is too late": (
        InvalidDurationError,
        "at most",
        lambda step: step.sleep_until("a", step.now() + timedelta(days=366)),
    ),
    "wait is too short": (
        InvalidDurationError,
        "not within 1 s",
        lambda step: step.wait_for_event("a", "declared", timeout="0s"),
    ),
    "wait is too long": (
        InvalidDurationError,
        "and 365 d",
        lambda step: step.wait_for_event("a", "declared", timeout="366 days"),
    ),
    "wait is a number": (
        InvalidDurationError,
        "needs a unit",
        lambda step: step.wait_for_event("a", "declared", timeout=5),
    ),
    "event type is bad": (InvalidEventTypeError, "not allowed", lambda step: step.wait_for_event("a", "a b")),
    "event type is nothing": (UsageError, "EventModel", lambda step: step.wait_for_event("a", None)),
    "event is not declared": (
        InvalidEventTypeError,
        "does not declare events of type 'undeclared'.*it declares 'declared'",
        lambda step: step.wait_for_event("a", Undeclared),
    ),
    "log data": (SerializationError, "object", lambda step: step.log.info("a", x=object())),
    "log message": (UsageError, "takes a text", lambda step: step.log.error(5)),
    "params of the next run": (
        SerializationError,
        r"\$\.x",
        lambda step: step.continue_as_new({"x": float("nan")}),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_call_is_refused_at_the_call(name: str) -> None:
    """H, C1, C10, D1, D4: misuse raises in the body where it happens; no key is taken and nothing is opened."""
    error, message, call = WRONG[name]

    @workflow(name="probe", events=[Declared])
    async def probe(event: Event, step: WorkflowStep) -> str:
        with pytest.raises(error, match=message):
            await call(step)
        await step.do("a", plain)
        return "caught"

    drive = Drive(probe)
    assert drive.open == ["do:a"]
    drive.finish("do:a")
    assert drive.outcome == Returned('"caught"')


def test_uncaught_misuse_ends_the_run() -> None:
    """C5, H: a usage error that the body does not catch is the run's error, with its code."""

    @workflow(name="probe")
    async def probe(event: Event, step: WorkflowStep) -> None:
        await step.sleep("a", 5)  # type: ignore[arg-type]

    outcome = Drive(probe).outcome
    assert isinstance(outcome, Raised)
    assert outcome.error.code == "INVALID_DURATION"


@pytest.mark.parametrize(
    "fn",
    [
        charge,
        functools.partial(charge, 1),
        lambda *args, **kwargs: None,
        functools.wraps(charge)(lambda *args, **kwargs: None),
        type("Charge", (), {"__call__": charge})(),
    ],
)
def test_keywords_of_the_callback_are_taken(fn: Any) -> None:
    """C7: keyword arguments go to the callback, whatever kind of callable it is."""

    @workflow(name="probe")
    async def probe(event: Event, step: WorkflowStep) -> None:
        await step.do("a", fn, order="o", currency="usd")

    assert Drive(probe).open == ["do:a"]


def test_step_limit() -> None:
    """C10: one step more than allowed is refused; sleeps and waits do not count, recorded steps are not refused."""

    @workflow(name="probe")
    async def probe(event: Event, step: WorkflowStep) -> str:
        for n in range(3):
            await step.do("a", plain)
            await step.sleep("s", timedelta(seconds=n + 1))
        with pytest.raises(StepLimitExceededError, match=r"more than 3 steps .*\.continue_as_new"):
            await step.transaction("t", plain)
        return "caught"

    drive = Drive(probe, limits=Limits(steps_max=3))
    for n in ("", "#2", "#3"):
        drive.finish(f"do:a{n}")
        drive.fire(f"sleep:s{n}")
    assert drive.outcome == Returned('"caught"')

    @workflow(name="probe")
    async def longer(event: Event, step: WorkflowStep) -> str:
        for _ in range(3):
            await step.do("a", plain)
        return "done"

    records = [resolved(1, "do:a"), resolved(2, "do:a#2"), resolved(3, "do:a#3")]
    assert Drive(longer, records=records, limits=Limits(steps_max=1)).outcome == Returned('"done"')


def test_limits_of_the_app_are_used() -> None:
    """C10: names, sleeps and waits are held to the app's limits, not to the defaults."""

    @workflow(name="probe")
    async def probe(event: Event, step: WorkflowStep) -> str:
        with pytest.raises(InvalidNameError, match="1 to 5"):
            step.do("abcdef", plain)
        with pytest.raises(InvalidDurationError, match="at most 1 h"):
            step.sleep("a", "2h")
        step.wait_for_event("a", "go", timeout="10ms").close()
        return "caught"

    limits = Limits(step_name_max=5, sleep_max="1h", wait_min="5ms")
    assert Drive(probe, limits=limits).outcome == Returned('"caught"')


def test_retry_of_the_call_is_kept_as_it_is() -> None:
    """C4: a policy that is given whole takes nothing from the workflow's."""

    @workflow(name="probe", retry=Retry(non_retryable=("A",)))
    async def probe(event: Event, step: WorkflowStep) -> None:
        await step.do("a", plain, retry=Retry(delay="1s"), non_retryable="B")

    drive = Drive(probe)
    assert drive.body.commands["do:a"].retry == Retry(delay="1s", non_retryable=("B",))  # type: ignore[union-attr]
