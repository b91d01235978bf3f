"""The outside world of a test: what it was asked to do, with which keys, and how often it did it.

An effect is something that the database cannot take back: a charge, a mail, a call of a service. A receiver that is
given an idempotency key does a thing once however often it is asked; one that is given none does it each time. That is
what :attr:`Effect.count` counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from keepstep import StepContext


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        effect: the name of what was called.
        args: positional arguments, without a step's context.
        kwargs: keyword arguments, likewise.
        key: the idempotency key that the receiver was given; None = none, it cannot tell a repeat from a new request.
        step_key: the step from which it was called, or None.
        instance_id: the instance of that step, or None.
        attempt: the attempt of that step; 0 outside steps.
        process: which process called.
        at_s: seconds since the simulation began.
        failed: it raised; the receiver did nothing.
    """

    effect: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(hash=False)
    key: str | None
    step_key: str | None
    instance_id: str | None
    attempt: int
    process: str
    at_s: float
    failed: bool = False

    def __str__(self) -> str:
        given = [repr(each) for each in self.args] + [
            f"{name}={each!r}" for name, each in self.kwargs.items()
        ]
        how = f"key {self.key!r}" if self.key is not None else "no idempotency key"
        return f"{self.effect}({', '.join(given)}) by {self.process} at +{self.at_s:g} s, attempt {self.attempt}, {how}"


class Effect:
    """What one part of the outside world was asked to do. It compares by its calls; nothing of it is real.

    Args:
        name: of the function or step.

    Attributes:
        name: likewise.
        calls: all calls that came, in order.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[Call] = []
        self._answers: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<effect {self.name!r}: done {self.count} times, {len(self.calls)} calls>"

    @property
    def count(self) -> int:
        """How often it was done: calls with one key count once, calls without a key once each."""
        return sum(1 for each in self._done() if each.key is None) + self.distinct_keys

    @property
    def distinct_keys(self) -> int:
        """How many idempotency keys the receiver saw."""
        return len(self.keys)

    @property
    def keys(self) -> list[str]:
        """The idempotency keys, in the order in which they came first."""
        return list(dict.fromkeys(each.key for each in self._done() if each.key is not None))

    def repeated(self) -> Iterator[list[Call]]:
        """Calls of one step that did a thing more than once: the receiver could not tell them apart."""
        found: dict[tuple[Any, ...], list[Call]] = {}
        for each in self._done():
            same = (each.instance_id, each.step_key, repr(each.args), repr(each.kwargs))
            found.setdefault(same, []).append(each)
        for calls in found.values():
            if len({each.key or number for number, each in enumerate(calls)}) > 1:
                yield calls

    def _done(self) -> list[Call]:
        return [each for each in self.calls if not each.failed]

    # --- for what stands in

    def take(self, call: Call) -> int:
        """Record a call; its number."""
        self.calls.append(call)
        return len(self.calls) - 1

    def fail(self, number: int) -> None:
        """A call raised."""
        self.calls[number] = replace(self.calls[number], failed=True)

    def know(self, number: int, key: str) -> None:
        """A call's key became known."""
        self.calls[number] = replace(self.calls[number], key=key)

    def answered(self, key: str | None) -> bool:
        """Whether a call with this key was answered before: a repeat gets the same answer."""
        return key in self._answers

    def answer(self, key: str | None) -> Any:
        """The answer that a key got."""
        assert key is not None
        return self._answers[key]

    def remember(self, key: str | None, answer: Any) -> Any:
        """Keep the answer of a call."""
        if key is not None:
            self._answers[key] = answer
        return answer


def key_in(args: tuple[Any, ...], kwargs: dict[str, Any], context: StepContext | None) -> str | None:
    """The idempotency key that a call carries: an argument of that name, or the step's own anywhere in it."""
    named = kwargs.get("idempotency_key")
    if named is not None:
        return str(named)
    if context is None:
        return None
    own = context.idempotency_key
    if any(isinstance(each, StepContext) for each in (*args, *kwargs.values())):
        return own
    return own if own in repr((args, kwargs)) else None


def without_context(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that say something."""
    return (
        tuple(each for each in args if not isinstance(each, StepContext)),
        {name: each for name, each in kwargs.items() if not isinstance(each, StepContext)},
    )
