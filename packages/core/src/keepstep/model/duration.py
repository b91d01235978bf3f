"""Durations and instants: what a user writes becomes integer milliseconds, and back. Reads no clock (D1)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache

from keepstep.errors import InvalidDurationError

_UNITS: dict[str, int] = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1_000),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60_000),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3_600_000),
    **dict.fromkeys(("d", "day", "days"), 86_400_000),
    **dict.fromkeys(("w", "week", "weeks"), 604_800_000),
}
_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*", re.ASCII)
_TEXT_MAX = 100
_MAX_MS = 100_000 * 365 * 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_ALLOWED = (
    'a timedelta or text like "500ms", "10 seconds", "1h", "1 hour 30 minutes", "2 weeks" '
    "(units: ms, seconds, minutes, hours, days, weeks)"
)


def duration_ms(value: timedelta | str, what: str = "duration") -> int:
    """Read a duration (D1).

    Args:
        value: a ``timedelta``, or text: one or more numbers with a unit. Parts of a millisecond are rounded up.
        what: names the argument in errors.

    Returns:
        Whole milliseconds, 0 or more.

    Raises:
        InvalidDurationError: a bare number, a negative or unreadable value; the message lists what is allowed.
    """
    if isinstance(value, timedelta):
        whole, rest = divmod(value, _MILLISECOND)
        return _checked(whole + bool(rest), value, what)
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise _refused(value, what, "a number needs a unit" if isinstance(value, (int, float)) else "")
    return _text_ms(value, what)


@lru_cache(maxsize=1024)
def _text_ms(text: str, what: str) -> int:
    rest = text.strip().lower()
    if not rest or len(rest) > _TEXT_MAX:
        raise _refused(text, what, "")
    total, seen = Fraction(0), set[int]()
    while rest:
        match = _PART.match(rest)
        unit = _UNITS.get(match[2]) if match else None
        if match is None or unit is None or unit in seen:
            raise _refused(text, what, "")
        seen.add(unit)
        total += Fraction(match[1]) * unit
        rest = rest[match.end() :]
    return _checked(-(-total.numerator // total.denominator), text, what)


def _checked(ms: int, value: object, what: str) -> int:
    if ms < 0:
        raise _refused(value, what, "it is negative")
    if ms > _MAX_MS:
        raise _refused(value, what, "it is longer than 100,000 years")
    return ms


def _refused(value: object, what: str, why: str) -> InvalidDurationError:
    shown = repr(value)
    shown = shown if len(shown) <= _TEXT_MAX else f"{shown[:_TEXT_MAX]}…"
    return InvalidDurationError(
        f"{what} {shown} is not a duration{f': {why}' if why else ''}; use {_ALLOWED}"
    )


def instant_ms(when: datetime, what: str = "instant") -> int:
    """Read an instant (D1).

    Args:
        when: a timezone-aware datetime. Parts of a millisecond are rounded up.
        what: names the argument in errors.

    Returns:
        Milliseconds since the epoch, UTC.

    Raises:
        InvalidDurationError: not a datetime, or a naive one: it does not say which instant it means.
    """
    if not isinstance(when, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidDurationError(f"{what} must be a timezone-aware datetime, not {when!r}")
    if when.utcoffset() is None:
        raise InvalidDurationError(
            f"{what} {when!r} is naive: it does not say which instant it means; "
            "give it a time zone, like datetime(…, tzinfo=UTC) or step.now() + timedelta(…)"
        )
    return -((_EPOCH - when) // _MILLISECOND)


def to_datetime(ms: int) -> datetime:
    """The instant ``ms`` milliseconds after the epoch, as a datetime in UTC."""
    return _EPOCH + timedelta(milliseconds=ms)


def describe_ms(ms: int) -> str:
    """A duration for humans: its two largest units, like ``2 h 5 min``, ``10 s``, ``1.5 s`` or ``250 ms``."""
    if ms < 0:
        return f"-{describe_ms(-ms)}"
    if ms < 1_000:
        return f"{ms} ms"
    if ms < 60_000:
        return f"{ms / 1_000:.3f}".rstrip("0").rstrip(".") + " s"
    parts: list[str] = []
    rest = ms
    for size, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])
