"""Small rows and values, so that scripts meet; and the place where moves look for what fits."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keepstep.model.records import ChangeRecord, StepRecord
from keepstep.model.status import Priority, Status, StepStatus
from keepstep.store.hooks import Trigger
from keepstep_testing.conformance.rows import NOW, run_row, step_row, task_row
from keepstep_testing.conformance.stores import SetClock
from keepstep_testing.sim.dicts import DictDatabase

RUN_IDS = (1, 2, 3, 4)
RUNNERS = (40, 41)
WORKFLOWS = ("order", "refund")
INSTANCES = ("o-1", "o-2", "o-3")
KEYS = ("do:a", "do:b", "wait:w", "wait:v")
HOOKS = ("mail", "ping")
SINKS = ("file", "web")
LEASE_MS = 5_000
MANY = 3
"""Rows of a page."""


@dataclass
class Place:
    """Where a script is to be played.

    Attributes:
        dicts: the tables, as they are.
        clock: database time.
    """

    dicts: DictDatabase
    clock: SetClock


class Draw:
    """Small values, so that scripts meet."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def one(self, *among: Any) -> Any:
        """One of some values."""
        return self._random.choice(among)

    def some(self, among: Sequence[Any]) -> list[Any]:
        """Some of them, in some order, perhaps none."""
        return self._random.sample(among, self._random.randint(0, len(among)))

    def at(self) -> int:
        """An instant near the beginning."""
        return NOW + self.one(-9_000, 0, 4_000, 9_000)


def a_run(draw: Draw, **given: Any) -> Any:
    """A run, now and then of an instance that is there."""
    status = draw.one(Status.ACTIVE, Status.WAITING)
    drawn = {
        "id": draw.one(*RUN_IDS),
        "workflow": draw.one(*WORKFLOWS),
        "instance_id": draw.one(*INSTANCES),
        "run_number": draw.one(1, 2),
        "version": draw.one(1, 2),
        "created_at": draw.one(100, 200),
        "started_at": draw.one(None, 300),
        "pause_requested": draw.one(False, True),
    }
    return run_row(status, **{**drawn, **given})


def a_task(draw: Draw, run: Any, **given: Any) -> Any:
    """A run's task: due or not, owned or not."""
    drawn = {
        "run_at": draw.one(None, draw.at()),
        "owner": draw.one(None, None, *RUNNERS),
        "priority": draw.one(Priority.RESUME, Priority.NEW),
        "fence": draw.one(1, 2),
        "wake_seq": draw.one(0, 1),
    }
    return task_row(run_id=run.id, workflow=run.workflow, **{**drawn, **given})


def some_steps(place: Place, draw: Draw, run_id: int, behind: int = 0) -> list[StepRecord]:
    """Steps of different keys, open or resolved, numbered from so far behind; now and then a number is taken."""
    last = max((step.seq or 0 for step in place.dicts.run_step.of(run_id)), default=0) - behind
    steps: list[StepRecord] = []
    for place_in, key in enumerate(draw.some(KEYS), 1):
        status = draw.one(StepStatus.COMPLETED, StepStatus.WAITING, StepStatus.RETRYING)
        seq = draw.one(*[last + place_in] * 7, 1) if status is StepStatus.COMPLETED else None
        kept = {"event_type": draw.one(None, "go", "go"), "started_at": draw.one(500, 600)}
        steps.append(step_row(key, seq, status, run_id=run_id, **kept))
    return steps


def a_change(draw: Draw, run_id: int) -> ChangeRecord:
    """A change event."""
    kind = draw.one("created", "completed")
    return ChangeRecord(run_id, draw.one(1, 2), 0, kind, "order", "o-1", 1, draw.at(), None, None, None, None)


def a_trigger(draw: Draw) -> Trigger:
    """A call of a hook."""
    due_at = draw.one(None, draw.at())
    return Trigger(
        draw.one(*range(1, 7)), draw.one(*HOOKS), draw.one(None, "k"), due_at, draw.one("1", "2"), None
    )
