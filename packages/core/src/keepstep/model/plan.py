"""Plans: what a decision wants written, as values. A store applies them with compare-and-set and decides nothing.

One :class:`Boundary` is one run's all-or-nothing write (B1). Its guard says what must still hold; its end says
what becomes of the run. Many boundaries of one runner share one commit (group commit), and each wins or loses alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from keepstep.model.records import (
    ChangeRecord,
    EventRecord,
    LogRecord,
    RunRecord,
    StepRecord,
    TaskRecord,
)
from keepstep.model.status import Status


class Hold(NamedTuple):
    """The runner keeps the run: something of it executes. Run and task rows stay untouched."""


HOLD = Hold()


class Park(NamedTuple):
    """Every branch waits: release the task until ``run_at`` (None = until woken); status ``waiting``."""

    run_at: int | None
    error: str | None = None
    """Why the run rests, if not for waits of its own: the code does not fit its records (E10). JSON of ``ErrorInfo``."""


class Release(NamedTuple):
    """Give the run back unfinished (drain, an optimistic tick's end): due again at ``run_at``; status ``active``."""

    run_at: int


class Pause(NamedTuple):
    """A requested pause takes effect: release the task, not claimable; status ``paused`` (E3)."""


class Finish(NamedTuple):
    """The run ends: terminal status, output or error; the task row goes."""

    status: Status
    output: str | None
    error: str | None


class ContinueAsNew(NamedTuple):
    """The run ends ``complete`` and the next run of the instance starts with fresh history (C10)."""

    run: RunRecord
    """The next run's row."""
    task: TaskRecord
    events: tuple[int, ...] = ()
    """Events that nothing has consumed: they move to the next run."""


End = Hold | Park | Release | Pause | Finish | ContinueAsNew


class Consumed(NamedTuple):
    """An event taken by a wait."""

    event_id: int
    """``event.id``."""
    key: str
    """The wait's step key."""


class Boundary(NamedTuple):
    """One run's writes and the guard under which they hold (B1, B3, B6).

    Attributes:
        run_id: the run.
        fence: the task's fence as claimed (leased), or as read (optimistic: the write raises it by one).
        wake_seq: compared when not None; every end but :class:`Hold` compares it (B6), and so does a wait that timed out (D4).
        version: the run row's version as read; compared when the end changes the run row.
        at: loop time of the boundary, for ``updated_at`` and ``completed_at``.
        steps: appended, or replacing an open row of the same key. A row that is resolved is never replaced (C2).
        consumed: events taken.
        logs: lines of ``step.log``; a number that is already stored is left alone.
        end: what becomes of the run.
        started_at: stored as the run's start if it has none yet (an optimistic tick's first boundary; a claim
            stores it otherwise).
        changes: change events that are subscribed (F3).
    """

    run_id: int
    fence: int
    wake_seq: int | None
    version: int
    at: int
    steps: tuple[StepRecord, ...] = ()
    consumed: tuple[Consumed, ...] = ()
    logs: tuple[LogRecord, ...] = ()
    end: End = HOLD
    started_at: int | None = None
    changes: tuple[ChangeRecord, ...] = ()


class Creation(NamedTuple):
    """A new run with its task; part of a group or of a service's transaction.

    In a group an id that exists already makes this creation lose alone (E2).
    """

    run: RunRecord
    task: TaskRecord
    changes: tuple[ChangeRecord, ...] = ()
    """Change events that are subscribed (F3)."""

    @property
    def run_id(self) -> int:
        """The run."""
        return self.run.id


@dataclass(frozen=True, slots=True)
class Steering:
    """What an operation from outside (pause, resume, terminate, cancel, restart, retry, event) changes (E3–E7).

    Attributes:
        expect_version: the run row's version as read; the write is refused if it has moved.
        run: the run's new row, or None when it stays.
        task: the task's new row, or None when it stays.
        drop_task: delete the task row (the run ended, or its next run replaces it).
        creation: the instance's next run (restart), written after ``run``.
        steps: rows to insert for ``creation`` (restart from a step), or to put in place of dropped ones.
        drop_from_seq: delete this run's step rows that are open or have a ``seq`` at or above this.
        event: an event to insert; its ``id`` is assigned by the store.
        changes: change events that are subscribed (F3).
    """

    run_id: int
    expect_version: int
    run: RunRecord | None = None
    task: TaskRecord | None = None
    drop_task: bool = False
    creation: Creation | None = None
    steps: tuple[StepRecord, ...] = ()
    drop_from_seq: int | None = None
    event: EventRecord | None = None
    changes: tuple[ChangeRecord, ...] = ()
