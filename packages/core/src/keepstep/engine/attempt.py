"""The current attempt of a step, in memory: where it stands and how it failed (C4, B8). Values; nothing executes here."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass
from typing import Any, NamedTuple

from keepstep.model.commands import DoCommand
from keepstep.model.facts import AttemptError
from keepstep.model.records import StepRecord
from keepstep.model.status import StepStatus


class Phase(enum.Enum):
    """Where an attempt of a step stands."""

    READY = "ready"
    RUNNING = "running"
    RESTING = "resting"
    """Failed; the next attempt may start at ``due_at``."""


@dataclass(slots=True)
class Attempt:
    """The current attempt of one open ``DoCommand``."""

    command: DoCommand
    number: int
    phase: Phase
    due_at: int | None = None
    started_at: int = 0
    intent_stored: bool = False
    interrupted: bool = False
    """An intent was found after a crash: ``reconcile`` is called instead of the step's function (B8)."""
    handle: asyncio.Task[Any] | None = None
    """The task in which the driver makes the attempt."""


class AttemptFailed(NamedTuple):
    """An inbox item: one attempt raised."""

    key: str
    number: int
    error: AttemptError
    started_at: int
    draw: float


def next_attempt(command: DoCommand, record: StepRecord) -> Attempt:
    """Where a step stands that was tried before: resting after a failure, or interrupted (B8)."""
    if record.status != StepStatus.INTENT:
        return Attempt(command, record.attempt, Phase.RESTING, due_at=record.due_at or 0)
    phase = Phase.READY if record.due_at is None else Phase.RESTING
    made = record.attempt - 1 if record.due_at is None else record.attempt
    return Attempt(command, made, phase, due_at=record.due_at, intent_stored=True, interrupted=True)
