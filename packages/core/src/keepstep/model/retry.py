"""How often and after which delay a failed attempt is tried again (C4, C5). Values only: the kernel decides with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, get_args

from keepstep.errors import UsageError
from keepstep.model.duration import duration_ms
from keepstep.model.facts import AttemptError
from keepstep.model.outcome import ErrorInfo

Backoff = Literal["constant", "linear", "exponential"]
Delay = timedelta | str | Callable[[ErrorInfo], timedelta | str]

_DELAY_MAX_MS = 365 * 86_400_000
"""No delay is longer: exponential growth must not leave the range of instants."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """The retry policy of a step; its defaults are the engine's (C4).

    Attributes:
        max_attempts: all attempts, the first included; ``math.inf`` = without end.
        delay: the first delay: a duration, or a function of the recorded error that returns one. What such a
            function returns is taken as it is: ``backoff`` is not applied to it, ``max_delay`` and ``jitter`` are.
        backoff: after attempt ``n``: ``constant`` d, ``linear`` d·n, ``exponential`` d·coefficient^(n-1).
        coefficient: of the exponential backoff, 1 or more.
        max_delay: no delay is longer than this, nor than 365 days.
        jitter: fraction, 0 to 1, by which a delay may be shortened at random: 0.2 = 80 to 100 % of it.
        non_retryable: exception classes, or their names, that end the step at once (C5). Matched by class name, bases
            included, because errors are kept as data.

    Raises:
        UsageError: a value out of its range.
        InvalidDurationError: a delay that cannot be read.
    """

    max_attempts: float = 6
    delay: Delay = "10 seconds"
    backoff: Backoff = "exponential"
    coefficient: float = 2.0
    max_delay: timedelta | str | None = None
    jitter: float = 0.0
    non_retryable: tuple[type[BaseException] | str, ...] = ()
    _delay_ms: int = field(init=False, repr=False, compare=False, default=0)
    _cap_ms: int = field(init=False, repr=False, compare=False, default=_DELAY_MAX_MS)
    _names: frozenset[str] = field(init=False, repr=False, compare=False, default=frozenset())

    def __post_init__(self) -> None:
        _check_attempts(self.max_attempts)
        _check_range("coefficient", self.coefficient, 1, math.inf)
        _check_range("jitter", self.jitter, 0, 1)
        if self.backoff not in get_args(Backoff):
            raise UsageError(f"backoff must be one of {', '.join(get_args(Backoff))}, not {self.backoff!r}")
        set_ = object.__setattr__
        if not callable(self.delay):
            set_(self, "_delay_ms", duration_ms(self.delay, "delay"))
        if self.max_delay is not None:
            set_(self, "_cap_ms", min(duration_ms(self.max_delay, "max_delay"), _DELAY_MAX_MS))
        set_(self, "non_retryable", _as_tuple(self.non_retryable))
        set_(self, "_names", frozenset(map(_error_name, self.non_retryable)))

    @staticmethod
    def of(value: Retry | Mapping[str, Any] | None, base: Retry | None = None) -> Retry:
        """Read a policy.

        Args:
            value: a policy; or a mapping with its fields, or in Cloudflare's form, ``{"retries": {"limit": 5,
                "delay": "1 second", "backoff": "linear"}, "timeout": "1 minute"}`` or only the inner part, where
                ``limit`` counts retries: one less than attempts (C4). None = ``base``.
            base: what a mapping leaves out, and the answer to None; by default the engine's defaults.

        Raises:
            UsageError: an unknown key (the known ones are listed) or a value out of its range.
            InvalidDurationError: a delay or timeout that cannot be read.
        """
        base = base or _ENGINE_DEFAULT
        if value is None:
            return base
        if isinstance(value, Retry):
            return value
        if not isinstance(value, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"retry must be a Retry or a mapping, not {value!r}")
        timeout_in(value)
        return replace(base, **_fields(value))

    def delay_ms(self, attempt: int, error: AttemptError | None = None, draw: float = 0.0) -> int:
        """The delay after a failed attempt (C4).

        Args:
            attempt: the number of the attempt that failed, from 1.
            error: how it failed, for a ``delay`` that is a function.
            draw: a number in [0, 1) for the jitter, drawn by the caller.

        Raises:
            UsageError: the ``delay`` function raised, or needs an error and there is none.
            InvalidDurationError: it returned no duration.
        """
        delay = self._from_error(error) if callable(self.delay) else self._scaled(attempt)
        return round(min(delay, self._cap_ms) * (1 - self.jitter * draw))

    def is_retryable(self, type_names: Sequence[str]) -> bool:
        """Whether none of the names, of an exception's class and its bases, is in ``non_retryable`` (C5)."""
        return self._names.isdisjoint(type_names)

    def _scaled(self, attempt: int) -> float:
        match self.backoff:
            case "constant":
                return self._delay_ms
            case "linear":
                return self._delay_ms * attempt
            case "exponential":
                try:
                    return self._delay_ms * float(self.coefficient) ** (attempt - 1)
                except OverflowError:
                    return self._cap_ms

    def _from_error(self, error: AttemptError | None) -> int:
        assert callable(self.delay)
        if error is None:
            raise UsageError("the delay of this Retry is a function of the error, and there is no error")
        try:
            delay = self.delay(error.info)
        except Exception as raised:
            raise UsageError(
                f"the delay function of Retry raised {type(raised).__name__}: {raised}"
            ) from raised
        return duration_ms(delay, "what the delay function of Retry returned,")


def timeout_in(value: Retry | Mapping[str, Any] | None) -> timedelta | str | None:
    """The ``timeout`` of an attempt that the Cloudflare form of a policy carries, else None.

    Raises:
        InvalidDurationError: it cannot be read.
    """
    timeout = value.get("timeout") if isinstance(value, Mapping) else None
    if timeout is not None:
        duration_ms(timeout, "timeout")
    return timeout


def type_names(error: BaseException) -> tuple[str, ...]:
    """The names of an exception's class and its bases, nearest first, for :class:`AttemptError`."""
    return tuple(cls.__name__ for cls in type(error).__mro__ if cls is not object)


_OWN = ("max_attempts", "delay", "backoff", "coefficient", "max_delay", "jitter", "non_retryable")
_KNOWN = (*_OWN, "limit", "retries", "timeout")


def _fields(value: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping's policy as fields of :class:`Retry`."""
    inner = value.get("retries")
    if inner is not None and not isinstance(inner, Mapping):
        raise UsageError(f"retries must be a mapping, not {inner!r}")
    merged: dict[str, Any] = {**value, **(inner or {})}
    if unknown := sorted(str(key) for key in merged if key not in _KNOWN):
        raise UsageError(f"unknown retry option(s) {', '.join(unknown)}; known are {', '.join(_KNOWN)}")
    if "limit" in merged and "max_attempts" in merged:
        raise UsageError("limit counts retries and max_attempts counts attempts: give one of them")
    found = {key: merged[key] for key in _OWN if key in merged}
    if "limit" in merged:
        found["max_attempts"] = _attempts_of(merged["limit"])
    return found


def _attempts_of(limit: object) -> float:
    if limit == math.inf:
        return math.inf
    if type(limit) is not int or limit < 0:
        raise UsageError(f"limit must be an integer of 0 or more, or infinity, not {limit!r}")
    return limit + 1


def _check_attempts(value: object) -> None:
    if value != math.inf and (type(value) is not int or value < 1):
        raise UsageError(f"max_attempts must be an integer of 1 or more, or math.inf, not {value!r}")


def _check_range(name: str, value: object, low: float, high: float) -> None:
    if type(value) not in {int, float} or not low <= value < math.inf or value > high:  # type: ignore[operator]
        raise UsageError(
            f"{name} must be a number of {low} or more{f', at most {high}' if high < math.inf else ''}, not {value!r}"
        )


def _as_tuple(value: object) -> tuple[Any, ...]:
    return (value,) if isinstance(value, (type, str)) else tuple(value)  # type: ignore[call-overload]


def _error_name(value: object) -> str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, type) and issubclass(value, BaseException):
        return value.__name__
    raise UsageError(f"non_retryable takes exception classes or their names, not {value!r}")


_ENGINE_DEFAULT = Retry()
