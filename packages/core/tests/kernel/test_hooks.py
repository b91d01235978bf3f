"""What follows an attempt of a hook, and who gets free places: pure decisions (F1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstep.errors import HookStateError
from keepstep.kernel.hooks import check_requeue, plan_outcome, share_places, used_up
from keepstep.model.facts import AttemptError
from keepstep.model.hooks import Again, Dead, Delivered
from keepstep.model.outcome import ErrorInfo
from keepstep.model.records import HookRecord
from keepstep.model.retry import Retry
from keepstep.model.status import HookStatus

RETRY = Retry(max_attempts=3, delay="10 seconds")


def row(attempt=1, status=HookStatus.DELIVERING):
    """A claimed row."""
    return HookRecord(1, "mail__send", None, status.value, 5, attempt, 2, 0, None, "null", None, None)


def failure(retryable=True):
    """A failed attempt."""
    return AttemptError(ErrorInfo("ConnectionError", "no"), ("ConnectionError", "OSError"), retryable)


def test_a_handler_that_returns_is_delivered():
    """F1."""
    assert plan_outcome(row(), RETRY, None, 100, 0.5) == Delivered()


@pytest.mark.parametrize(("attempt", "delay"), [(1, 10_000), (2, 20_000)])
def test_a_failure_is_tried_again_by_the_policy(attempt, delay):
    """F1: with backoff."""
    planned = plan_outcome(row(attempt), RETRY, failure(), 100, 0.0)
    assert isinstance(planned, Again)
    assert planned.due_at == 100 + delay


def test_the_last_failure_is_the_end():
    """F1: dead-letter after max_attempts."""
    assert isinstance(plan_outcome(row(3), RETRY, failure(), 100, 0.0), Dead)


def test_a_failure_that_is_final_is_the_end():
    """C5, F1: non-retryable errors and named types have no other attempt."""
    assert isinstance(plan_outcome(row(), RETRY, failure(retryable=False), 100, 0.0), Dead)
    named = Retry(max_attempts=3, non_retryable=("OSError",))
    assert isinstance(plan_outcome(row(), named, failure(), 100, 0.0), Dead)


def test_attempts_that_nobody_finished_count():
    """F1: a row that was claimed once too often is dead."""
    assert used_up(row(3), RETRY) is None
    assert used_up(row(4), RETRY) == Dead(None)


def test_what_is_being_delivered_is_not_requeued():
    """F1: the outcome, or the end of the lease, comes first."""
    with pytest.raises(HookStateError):
        check_requeue(row())
    for status in (HookStatus.DEAD, HookStatus.PENDING, HookStatus.DELIVERED, HookStatus.MERGED):
        check_requeue(row(status=status))


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=2), st.tuples(st.integers(0, 5), st.integers(1, 9))),
    st.integers(-1, 20),
)
def test_places_are_shared_within_every_bound(hooks, free):
    """Defect 10: no hook gets beyond its own, all together no more than is free, and no place is left in vain."""
    busy = {name: each[0] for name, each in hooks.items()}
    most = {name: each[1] for name, each in hooks.items()}
    shares = share_places(list(hooks), busy, most, free)
    assert sum(shares.values()) <= max(0, free)
    assert all(busy[name] + share <= most[name] for name, share in shares.items())
    room = sum(max(0, most[name] - busy[name]) for name in hooks)
    assert sum(shares.values()) == min(max(0, free), room)
    if shares and len(shares) < sum(busy[name] < most[name] for name in hooks):
        assert set(shares.values()) == {1}, "one takes more while another has none"
