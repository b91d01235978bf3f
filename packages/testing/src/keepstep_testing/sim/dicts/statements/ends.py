"""How a boundary leaves its run: parked, released, paused, finished, or continued by another one (B1, C10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keepstep.model.status import Priority
from keepstep.store import boundaries
from keepstep_testing.sim.dicts.answers import answers
from keepstep_testing.sim.dicts.database import DictDatabase


def _free(db: DictDatabase, run: int, due: int | None, **changes: Any) -> None:
    """Nobody has the run's task any more; it is looked at when it is due, before new runs."""
    task = db.task.get(run)
    if task is not None:
        db.put(db.task, task._replace(owner=None, run_at=due, priority=Priority.RESUME, **changes))


@answers(boundaries.PARK_TASK)
def park_task(db: DictDatabase, due: int | None, run: int) -> None:
    """A run waits; its takeovers are forgiven (B7)."""
    _free(db, run, due, takeovers=0)


@answers(boundaries.RELEASE_TASK)
def release_task(db: DictDatabase, due: int | None, run: int) -> None:
    """A run is given back."""
    _free(db, run, due)


def _move(db: DictDatabase, run: int, status: str, at: int, **changes: Any) -> None:
    """A run's row changes, under the next version."""
    row = db.run.get(run)
    if row is not None:
        db.put(db.run, row._replace(status=status, version=row.version + 1, updated_at=at, **changes))


@answers(boundaries.MOVE_RUN)
def move_run(db: DictDatabase, status: str, at: int, error: str | None, run: int) -> None:
    """Another status, and why."""
    _move(db, run, status, at, error=error)


@answers(boundaries.PAUSE_RUN)
def pause_run(db: DictDatabase, status: str, at: int, run: int) -> None:
    """The pause that was asked for takes effect (E3)."""
    _move(db, run, status, at, pause_requested=0, error=None)


def _finish(db: DictDatabase, values: Sequence[Any], **changes: Any) -> None:
    """A run has ended (E7)."""
    status, at, ended_at, output, error, run = values
    ended = {"pause_requested": 0, "completed_at": ended_at, "output": output, "error": error}
    _move(db, run, status, at, **ended, **changes)


@answers(boundaries.FINISH_RUN)
def finish_run(db: DictDatabase, *values: Any) -> None:
    """A run has ended."""
    _finish(db, values)


@answers(boundaries.SUPERSEDE_RUN)
def supersede_run(db: DictDatabase, *values: Any) -> None:
    """A run has ended, and is not the newest of its instance any more (C10)."""
    _finish(db, values, latest=0)


@answers(boundaries.MOVE_EVENT)
def move_event(db: DictDatabase, to_run: int, event: int) -> None:
    """An event goes to the run that continues its own."""
    found = db.event.get(event)
    if found is not None:
        db.put(db.event, found._replace(run_id=to_run))
