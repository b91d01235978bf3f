"""Attempts: how many, after which delay, and when a failure is final (C4–C6, B8)."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstep.kernel.attempts import RetryAt, decide_attempt, intent_row, retrying_row
from keepstep.model.facts import AttemptError, Failed
from keepstep.model.outcome import ErrorInfo
from keepstep.model.recorded import read_error
from keepstep.model.retry import Retry
from keepstep.model.status import StepStatus
from tests.support.rows import NOW, RUN_ID, do, step_row

ERROR = AttemptError(
    ErrorInfo("HTTPError", "503"), ("HTTPError", "OSError", "Exception", "BaseException"), retryable=True
)
FINAL = Failed("do:charge", ErrorInfo("HTTPError", "503", None, "do:charge", 2), 2, 10)


def decide(retry, attempt=2, error=ERROR, draw=0.0):
    """Decide about a failed attempt of ``do:charge``."""
    return decide_attempt(do(retry=retry), attempt, error, NOW, draw)


def test_the_defaults_are_six_attempts_ten_seconds_apart_and_doubling():
    """Engine default: 6 attempts, 10 s, exponential (C4)."""
    decisions = [decide(Retry(), attempt) for attempt in range(1, 7)]
    assert decisions[:5] == [RetryAt(NOW + seconds * 1_000) for seconds in (10, 20, 40, 80, 160)]
    assert isinstance(decisions[5], Failed)


def test_max_attempts_counts_all_attempts():
    """Two attempts means one retry; one means none (C4)."""
    assert decide(Retry(max_attempts=3)) == RetryAt(NOW + 20_000)
    assert decide(Retry(max_attempts=2)) == FINAL
    assert decide(Retry(max_attempts=1), attempt=2) == FINAL


def test_attempts_may_be_without_end():
    """Infinity is a number of attempts (C4)."""
    endless = Retry(max_attempts=math.inf, delay="1s", backoff="constant")
    assert decide(endless, attempt=10**9) == RetryAt(NOW + 1_000)


def test_a_non_retryable_error_ends_the_step_at_once():
    """``NonRetryableError``, and what cannot be stored, is final at the first attempt (C5, C3)."""
    final = decide(Retry(), attempt=1, error=ERROR._replace(retryable=False))
    assert final == Failed("do:charge", ErrorInfo("HTTPError", "503", None, "do:charge", 1), 1, 10)


@pytest.mark.parametrize("named", [OSError, "OSError", "HTTPError"])
def test_a_named_type_ends_the_step_at_once(named):
    """``non_retryable`` holds for a class and its subclasses, by type or by name (C5)."""
    assert decide(Retry(non_retryable=(named,))) == FINAL
    assert isinstance(decide(Retry(non_retryable=(KeyError, "Other"))), RetryAt)


def test_the_delay_may_follow_the_error():
    """``delay`` may be a function of the recorded error (C4)."""
    assert decide(Retry(delay=lambda error: timedelta(seconds=int(error.message)))) == RetryAt(NOW + 503_000)


def failing(error):
    """A delay function with a defect."""
    raise KeyError(error.name)


@pytest.mark.parametrize(("delay", "said"), [(failing, "KeyError: 'HTTPError'"), (lambda error: 3, "3")])
def test_a_delay_function_that_fails_gives_up_with_both_errors(delay, said):
    """The step ends with its own error, which then tells about the delay: nothing is hidden, nothing guessed (C4)."""
    decision = decide(Retry(delay=delay))
    assert isinstance(decision, Failed)
    assert decision.error.name == "HTTPError"
    assert decision.error.message.startswith("503 (not tried again: ")
    assert said in decision.error.message


@given(
    max_attempts=st.integers(1, 40),
    backoff=st.sampled_from(["constant", "linear", "exponential"]),
    seconds=st.integers(0, 10_000),
    cap=st.none() | st.integers(0, 100_000),
)
def test_delays_never_shrink_and_attempts_are_used_up_exactly(max_attempts, backoff, seconds, cap):
    """A step that always fails makes all its attempts, each after a delay no shorter than the last (C4, inv. 17)."""
    retry = Retry(
        max_attempts=max_attempts,
        delay=timedelta(seconds=seconds),
        backoff=backoff,
        max_delay=None if cap is None else timedelta(seconds=cap),
    )
    decisions = [decide(retry, attempt) for attempt in range(1, max_attempts + 1)]
    *earlier, last = decisions
    assert isinstance(last, Failed)
    assert last.error.attempts == last.attempt == max_attempts
    dues = [decision.due_at for decision in earlier if isinstance(decision, RetryAt)]
    assert len(dues) == len(earlier)
    assert dues == sorted(dues)
    assert all(due - NOW <= (math.inf if cap is None else cap * 1_000) for due in dues)


@given(jitter=st.floats(0, 1), draw=st.floats(0, 1, exclude_max=True))
def test_jitter_shortens_by_its_fraction_at_most(jitter, draw):
    """Jitter needs no randomness of its own: it is a function of the drawn number (C4)."""
    decision = decide(Retry(delay="10s", backoff="constant", jitter=jitter), draw=draw)
    assert isinstance(decision, RetryAt)
    assert NOW + math.floor(10_000 * (1 - jitter)) <= decision.due_at <= NOW + 10_000


def test_a_failed_attempt_is_stored_with_its_error_and_the_next_instant():
    """Retries are durable: nobody holds the only copy in memory (C4)."""
    row = retrying_row(do(), RUN_ID, 2, ERROR, 700, NOW + 20_000)
    assert row.error is not None
    assert read_error(row.error) == ErrorInfo("HTTPError", "503", None, "do:charge", 2)
    expected = step_row(
        "do:charge", None, StepStatus.RETRYING, attempt=2, started_at=700, due_at=NOW + 20_000
    )
    assert row._replace(error=None) == expected


def test_an_intent_is_stored_before_its_callback():
    """The row says which attempt may have started (B8)."""
    row = intent_row(do(), RUN_ID, 1, 700)
    assert row == step_row("do:charge", None, StepStatus.INTENT, attempt=1, started_at=700)
