"""Names, ids and step keys: their patterns, their limits, their making (C1, C10).

Randomness and time come in as arguments; nothing here reads a clock or a random source.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from keepstep.errors import InvalidEventTypeError, InvalidInputError, InvalidInstanceIdError, InvalidNameError
from keepstep.model.limits import Limits

_PATTERN = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_-]*", re.ASCII)
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f>#\u2028\u2029\ud800-\udfff]")
_SHOWN_MAX = 60
_DEFAULT = Limits()


def check_instance_id(value: str, limits: Limits = _DEFAULT) -> str:
    """Return ``value`` if it is an instance id (C10): 1–100 of ``a-z A-Z 0-9 _ -``, not starting with ``-``.

    Raises:
        InvalidInstanceIdError: it is not.
    """
    return _check_token(value, "instance id", limits.instance_id_max, InvalidInstanceIdError)


def check_event_type(value: str, limits: Limits = _DEFAULT) -> str:
    """Return ``value`` if it is an event type (C10): 1–100 of ``a-z A-Z 0-9 _ -``, not starting with ``-``.

    Raises:
        InvalidEventTypeError: it is not.
    """
    return _check_token(value, "event type", limits.event_type_max, InvalidEventTypeError)


def check_workflow_name(value: str, limits: Limits = _DEFAULT) -> str:
    """Return ``value`` if it is a workflow name (C10): 1–64 of ``a-z A-Z 0-9 _ -``, not starting with ``-``.

    Raises:
        InvalidNameError: it is not.
    """
    return _check_token(value, "workflow name", limits.workflow_name_max, InvalidNameError)


def check_hook_name(value: str, limits: Limits = _DEFAULT) -> str:
    """Return ``value`` if it is a hook's name: as a workflow's (C10).

    Raises:
        InvalidNameError: it is not.
    """
    return _check_token(value, "hook name", limits.workflow_name_max, InvalidNameError)


_HOOK_KEY = re.compile(r"[^\x00\ud800-\udfff]{1,256}", re.DOTALL)


def check_hook_key(value: str | None) -> str | None:
    """Return ``value`` if it may be a hook's key (F1): None, or text of 1 to 256 characters.

    Raises:
        InvalidInputError: it may not.
    """
    if value is None or (isinstance(value, str) and _HOOK_KEY.fullmatch(value)):  # pyright: ignore[reportUnnecessaryIsInstance]
        return value
    raise InvalidInputError(f"the key of a hook is text of 1 to 256 characters, not {_shown(value)}")


def _check_token(value: object, what: str, length_max: int, error: type[InvalidInputError]) -> str:
    if not isinstance(value, str):
        raise error(f"{what} must be text, not {_shown(value)}")
    if not 1 <= len(value) <= length_max:
        raise error(f"{what} {_shown(value)} has {len(value)} characters; 1 to {length_max} are allowed")
    if not _PATTERN.fullmatch(value):
        raise error(
            f"{what} {_shown(value)} has characters that are not allowed; "
            "use letters a-z and A-Z, digits, _ and -, and do not start with -"
        )
    return value


def check_name(kind: str, name: str, limits: Limits = _DEFAULT) -> str:
    """Return ``name`` if it may be a step's or scope's name (C1): 1–256 characters, no ``>``, ``#``, control characters.

    Args:
        kind: what is named, for the message: a step kind, or ``"scope"``.
        name: the name.
        limits: for ``step_name_max``.

    Raises:
        InvalidNameError: it may not.
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidNameError(f"the name of a {kind} must be text, not {_shown(name)}")
    if not 1 <= len(name) <= limits.step_name_max:
        raise InvalidNameError(
            f"the name {_shown(name)} of a {kind} has {len(name)} characters; 1 to {limits.step_name_max} are allowed"
        )
    if found := _FORBIDDEN.search(name):
        raise InvalidNameError(
            f"the name {_shown(name)} of a {kind} contains {found[0]!r}; '>', '#' and control characters are reserved"
        )
    return name


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}…"


class KeyParts(NamedTuple):
    """A step key taken apart (C1)."""

    scope: tuple[str, ...]
    kind: str
    name: str
    n: int
    """The how-manieth use of this kind and name in its scope, from 1."""


def step_key(scope: tuple[str, ...], kind: str, name: str, n: int = 1) -> str:
    """The key ``scope>…>kind:name#n`` (C1); ``#n`` is left out for the first use. Names are checked already."""
    key = f"{kind}:{name}" if n == 1 else f"{kind}:{name}#{n}"
    return f"{'>'.join(scope)}>{key}" if scope else key


def parse_key(key: str) -> KeyParts:
    """Take a step key apart: the inverse of :func:`step_key`.

    Raises:
        InvalidNameError: it is no step key.
    """
    *scope, last = key.split(">")
    kind, colon, rest = last.partition(":")
    name, mark, count = rest.partition("#")
    n = int(count) if count.isascii() and count.isdigit() else 0
    if not (colon and kind and name) or (mark and n < 2):
        raise InvalidNameError(
            f"{_shown(key)} is no step key; a key looks like 'do:charge', 'do:charge#2' or 'cart>do:charge'"
        )
    return KeyParts(tuple(scope), kind, name, n if mark else 1)


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter that reads like a digit or another letter."""
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_ID_BITS = 5 * 4 * 5
_ID_TIME_BITS = 42
ID_DRAW_BITS = _ID_BITS - _ID_TIME_BITS
"""Random bits that :func:`new_instance_id` uses."""


def new_instance_id(now: int, draw: int) -> str:
    """A new instance id, readable aloud: five groups of four characters, like ``0ckr-9xv4-0dqr-h3se-w8n1``.

    Ids rise with time, so new ones are neighbours in the indexes and a commit touches few pages (decision 0021). They
    are no secret: an id tells when it was made.

    Args:
        now: wall-clock milliseconds, 42 bits of them: enough until 2109.
        draw: at least ``ID_DRAW_BITS`` (58) random bits; more are ignored.
    """
    bits = now % 2**_ID_TIME_BITS << ID_DRAW_BITS | draw % 2**ID_DRAW_BITS
    return "-".join(
        [
            _PAIRS[(bits >> shift + 10) & 1023] + _PAIRS[(bits >> shift) & 1023]
            for shift in range(_ID_BITS - 20, -1, -20)
        ]
    )


class KeySource:
    """Makes internal keys: positive 63-bit integers that rise with time (records.py).

    A key is 25 bits of time, in ticks of 131 seconds (enough until 2109), and 38 bits of position. Each tick starts at
    a random position and counts on from there. Few draws make few chances to meet another process: two of them, making
    25,000 keys a second without a pause, would meet about once in two months; at 100 a second once in 15 years.
    Neighbours in time are neighbours in the index.

    Args:
        now: wall-clock milliseconds. It may go back: keys still rise.
        bits: ``bits(n)`` returns ``n`` random bits.
    """

    _TICK = 17
    _POSITION = 38

    def __init__(self, now: Callable[[], int], bits: Callable[[int], int]) -> None:
        self._now = now
        self._bits = bits
        self._last = 0

    def next(self) -> int:
        """A key that is greater than every key this source gave before."""
        tick = self._now() >> self._TICK
        if tick > self._last >> self._POSITION:
            # One bit less than there is room for: counting on stays within the tick.
            self._last = (tick << self._POSITION) | self._bits(self._POSITION - 1)
        else:
            self._last += 1
        return self._last
