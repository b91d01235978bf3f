# ruff: noqa: D101 (values and callbacks under test)
"""Retry policies (C4, C5)."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstep.errors import InvalidDurationError, UsageError
from keepstep.model.duration import duration_ms
from keepstep.model.facts import AttemptError
from keepstep.model.outcome import ErrorInfo
from keepstep.model.retry import Retry, timeout_in, type_names

YEAR_MS = 365 * 86_400_000
policies = st.builds(
    Retry,
    delay=st.integers(0, 10**7).map(lambda ms: timedelta(milliseconds=ms)),
    backoff=st.sampled_from(["constant", "linear", "exponential"]),
    coefficient=st.floats(1, 10),
    max_delay=st.none() | st.integers(0, 10**9).map(lambda ms: timedelta(milliseconds=ms)),
    jitter=st.floats(0, 1),
)
draws = st.floats(0, 1, exclude_max=True)


class BaseTroubleError(Exception):
    pass


class TroubleError(BaseTroubleError):
    pass


def failed(message: str = "no", name: str = "ValueError") -> AttemptError:
    """Stand for a failed attempt."""
    return AttemptError(ErrorInfo(name, message), (name, "Exception", "BaseException"), retryable=True)


def test_defaults_are_cloudflares():
    """C4: 6 attempts, 10 s, exponential."""
    retry = Retry()
    assert (retry.max_attempts, retry.backoff) == (6, "exponential")
    assert [retry.delay_ms(n) for n in range(1, 6)] == [10_000, 20_000, 40_000, 80_000, 160_000]


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [("constant", [5, 5, 5, 5]), ("linear", [5, 10, 15, 20]), ("exponential", [5, 10, 20, 40])],
)
def test_backoffs(backoff, delays):
    """C4: constant d, linear d·n, exponential d·2^(n-1), where n is the attempt that failed."""
    retry = Retry(delay="5 seconds", backoff=backoff)
    assert [retry.delay_ms(n) for n in (1, 2, 3, 4)] == [each * 1000 for each in delays]


@given(policies, st.integers(1, 10**9), draws)
def test_delays_stay_in_their_bounds(retry, attempt, draw):
    """C4: no delay is negative, longer than max_delay, or so long that it leaves the range of instants."""
    cap = YEAR_MS if retry.max_delay is None else duration_ms(retry.max_delay)
    assert 0 <= retry.delay_ms(attempt, None, draw) <= min(cap, YEAR_MS)


@given(policies, st.integers(1, 1000), draws)
def test_jitter_shortens_at_most_by_its_fraction(retry, attempt, draw):
    """C4: jitter 0.2 leaves at least 80 % of the delay, and a draw of 0 all of it."""
    full = retry.delay_ms(attempt)
    assert full * (1 - retry.jitter) - 1 <= retry.delay_ms(attempt, None, draw) <= full


@given(policies, st.integers(1, 1000))
def test_delays_do_not_shrink(retry, attempt):
    """C4: a later attempt never waits shorter than an earlier one."""
    assert retry.delay_ms(attempt) <= retry.delay_ms(attempt + 1)


def test_a_delay_can_be_a_function_of_the_error():
    """C4: what the function returns is taken as it is, under max_delay."""
    retry = Retry(delay=lambda error: f"{error.message} seconds", max_delay="1 minute")
    assert retry.delay_ms(3, failed("7")) == 7_000
    assert retry.delay_ms(1, failed("100")) == 60_000


def test_a_delay_function_that_fails():
    """C4: a delay function that raises, or returns no duration, is the program's error and says so."""
    with pytest.raises(UsageError, match="delay function of Retry raised ZeroDivisionError"):
        Retry(delay=lambda _: 1 / 0).delay_ms(1, failed())
    with pytest.raises(
        InvalidDurationError, match="what the delay function of Retry returned, 5 is not a duration"
    ):
        Retry(delay=lambda _: 5).delay_ms(1, failed())
    with pytest.raises(UsageError, match="there is no error"):
        Retry(delay=lambda _: "1 s").delay_ms(1)


def test_non_retryable_by_class_base_and_name():
    """C5: an error ends the step when its class, a base of it, or its name is listed."""
    names = type_names(TroubleError())
    assert names[:2] == ("TroubleError", "BaseTroubleError")
    assert Retry().is_retryable(names)
    assert not Retry(non_retryable=(TroubleError,)).is_retryable(names)
    assert not Retry(non_retryable=(BaseTroubleError,)).is_retryable(names)
    assert not Retry(non_retryable=("TroubleError",)).is_retryable(names)
    assert not Retry(non_retryable=TroubleError).is_retryable(names)
    assert Retry(non_retryable=(KeyError,)).is_retryable(names)


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0},
        {"max_attempts": 1.5},
        {"max_attempts": True},
        {"max_attempts": "3"},
        {"max_attempts": math.nan},
        {"coefficient": 0.5},
        {"coefficient": math.inf},
        {"coefficient": math.nan},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"jitter": True},
        {"backoff": "cubic"},
        {"non_retryable": (5,)},
        {"non_retryable": ("",)},
        {"non_retryable": (int,)},
    ],
)
def test_values_out_of_range(options):
    """C4: a policy is checked when it is written, and the message names the option."""
    with pytest.raises(UsageError, match=next(iter(options))):
        Retry(**options)


@pytest.mark.parametrize(
    "options", [{"delay": 5}, {"delay": "soon"}, {"delay": None}, {"max_delay": 5}], ids=str
)
def test_durations_that_cannot_be_read(options):
    """D1: delays are durations, so bare numbers are refused."""
    with pytest.raises(InvalidDurationError, match=next(iter(options))):
        Retry(**options)


def test_options_are_keyword_only():
    """C4: nobody mistakes attempts for retries by position."""
    with pytest.raises(TypeError):
        Retry(3)


def test_cloudflares_form():
    """C4: ``limit`` counts retries, so n retries are n + 1 attempts; infinity is allowed."""
    retry = Retry.of(
        {"retries": {"limit": 5, "delay": "1 second", "backoff": "linear"}, "timeout": "1 minute"}
    )
    assert retry == Retry(max_attempts=6, delay="1 second", backoff="linear")
    assert Retry.of({"limit": 0}).max_attempts == 1
    assert Retry.of({"limit": math.inf}).max_attempts == math.inf
    assert timeout_in({"retries": {"limit": 5}, "timeout": "1 minute"}) == "1 minute"
    assert timeout_in({"limit": 5}) is None
    assert timeout_in(Retry()) is None


def test_own_form_as_a_mapping():
    """C4: a mapping may have a policy's own fields."""
    assert Retry.of({"max_attempts": 2, "non_retryable": (ValueError,)}) == Retry(
        max_attempts=2, non_retryable=(ValueError,)
    )


def test_precedence():
    """C4: what a mapping leaves out comes from the default beneath; a Retry replaces it; None keeps it."""
    base = Retry(max_attempts=2, delay="1 hour")
    assert Retry.of({"limit": 9}, base) == Retry(max_attempts=10, delay="1 hour")
    assert Retry.of(Retry(), base) == Retry()
    assert Retry.of(None, base) is base
    assert Retry.of(None) == Retry()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"retry": 3},
            r"unknown retry option\(s\) retry; known are max_attempts, delay, .*limit, retries, timeout",
        ),
        ({"retries": {"limits": 3}}, "limits"),
        ({"retries": 3}, "retries must be a mapping"),
        ({"limit": -1}, "limit must be"),
        ({"limit": 1.5}, "limit must be"),
        ({"limit": True}, "limit must be"),
        ({"limit": 1, "max_attempts": 2}, "give one of them"),
        ({5: 1}, "unknown"),
        (3, "must be a Retry or a mapping"),
    ],
)
def test_mappings_that_are_wrong(value, message):
    """C4: unknown keys and values are refused, and the known keys listed."""
    with pytest.raises(UsageError, match=message):
        Retry.of(value)


def test_a_mappings_timeout_is_read():
    """D1: a timeout that cannot be read is refused with the policy it came in."""
    with pytest.raises(InvalidDurationError, match="timeout 60"):
        Retry.of({"timeout": 60})


def test_no_retry_at_all():
    """C4: one attempt is a policy, too."""
    assert Retry(max_attempts=1).max_attempts == 1
    assert Retry(max_attempts=math.inf).max_attempts == math.inf
