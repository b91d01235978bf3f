"""What of a run waits for its next boundary, and which of its open steps the database knows already (B1, D1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, ValuesView

from keepstep.kernel.boundary import abandoned_row
from keepstep.model.commands import LogLine
from keepstep.model.plan import Consumed
from keepstep.model.records import EventRecord, LogRecord, StepRecord
from keepstep.model.status import StepStatus


class Pending:
    """Rows to write with the next boundary; they stay until it is durable, so a refused one is planned again.

    Args:
        records: the run's records as loaded.

    Attributes:
        rows: step rows by key; the last word on a step counts.
        consumed: events taken.
        logs: lines of ``step.log``.
        timed_out: whether a wait among the rows has timed out.
        taken: ids of all events taken since the run was read, also of those whose boundary is durable.
    """

    __slots__ = ("_stored", "consumed", "logs", "rows", "taken", "timed_out")

    def __init__(self, records: Sequence[StepRecord]) -> None:
        self.rows: dict[str, StepRecord] = {}
        self.consumed: list[Consumed] = []
        self.logs: list[LogRecord] = []
        self.taken: set[int] = set()
        self.timed_out = False
        self._stored = {each.key: each for each in records if _is_open(each)}

    def __bool__(self) -> bool:
        return bool(self.rows or self.consumed or self.logs)

    @property
    def decides(self) -> bool:
        """Whether something waits that a step may depend on (A7): anything but lines of the log."""
        return bool(self.rows or self.consumed)

    @property
    def stored(self) -> ValuesView[StepRecord]:
        """Rows that the database has and that are open."""
        return self._stored.values()

    def put(self, row: StepRecord) -> None:
        """Write this row."""
        self.rows[row.key] = row
        if row.event_type is not None and row.status == StepStatus.FAILED:
            self.timed_out = True

    def put_open(self, rows: Iterable[StepRecord]) -> None:
        """Write those of these open rows that the database does not have."""
        for row in rows:
            if row.key not in self._stored:
                self.rows.setdefault(row.key, row)

    def resolve(self, key: str) -> None:
        """The step is resolved: no open row of it is left."""
        self._stored.pop(key, None)

    def consume(self, event: EventRecord, key: str) -> None:
        """A wait took this event."""
        self.consumed.append(Consumed(event.id, key))
        self.taken.add(event.id)

    def overtaken_by(self, events: Iterable[EventRecord]) -> bool:
        """Whether an event that counts for a wait became visible after the wait was taken as timed out (D4).

        It was accepted in time, in a transaction that committed later. The body knows of the timeout already, so it
        cannot be used any more: the run has to be loaded again.
        """
        return self.timed_out and any(
            row.status == StepStatus.FAILED
            and event.type == row.event_type
            and row.due_at is not None
            and event.accepted_at <= row.due_at
            for event in events
            for row in self.rows.values()
        )

    def note(self, run_id: int, lines: Iterable[LogLine]) -> None:
        """Write the lines that are not stored yet."""
        self.logs += [
            LogRecord(run_id, line.number, line.level, line.message, line.data, line.at)
            for line in lines
            if not line.replayed
        ]

    def close(self, key: str) -> None:
        """The body stopped waiting for a step: what is stored of it is marked, what is not is forgotten."""
        row = self.rows.get(key)
        if row is not None and row.seq is not None:
            return
        self.rows.pop(key, None)
        stored = self._stored.pop(key, None)
        if stored is not None:
            self.rows[key] = abandoned_row(stored)

    def written(self) -> None:
        """The boundary is durable."""
        for row in self.rows.values():
            if _is_open(row):
                self._stored[row.key] = row
        self.rows.clear()
        self.consumed.clear()
        self.logs.clear()
        self.timed_out = False


def _is_open(row: StepRecord) -> bool:
    return row.seq is None and row.status != StepStatus.ABANDONED
