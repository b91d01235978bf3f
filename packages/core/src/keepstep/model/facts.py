"""Facts: what happened to an open command. A fact becomes a resolution when it gets its ``seq`` (A2)."""

from __future__ import annotations

from typing import NamedTuple

from keepstep.model.outcome import ErrorInfo
from keepstep.model.records import EventRecord

CANCEL_KEY = "cancel:request"
"""Key of the resolution that delivers a requested cancellation (E5)."""


class Completed(NamedTuple):
    """A step's callback returned; ``result`` is the encoded value."""

    key: str
    result: str
    attempt: int
    started_at: int


class Failed(NamedTuple):
    """A step failed for good (C4, C5)."""

    key: str
    error: ErrorInfo
    attempt: int
    started_at: int


class Fired(NamedTuple):
    """A timer is due (D2)."""

    key: str


class Received(NamedTuple):
    """A wait takes this event (D4)."""

    key: str
    event: EventRecord


class TimedOut(NamedTuple):
    """A wait's deadline passed without an event (D4)."""

    key: str


class CancelAsked(NamedTuple):
    """A cancellation was requested (E5)."""

    reason: str

    @property
    def key(self) -> str:
        """Of the resolution that it becomes; no command has it."""
        return CANCEL_KEY


Fact = Completed | Failed | Fired | Received | TimedOut | CancelAsked


class AttemptError(NamedTuple):
    """One attempt's failure, as data.

    Attributes:
        info: name, message, code.
        type_names: names of the exception's class and its bases, for ``non_retryable`` by name or type.
        retryable: False for ``NonRetryableError``, serialization trouble, unique violations of user writes.
    """

    info: ErrorInfo
    type_names: tuple[str, ...]
    retryable: bool
