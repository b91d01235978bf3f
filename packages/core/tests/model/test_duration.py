"""Durations and instants (D1)."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstep.errors import InvalidDurationError
from keepstep.model.duration import describe_ms, duration_ms, instant_ms, to_datetime

UNITS = {
    "ms": 1, "millisecond": 1, "milliseconds": 1,
    "s": 1_000, "sec": 1_000, "second": 1_000, "seconds": 1_000,
    "m": 60_000, "min": 60_000, "minute": 60_000, "minutes": 60_000,
    "h": 3_600_000, "hr": 3_600_000, "hour": 3_600_000, "hours": 3_600_000,
    "d": 86_400_000, "day": 86_400_000, "days": 86_400_000,
    "w": 604_800_000, "week": 604_800_000, "weeks": 604_800_000,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("10 seconds", 10_000),
        ("1h", 3_600_000),
        ("500ms", 500),
        ("2 weeks", 1_209_600_000),
        ("1 hour 30 minutes", 5_400_000),
        ("1h30m", 5_400_000),
        ("1.5 hours", 5_400_000),
        ("0.1 s", 100),
        ("1.0001 s", 1_001),
        ("0 seconds", 0),
        ("  365 DAYS ", 31_536_000_000),
    ],
)
def test_text_that_is_a_duration(text, ms):
    """D1: numbers with units, several of them, fractions; parts of a millisecond are rounded up."""
    assert duration_ms(text) == ms


@given(st.integers(0, 10**6), st.sampled_from(sorted(UNITS)), st.sampled_from(["", " ", "  "]))
def test_every_unit(count, unit, gap):
    """D1: each unit is worth what it says."""
    assert duration_ms(f"{count}{gap}{unit}") == count * UNITS[unit]


@given(st.timedeltas(timedelta(0), timedelta(days=10**6)))
def test_timedeltas(value):
    """D1: a timedelta is its milliseconds, rounded up: a wait is never shorter than asked for."""
    ms = duration_ms(value)
    assert timedelta(milliseconds=ms - 1) < value <= timedelta(milliseconds=ms)


@pytest.mark.parametrize(
    "value",
    [
        5, 5.0, math.nan, math.inf, True, None, b"1s", [], {},
        "", " ", "5", "1.5", "s", "1 fortnight", "1 month", "-1 s", "1 s -1 s", "nan s", "1e3 s", "1,5 s", "1 s 2 s",
        "1 s and 2 ms", "١ s", "1.s", ".5 s", "9" * 40 + " weeks", "1 s" * 100,
        timedelta(milliseconds=-1), timedelta(microseconds=-1_000), timedelta.max,
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_duration(value):
    """D1: bare numbers, negative and unreadable values are refused; the message lists what is allowed."""
    with pytest.raises(InvalidDurationError, match=r"the delay .* use a timedelta or text like") as caught:
        duration_ms(value, "the delay")
    assert len(str(caught.value)) < 400


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_refused(text):
    """D1: no text crashes the reader, and what it takes is a whole number of milliseconds."""
    try:
        ms = duration_ms(text)
    except InvalidDurationError:
        return
    assert type(ms) is int
    assert ms >= 0


@given(st.integers(-(10**12), 10**14))
def test_instants_round_trip(ms):
    """D1: milliseconds to datetime and back is the same instant, in UTC."""
    assert instant_ms(to_datetime(ms)) == ms
    assert to_datetime(ms).tzinfo is UTC


def test_instants_of_other_zones():
    """D1: an instant is the same in every zone; parts of a millisecond are rounded up."""
    there = datetime(1970, 1, 1, 2, 0, 0, 1, tzinfo=timezone(timedelta(hours=2)))
    assert instant_ms(there) == 1


@pytest.mark.parametrize("value", [datetime(2025, 1, 1), "2025-01-01T00:00:00Z", 5, None], ids=str)  # noqa: DTZ001
def test_naive_datetimes_are_refused(value):
    """D1: a naive datetime does not say which instant it means; neither does anything else."""
    with pytest.raises(InvalidDurationError, match="until"):
        instant_ms(value, "until")


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (250, "250 ms"),
        (1_500, "1.5 s"),
        (10_000, "10 s"),
        (59_999, "59.999 s"),
        (60_000, "1 min"),
        (7_500_000, "2 h 5 min"),
        (3_605_000, "1 h"),
        (90_061_000, "1 d 1 h"),
        (31_536_000_000, "365 d"),
        (-1_500, "-1.5 s"),
    ],
)
def test_descriptions(ms, text):
    """D1: a duration is shown by its two largest units."""
    assert describe_ms(ms) == text
