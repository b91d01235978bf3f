"""The closed sets of words that rows carry (E1): persisted names, never renamed."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The life of an instance (E1)."""

    ACTIVE = "active"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPLETE = "complete"
    ERRORED = "errored"
    TERMINATED = "terminated"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether the instance has ended."""
        return self in TERMINAL


TERMINAL = frozenset({Status.COMPLETE, Status.ERRORED, Status.TERMINATED, Status.CANCELLED})


class StepStatus(StrEnum):
    """The state of one ``run_step`` row. A row with a ``seq`` is resolved and never changes again (C2)."""

    COMPLETED = "completed"
    """Resolved: ``result`` holds the value; for a wait the event, for a timer nothing."""
    FAILED = "failed"
    """Resolved: ``error`` holds what the body's await raises."""
    RETRYING = "retrying"
    """Open: an attempt failed; the next may start at ``due_at``."""
    WAITING = "waiting"
    """Open: a timer until ``due_at``, or a wait for an event until ``due_at`` (None = for ever)."""
    INTENT = "intent"
    """Open: committed before a ``journal_intent`` callback starts (B8)."""
    ABANDONED = "abandoned"
    """Closed without a resolution: the body stopped waiting for it (a timeout, a cancelled task)."""


class HookStatus(StrEnum):
    """The state of one ``hook`` row (F1)."""

    PENDING = "pending"
    """Due at ``run_at``: for the first time, or again after an attempt that failed."""
    DELIVERING = "delivering"
    """An attempt is under way; if it is not finished at ``run_at``, another one follows."""
    DELIVERED = "delivered"
    DEAD = "dead"
    """Its attempts are used up; ``requeue`` gives it new ones."""
    MERGED = "merged"
    """An attempt failed, and another row with its key had become pending meanwhile: that one goes on."""


class StepKind(StrEnum):
    """What a step key starts with (C1)."""

    DO = "do"
    TRANSACTION = "transaction"
    SLEEP = "sleep"
    WAIT = "wait"
    TIMER = "timer"
    """``asyncio.sleep``, ``asyncio.timeout`` and other timers of the workflow loop (A1)."""
    CANCEL = "cancel"
    """The request of ``cancel()``, delivered to the body (E5)."""


class Priority:
    """Claim order of tasks (B2): the smaller first."""

    RESUME = 0
    NEW = 1
