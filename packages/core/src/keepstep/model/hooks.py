"""What becomes of a delivery of a hook, as values: the kernel decides them, the store writes them (F1)."""

from __future__ import annotations

from typing import NamedTuple


class Delivered(NamedTuple):
    """The handler returned."""


class Again(NamedTuple):
    """The attempt failed; the next one may begin at ``due_at``. ``error`` is JSON of ``ErrorInfo``."""

    due_at: int
    error: str


class Dead(NamedTuple):
    """The attempt failed, and no other follows. ``error`` is JSON of ``ErrorInfo``, None = what is stored stays."""

    error: str | None


class GivenBack(NamedTuple):
    """The attempt was broken off before its end, by a drain: it does not count, and another is due at once."""

    due_at: int


HookOutcome = Delivered | Again | Dead | GivenBack


class Finished(NamedTuple):
    """One delivery's outcome, for the row that was claimed under ``fence``."""

    id: int
    fence: int
    outcome: HookOutcome
    at: int
    """When it ended, by database time."""
