"""One run being advanced, in memory: its body, its attempts, and what waits for the next boundary.

A state machine without I/O. A driver (the runner, the optimistic tick, the simulation) feeds it what happened,
asks for a boundary, commits that, says so, and then starts the attempts that have become startable (A7):

    feed / reread ──▶ settle ──▶ boundary ──▶ (the driver commits) ──▶ committed ──▶ startable ──▶ feed …

While a boundary is on its way the execution is ``committing``: what happens meanwhile waits in the inbox, so a run
has one boundary at a time and its records keep one order (A2). A boundary that was refused because somebody
woke or steered the run (B6) is planned again after :meth:`Execution.reread`; nothing of it is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from keepstep.engine.attempt import Attempt, AttemptFailed, Phase
from keepstep.engine.opensteps import OpenSteps
from keepstep.engine.pending import Pending
from keepstep.kernel.attempts import decide_attempt, intent_row, retrying_row
from keepstep.kernel.boundary import open_rows, plan_end
from keepstep.kernel.changes import tell_boundary
from keepstep.kernel.settle import next_fact, resolution
from keepstep.loop.body import Body
from keepstep.model.commands import (
    Activation,
    BodyOutcome,
    Cancelled,
    Contradicted,
    DoCommand,
    Returned,
)
from keepstep.model.facts import CANCEL_KEY, CancelAsked, Fact, Failed, Received
from keepstep.model.plan import Boundary, ContinueAsNew, End, Hold
from keepstep.model.records import EventRecord, LogRecord, RunRecord, StepRecord, TaskRecord
from keepstep.model.status import StepStatus


class Execution:
    """See the module's head.

    Args:
        task: the task row as claimed or read; its fence and wake_seq guard every boundary.
        run: the run row as of then.
        body: a fresh body over the run's records.
        records: those records.
        events: the run's buffered events, oldest first.
    """

    # fmt: off
    __slots__ = (
        "attempts", "body", "cancel_delivered", "committing", "doubtful", "dropped", "ending",
        "events", "fence", "inbox", "last_at", "outcome", "pending", "run", "steered", "turns", "wake_seq",
    )
    # fmt: on

    def __init__(
        self,
        task: TaskRecord,
        run: RunRecord,
        body: Body,
        records: Sequence[StepRecord],
        events: list[EventRecord],
    ) -> None:
        self.run = run
        self.fence = task.fence
        self.wake_seq = task.wake_seq
        self.body = body
        self.events = events
        self.attempts = OpenSteps()
        self.inbox: list[Fact | AttemptFailed] = []
        self.pending = Pending(records)
        self.outcome: BodyOutcome | None = None
        self.cancel_delivered = any(record.key == CANCEL_KEY for record in records)
        self.committing = self.ending = self.steered = self.dropped = self.doubtful = False
        self.turns: list[Any] = []
        self.last_at = _last_resolved_at(run, records)

    # --- what comes in

    def begin(self) -> None:
        """Run the body over its records (once, before anything else)."""
        self._absorb(self.body.start())

    def feed(self, item: Fact | AttemptFailed) -> None:
        """Take in what happened; it is delivered at the next :meth:`settle`."""
        self.inbox.append(item)

    def reread(self, task: TaskRecord, run: RunRecord, events: Iterable[EventRecord]) -> None:
        """Take in what others changed: pause and cancel requests, new events (B6).

        It may have been read before a boundary of ours was durable and arrive after it: what was taken stays taken.
        """
        self.run = run
        self.doubtful = False
        self.wake_seq = task.wake_seq
        self.events = [event for event in events if event.id not in self.pending.taken]
        if run.cancel_reason is not None and not self.cancel_delivered and isinstance(self.outcome, Returned):
            self.outcome = Cancelled(run.cancel_reason)  # it was committed first, so it wins (E7)

    # --- going on

    def settle(self, now: int) -> None:
        """Deliver all that is known at ``now``, one resolution at a time (A2)."""
        if self.attempts.resting:
            self.attempts.rearm(now)
        while self.outcome is None:
            item = self.inbox.pop(0) if self.inbox else self._next_known(now)
            if item is None:
                return
            if isinstance(item, AttemptFailed):
                self._judge(item, now)
            elif self.body.is_open(item.key) or isinstance(item, CancelAsked):
                self._resolve(item, now)
        self.inbox.clear()

    def boundary(
        self,
        now: int,
        *,
        next_run_id: int | None,
        optimistic: bool = False,
        draining: bool = False,
        intents: bool = False,
    ) -> Boundary | None:
        """What to commit now; None when nothing is new and the run is to be held.

        ``intents``: the driver will start what is startable right after this commit, although the end is not a hold.
        """
        end = plan_end(
            self.run,
            self.outcome,
            self.attempts.running,
            self.attempts.startable,
            self._dues(),
            now=now,
            next_run_id=next_run_id,
            optimistic=optimistic,
            draining=draining,
        )
        hold = type(end) is Hold
        if type(end) is ContinueAsNew:
            end = end._replace(events=tuple(event.id for event in self.events))
        if intents or (hold and not draining):
            self._note_intents(now)
        if hold:
            if not self.pending:
                return None
        elif self.outcome is None:
            self.pending.put_open(open_rows(self.run.id, self.body.waits.values()))
        return self._boundary(end, now)

    def ticked(self) -> None:
        """An optimistic write is durable: it raised the fence and the run's version (B9)."""
        self.pending.written()
        self.fence += 1
        self.run = self.run._replace(version=self.run.version + 1)

    def startable(self) -> list[Attempt]:
        """Attempts that may start now: everything they depend on is durable (A7), and no pause is asked for (E3)."""
        if self.run.pause_requested or self.outcome is not None:
            return []
        return self.attempts.ready()

    def start(self, attempt: Attempt, now: int) -> None:
        """The driver starts this attempt."""
        self.attempts.start(attempt)
        attempt.started_at = now
        attempt.number += 1

    @property
    def executing(self) -> bool:
        """Whether a callback of the run runs now."""
        return self.attempts.running > 0

    def next_due(self) -> int | None:
        """The earliest of all pending deadlines: timers, waits, retries (D2); None without any."""
        if not self.body.waits and not self.attempts.resting:
            return None
        return min([due for due in self._dues() if due is not None], default=None)

    def deliver(self, record: StepRecord) -> None:
        """Deliver a resolution that is durable already (a transaction step commits its own row, C8)."""
        self.attempts.resolve(record.key)
        self.pending.resolve(record.key)
        if record.at is not None and record.at > self.last_at:
            self.last_at = record.at
        self._absorb(self.body.resolve(record))

    def alone(self, record: StepRecord, end: End) -> Boundary:
        """The boundary that a user's transaction carries: one resolution, after what else waits (C8)."""
        return self._boundary(end, record.at or 0, record)

    def resolved_row(self, fact: Fact, now: int) -> StepRecord:
        """The row that would deliver ``fact`` next."""
        wait = self.body.waits.get(fact.key)
        return resolution(fact, wait, self.run.id, self.body.seq + 1, max(now, self.last_at))

    # --- inside

    def _boundary(self, end: End, now: int, *last: StepRecord) -> Boundary:
        pending, run = self.pending, self.run
        boundary = Boundary(
            run.id,
            self.fence,
            None if type(end) is Hold and not pending.timed_out else self.wake_seq,
            run.version,
            max(self.last_at, now),
            (*pending.rows.values(), *last),
            tuple(pending.consumed),
            tuple(pending.logs),
            end,
            run.started_at,
        )
        wanted = self.body.changes
        return tell_boundary(wanted, run, boundary) if wanted else boundary

    def _dues(self) -> Iterator[int | None]:
        for command in self.body.waits.values():
            yield command.due_at
        for attempt in self.attempts.values():
            if attempt.phase is Phase.RESTING:
                yield attempt.due_at

    def _next_known(self, now: int) -> Fact | None:
        cancel = None if self.cancel_delivered else self.run.cancel_reason
        waits = self.body.waits
        return next_fact(waits, self.events, now, cancel) if waits or cancel is not None else None

    def _resolve(self, fact: Fact, now: int) -> None:
        record = self.resolved_row(fact, now)
        self.pending.put(record)
        if isinstance(fact, Received):
            self.pending.consume(fact.event, fact.key)
            self.events.remove(fact.event)  # mostly the first: a run takes many events in linear time
        elif isinstance(fact, CancelAsked):
            self.cancel_delivered = True
        self.deliver(record)

    def _judge(self, item: AttemptFailed, now: int) -> None:
        attempt = self.attempts.get(item.key)
        if attempt is None:
            return
        decision = decide_attempt(attempt.command, item.number, item.error, now, item.draw)
        if isinstance(decision, Failed):
            self._resolve(decision._replace(started_at=item.started_at), now)
            return
        self.attempts.rest(attempt, decision.due_at)
        attempt.intent_stored = attempt.interrupted  # reconciling goes on until it ends for good (B8)
        row = retrying_row(
            attempt.command, self.run.id, item.number, item.error, item.started_at, decision.due_at
        )
        self.pending.put(row._replace(status=StepStatus.INTENT) if attempt.interrupted else row)

    def _absorb(self, activation: Activation) -> None:
        if activation.logs:
            self.pending.note(self.run.id, activation.logs)
        for command in activation.opened:
            if isinstance(command, DoCommand):
                self.attempts.open(command)
        for key in activation.closed:
            self.attempts.close(key)
            self.pending.close(key)
        if activation.outcome is not None:
            self._end(activation.outcome)

    def _end(self, outcome: BodyOutcome) -> None:
        self.outcome = outcome
        self.attempts.close_all()
        if isinstance(outcome, Contradicted):
            text = f"parked: {outcome.told}"
            self.pending.logs.append(LogRecord(self.run.id, 0, "error", text, None, self.last_at))

    def _note_intents(self, now: int) -> None:
        """Intent rows go before their callbacks (B8)."""
        if self.run.pause_requested:
            return
        for attempt in self.attempts.values():
            if attempt.command.journal_intent and not attempt.intent_stored and attempt.phase is Phase.READY:
                attempt.intent_stored = True
                self.pending.put(intent_row(attempt.command, self.run.id, attempt.number + 1, now))


def _last_resolved_at(run: RunRecord, records: Sequence[StepRecord]) -> int:
    """Loop time of the last resolution, at first of the run's start (A3)."""
    resolved = [record.at for record in records if record.at is not None and record.seq is not None]
    return max(resolved, default=run.started_at or run.created_at)
