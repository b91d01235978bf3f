"""The limits of C10."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keepstep.errors import InvalidDurationError, UsageError
from keepstep.model.limits import Limits


def test_defaults():
    """C10, D4, B7: the documented limits are the defaults."""
    limits = Limits()
    assert (limits.workflow_name_max, limits.instance_id_max, limits.event_type_max) == (64, 100, 100)
    assert (limits.payload_bytes_max, limits.steps_max, limits.batch_max) == (1_048_576, 1024, 100)
    assert (limits.wait_min_ms, limits.wait_max_ms, limits.sleep_max_ms) == (
        1_000,
        31_536_000_000,
        31_536_000_000,
    )
    assert limits.takeovers_max == 5


def test_durations_may_be_timedeltas():
    """C10: a limit in time is text or a timedelta."""
    assert Limits(sleep_max=timedelta(hours=1)).sleep_max_ms == 3_600_000


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "5", None])
def test_counts_are_positive_integers(value):
    """C10: a count that cannot be one is refused with its name."""
    with pytest.raises(UsageError, match="steps_max must be an integer of 1 or more"):
        Limits(steps_max=value)


def test_durations_are_checked():
    """C10: a duration that cannot be read, or a range that is empty, is refused with its name."""
    with pytest.raises(InvalidDurationError, match="sleep_max 5"):
        Limits(sleep_max=5)
    with pytest.raises(UsageError, match="wait_min '2 days' is longer than wait_max '1 day'"):
        Limits(wait_min="2 days", wait_max="1 day")


def test_unknown_limits_are_refused():
    """C10: a misspelt limit is an error that names it."""
    with pytest.raises(TypeError, match="step_max"):
        Limits(step_max=5)
