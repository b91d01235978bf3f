"""What a workflow body asks for: commands that stay open until a resolution closes them (A2).

The journal opens commands, the kernel reads their keys and deadlines, the engine executes ``DoCommand``s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from keepstep.model.codec import Codec
from keepstep.model.outcome import ErrorInfo
from keepstep.model.records import StepRecord
from keepstep.model.retry import Retry
from keepstep.model.status import StepKind


@final
class DoCommand(NamedTuple):
    """Call ``fn(*args, **kwargs)`` outside the workflow loop and record the result (A4, C1–C8).

    Attributes:
        key: the step key.
        kind: ``DO`` or ``TRANSACTION``.
        fn: sync or async callback.
        codec: encodes and decodes the result (C3).
        retry: policy in force, precedence already applied (C4).
        timeout_ms: limit of one attempt; None = none (C6).
        journal_intent: commit an intent row before the callback starts (B8).
        reconcile: called instead of ``fn`` when an intent is found after a crash (B8).
        opened_at: loop time when the body asked.
        record: the open row (``RETRYING`` or ``INTENT``) that was stored before, else None.
    """

    key: str
    kind: StepKind
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    codec: Codec
    retry: Retry
    timeout_ms: int | None
    opened_at: int
    journal_intent: bool = False
    reconcile: Callable[..., Any] | None = None
    record: StepRecord | None = None


class TimerCommand(NamedTuple):
    """Fire at ``due_at`` (D1). A stored deadline has won over a recomputed one already."""

    key: str
    kind: StepKind
    due_at: int
    opened_at: int
    record: StepRecord | None = None


class WaitCommand(NamedTuple):
    """Take the oldest unconsumed event of ``event_type`` accepted at or before ``due_at`` (D4)."""

    key: str
    event_type: str
    due_at: int | None
    opened_at: int
    record: StepRecord | None = None


Command = DoCommand | TimerCommand | WaitCommand


@dataclass(frozen=True, slots=True)
class Returned:
    """The body returned; ``output`` is the encoded result."""

    output: str


@dataclass(frozen=True, slots=True)
class Raised:
    """The body raised: the run is ``errored`` (C5)."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The body ended by the requested cancellation (E5)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Continued:
    """The body called ``continue_as_new``; ``params`` is encoded (C10)."""

    params: str


class Place(NamedTuple):
    """A line of a body's source."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}, in {self.function}"


@dataclass(frozen=True, slots=True)
class Contradicted:
    """The code does not fit the records (E10): the run is parked, not failed.

    Attributes:
        difference: what the records hold and what the code asks for, in words.
        place: the line at which the body stands; None when it did not begin.
    """

    difference: str
    place: Place | None = None

    @property
    def told(self) -> str:
        """The difference and where the body stands."""
        return (
            self.difference if self.place is None else f"{self.difference}. The body stands at {self.place}"
        )


BodyOutcome = Returned | Raised | Cancelled | Continued | Contradicted


class LogLine(NamedTuple):
    """One call of ``step.log``. ``number`` counts from 1 in the run; ``replayed`` lines are stored already."""

    number: int
    level: str
    message: str
    data: str | None
    at: int
    replayed: bool = False


@dataclass(slots=True)
class Activation:
    """What one advance of a body brought about, in order.

    Attributes:
        opened: commands that are new.
        closed: keys of open commands that the body stopped waiting for.
        logs: lines logged.
        outcome: how the body ended, or None while it lives.
    """

    opened: Sequence[Command] = ()
    closed: Sequence[str] = ()
    logs: Sequence[LogLine] = ()
    outcome: BodyOutcome | None = None
