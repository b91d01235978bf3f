"""Advances the runs that this runner holds: settle, commit, start attempts, again (architecture: the flow of a tick).

Each held run is an :class:`Execution`; this file is its driver in the runner. It reacts to four things: an attempt
that ended, a verdict of the committer, an alarm (a deadline of a run that also executes something), and news that
somebody steered a held run. It owns no policy: what to write is the kernel's, when to claim is the runner's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from keepstep.authoring.context import StepTx
from keepstep.engine.alarms import Alarms
from keepstep.engine.attempt import Attempt, AttemptFailed
from keepstep.engine.callbacks import Callbacks
from keepstep.engine.committer import Committer, Verdict
from keepstep.engine.execution import Execution
from keepstep.engine.parked import park
from keepstep.engine.parts import Parts
from keepstep.engine.probe import probe
from keepstep.engine.turns import pass_turn, take_turn
from keepstep.engine.userwrites import Writing
from keepstep.errors import LeaseLostError, StoreError
from keepstep.model.commands import Continued
from keepstep.model.facts import Completed
from keepstep.model.plan import Boundary, ContinueAsNew, End, Finish, Hold, Park, Release
from keepstep.model.records import EventRecord, RunRecord, TaskRecord
from keepstep.model.status import StepKind

log = logging.getLogger(__name__)

RETRY_BROKEN_MS = 60_000
"""When a run that the engine itself failed to advance is tried again."""
UNKNOWN_MS = 1_000
"""When a run is read again after a transaction of which nobody knows whether it took place."""


class Advancer:
    """See the module's head.

    Args:
        parts: the engine's.
        committer: takes the boundaries.
        may_start: whether the lease is good for starting a step (B4).
        on_let_go: called when a run was let go, with the instant (ms) at which it falls due, or None.
        on_doubt: called with a run whose boundary was refused: it has to be read again.
    """

    def __init__(
        self,
        parts: Parts,
        committer: Committer,
        may_start: Callable[[], bool],
        on_let_go: Callable[[int | None], None],
        on_doubt: Callable[[int], None],
    ) -> None:
        self._parts = parts
        self._clock = parts.clock
        self._committer = committer
        self._may_start = may_start
        self._on_let_go = on_let_go
        self._on_doubt = on_doubt
        self._alarms = Alarms(parts.clock, self.advance)
        self.callbacks = Callbacks()
        self.held: dict[int, Execution] = {}
        self.draining = False

    # --- runs come and go

    def hold(self, execution: Execution, *, fresh: bool) -> None:
        """Take a claimed run and advance it; ``fresh`` when its body has not started yet."""
        stale = self.held.get(execution.run.id)
        if stale is not None:
            self.drop(stale)
        self.held[execution.run.id] = execution
        probe("held", execution=execution)
        if fresh:
            try:
                execution.begin()
            except Exception as error:  # noqa: BLE001  # whatever it is, it must not stop the other runs
                self._give_up(execution, error)
                return
        self.advance(execution)

    def drop(self, execution: Execution) -> None:
        """Forget a run at once: its callbacks are cancelled, its late results go nowhere (B3)."""
        execution.dropped = True
        if self.held.get(execution.run.id) is execution:
            del self.held[execution.run.id]
            self._alarms.quiet(execution.run.id)
        self.callbacks.cancel(execution.attempts.take_closed())
        self.callbacks.cancel(execution.attempts.executing())
        execution.body.close()
        self._parts.changes.notify(execution.run.id)

    def drop_all(self) -> None:
        """The lease is lost: forget everything."""
        for execution in list(self.held.values()):
            self.drop(execution)

    def steered(
        self, run_id: int, task: TaskRecord | None, run: RunRecord | None, events: list[EventRecord]
    ) -> None:
        """A held run was read again: go on with what others changed, or drop it when it is ours no more (B3, B6)."""
        execution = self.held.get(run_id)
        if execution is None or execution.ending:
            return  # an end on its way is its own news: if others came first, its verdict leads here again
        holder = (execution.fence, self._committer.runner_id)
        if task is None or run is None or (task.fence, task.owner) != holder:
            self.drop(execution)
            return
        execution.reread(task, run, events)
        if not execution.committing and execution.pending.overtaken_by(execution.events):
            self._release(execution, 0)
        else:
            execution.steered = True
            self.advance(execution)

    def idle(self) -> list[Execution]:
        """Held runs of which nothing executes and nothing commits."""
        return [each for each in self.held.values() if not each.executing and not each.committing]

    # --- one run

    def advance(self, execution: Execution) -> None:
        """Deliver what is known, then commit it; without anything to commit, start what may start."""
        if execution.committing or execution.doubtful or self.held.get(execution.run.id) is not execution:
            return
        now = self._clock.now_ms()
        execution.steered = False
        try:
            execution.settle(now)
            next_run_id = self._parts.keys.next() if isinstance(execution.outcome, Continued) else None
            boundary = execution.boundary(now, next_run_id=next_run_id, draining=self.draining)
        except LeaseLostError:
            self.drop(execution)
            self._on_doubt(execution.run.id)
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not stop the other runs
            self._give_up(execution, error)
            return
        if execution.attempts.closed:
            self.callbacks.cancel(execution.attempts.take_closed())
        if boundary is None:
            self._start(execution)
        else:
            self._commit(execution, boundary)

    def _commit(self, execution: Execution, boundary: Boundary) -> None:
        execution.committing = True
        execution.ending = type(boundary.end) is not Hold
        probe("planned", execution=execution, boundary=boundary)

        def done(verdict: Verdict) -> None:
            execution.committing = execution.ending = False
            if execution.dropped:
                return
            try:
                self._after(execution, boundary, verdict)
            except Exception as error:  # noqa: BLE001  # likewise
                self._give_up(execution, error)

        self._committer.submit(boundary, done)

    def _after(self, execution: Execution, boundary: Boundary, verdict: Verdict) -> None:
        if verdict is Verdict.KEPT:
            execution.pending.written()
            if isinstance(boundary.end, Hold):
                self._go_on(execution)
            else:
                self._let_go(execution, boundary)
        elif verdict is Verdict.REFUSED:
            self._doubt(execution)
        elif verdict is Verdict.BROKEN:
            self._give_up(execution, None)
        else:
            self.drop(execution)

    def _doubt(self, execution: Execution) -> None:
        """What is known of the run is old: it waits until it was read again, whatever else asks to advance it."""
        execution.doubtful = True
        self._on_doubt(execution.run.id)

    def _go_on(self, execution: Execution) -> None:
        if execution.inbox or execution.steered:
            self.advance(execution)
        else:
            self._start(execution)

    def _let_go(self, execution: Execution, boundary: Boundary) -> None:
        run_id = execution.run.id
        self.held.pop(run_id, None)
        self._alarms.quiet(run_id)
        match boundary.end:
            case Park(run_at) if execution.outcome is None:
                self._parts.cache.put(run_id, park(execution))
                self._on_let_go(run_at)
            case Park(run_at) | Release(run_at):
                execution.body.close()
                self._on_let_go(run_at)
            case end:
                execution.dropped = True
                execution.body.close()
                self._on_let_go(boundary.at if isinstance(end, ContinueAsNew) else None)
        if self._parts.changes.anybody_listens(run_id):
            self._parts.changes.notify(run_id, _ended(execution.run, boundary.end))

    # --- attempts

    def _start(self, execution: Execution) -> None:
        """Everything known is durable: start what may start (A7), or let a step's own transaction go first (C8)."""
        startable = [] if self.draining else execution.startable()
        if startable and not self._may_start():
            return  # the lease went, and everything with it (B4)
        for attempt in startable:
            execution.start(attempt, self._clock.now_ms())
            probe("attempt", execution=execution, key=attempt.command.key, number=attempt.number)
            self.callbacks.start(attempt, self._attempt(execution, attempt))
        self._alarms.set(execution)
        if execution.turns:
            pass_turn(execution)

    async def _attempt(self, execution: Execution, attempt: Attempt) -> None:
        try:
            if attempt.command.kind is StepKind.TRANSACTION:
                await self._transaction(execution, attempt, None)
                return
            result, writes = await self._parts.attempts.make(execution.run, attempt)
            if writes is not None and isinstance(result, Completed):
                await self._transaction(execution, attempt, (result, writes))
            else:
                self._report(execution, attempt, result)
        except Exception as error:  # noqa: BLE001  # a defect of ours: what the callback raised is a result
            self._give_up(execution, error)
        finally:
            self.callbacks.ended(attempt)

    async def _transaction(
        self, execution: Execution, attempt: Attempt, done: tuple[Completed, StepTx] | None
    ) -> None:
        """A step whose own transaction carries its boundary (C8); other boundaries of the run wait meanwhile."""
        await take_turn(execution)
        try:
            if execution.attempts.get(attempt.command.key) is not attempt:
                return
            answer = await self._parts.user_writes.commit(
                Writing(execution, attempt, self._committer.leased, done=done)
            )
        except StoreError as error:
            log.warning(
                "run %d is read again, a transaction's outcome is unknown: %s", execution.run.id, error
            )
            self._release(execution, UNKNOWN_MS)
            return
        finally:
            execution.committing = False
        if execution.dropped:
            return
        if answer is None:
            execution.attempts.put_back(attempt)
            attempt.number -= 1
            self._doubt(execution)
        elif isinstance(answer, AttemptFailed):
            self._report(execution, attempt, answer)
        else:
            execution.pending.written()
            execution.deliver(answer)
            self.advance(execution)

    def _report(self, execution: Execution, attempt: Attempt, result: Completed | AttemptFailed) -> None:
        """Take in what an attempt came to, if anybody still waits for it: late results go nowhere (B3, C6)."""
        if not execution.dropped and execution.attempts.get(attempt.command.key) is attempt:
            execution.feed(result)
            self.advance(execution)

    def _give_up(self, execution: Execution, error: Exception | None) -> None:
        """The engine itself failed on this run: release it for later, and let all others go on."""
        log.error("run %d could not be advanced; it is tried again later", execution.run.id, exc_info=error)
        self._release(execution, RETRY_BROKEN_MS)

    def _release(self, execution: Execution, after_ms: int) -> None:
        """Give a run back whose memory is of no use any more."""
        if execution.dropped:
            return
        run, now = execution.run, self._clock.now_ms()
        boundary = Boundary(
            run.id, execution.fence, execution.wake_seq, run.version, now, end=Release(now + after_ms)
        )

        def done(verdict: Verdict) -> None:
            if verdict is Verdict.KEPT:
                self._on_let_go(now + after_ms)
            else:
                self._on_doubt(run.id)

        self.drop(execution)
        self._committer.submit(boundary, done)


def _ended(run: RunRecord, end: End) -> RunRecord | None:
    """The row of a run that has just ended durably, as far as those who wait for its end read it."""
    if not isinstance(end, Finish):
        return None
    return run._replace(status=end.status.value, output=end.output, error=end.error)
