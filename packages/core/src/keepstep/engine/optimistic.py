"""The optimistic tick: one run advanced by one boundary in one transaction, without a lease (B9).

    read (task, run, records, events) ─▶ replay ─▶ attempts that may start, if any ─▶ one guarded write ─▶ due? again

For hosts that cannot keep a runner: serverless functions, scripts, tests. Two ticks of one run may meet: both may
execute an attempt, and the guard lets one of them write (B8). Planner, statements and execution are the runner's.
Ticks of one run that follow one another share its body as long as nobody comes between, so a run is loaded once (A6).
A step with ``journal_intent`` needs its intent durable first, and so takes a second transaction.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from keepstep.authoring.context import StepTx
from keepstep.engine.alarms import LATE_MS
from keepstep.engine.attempt import Attempt, AttemptFailed, Phase
from keepstep.engine.execution import Execution
from keepstep.engine.parts import Parts
from keepstep.engine.probe import probe
from keepstep.engine.userwrites import Writing
from keepstep.kernel.changes import tell_boundary
from keepstep.kernel.takeover import crash_loop
from keepstep.loop.body import Body
from keepstep.model.facts import Completed
from keepstep.model.plan import Boundary, Release
from keepstep.model.status import Status, StepKind
from keepstep.store.boundaries import commit_optimistic
from keepstep.store.claims import Claimed
from keepstep.store.held import due_run, read_held
from keepstep.store.runs import load_events, load_steps

READS_MAX = 16
"""How often a write is planned again because somebody woke the run meanwhile."""


class _Written(NamedTuple):
    """An attempt that ended and wants to write with its boundary (C8)."""

    attempt: Attempt
    result: Completed
    tx: StepTx


class Optimist:
    """Advances runs that nobody holds."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store
        self._clock = parts.clock

    async def advance(self, due: Claimed) -> bool:
        """Tick one run until it waits or ends; False when another tick or a runner took it."""
        task, run = due
        end = crash_loop(task, self._parts.limits.takeovers_max)
        if end is not None:
            now = self._clock.now_ms()
            boundary = Boundary(run.id, task.fence, task.wake_seq, run.version, now, end=end)
            wanted = self._parts.registry.by_name(run.workflow).changes
            return await self._write(tell_boundary(wanted, run, boundary))
        ticking: _Ticking | None = None
        try:
            while True:
                self._clock.passed(due.task.run_at or 0)  # else what is due would be parked again and again
                if ticking is None or not ticking.goes_on_from(due):
                    ticking = await self._load(due, ticking)
                if not await ticking.tick():
                    return False
                self._parts.changes.notify(run.id)
                found = await self._store.transaction("due", due_run(run.id), "read")
                if found is None:
                    return True
                due = Claimed(*found)
        finally:
            if ticking is not None:
                ticking.close()

    async def put_off(self, due: Claimed, pause_ms: int) -> bool:
        """Have a run that could not be advanced tried again later, so that it does not stand in others' way."""
        task, run = due
        now = self._clock.now_ms()
        later = Release(now + pause_ms)
        return await self._write(Boundary(run.id, task.fence, task.wake_seq, run.version, now, end=later))

    async def _load(self, due: Claimed, stale: _Ticking | None) -> _Ticking:
        if stale is not None:
            stale.close()
        run = due.run
        if run.started_at is None:
            run = run._replace(started_at=self._clock.now_ms())
        dialect = self._store.dialect
        steps = await self._store.transaction("load", load_steps(dialect, [run.id]), "read")
        events = await self._store.transaction("load", load_events(dialect, [run.id]), "read")
        records = steps.get(run.id, [])
        body = Body(self._parts.registry.by_name(run.workflow), run, records, self._parts.limits)
        execution = Execution(due.task, run, body, records, events.get(run.id, []))
        execution.begin()
        return _Ticking(self._parts, execution)

    async def _write(self, boundary: Boundary) -> bool:
        return await self._store.transaction("tick", commit_optimistic(self._store.dialect, boundary))


class _Ticking:
    """One run in the hands of consecutive ticks."""

    def __init__(self, parts: Parts, execution: Execution) -> None:
        self._parts = parts
        self._store = parts.store
        self._clock = parts.clock
        self._execution = execution
        self._written: deque[_Written] = deque()

    def goes_on_from(self, due: Claimed) -> bool:
        """Whether the run is as the last tick left it, so that its body can go on (A6)."""
        execution = self._execution
        same = due.task.fence == execution.fence and due.run.version == execution.run.version
        return same and due.task.wake_seq == execution.wake_seq and execution.outcome is None

    def close(self) -> None:
        """Drop the body."""
        self._execution.body.close()

    async def tick(self) -> bool:
        """Advance by one boundary; whether this tick's write was the one that counted."""
        execution = self._execution
        execution.settle(self._clock.now_ms())
        # A line of the log waits for a boundary with more to it: by itself it would raise the fence, and put out of
        # the race another tick that executes the step before which the body logs.
        if not self._written and not execution.pending.decides:
            startable = execution.startable()
            if any(each.command.journal_intent and not each.intent_stored for each in startable):
                if not await self._commit(intents=True):
                    return False
                startable = execution.startable()
            transaction = _user_transaction(startable)
            if transaction is not None:
                return await self._transact(transaction, None)
            await self._execute(startable)
        while self._written:
            attempt, result, tx = self._written.popleft()
            if execution.attempts.get(attempt.command.key) is attempt:
                return await self._transact(attempt, (result, tx))
        return await self._commit()

    async def _execute(self, startable: Sequence[Attempt]) -> None:
        """Run the attempts to their ends, delivering each as it comes; those that wrote through ``tx`` wait."""
        execution = self._execution
        tasks: dict[asyncio.Task[tuple[Completed | AttemptFailed, StepTx | None]], Attempt] = {}
        for attempt in startable:
            self._start(attempt)
            handle = asyncio.create_task(self._parts.attempts.make(execution.run, attempt))
            attempt.handle, tasks[handle] = handle, attempt
        try:
            while tasks:
                done, _ = await asyncio.wait(
                    tasks, timeout=self._until_due(), return_when=asyncio.FIRST_COMPLETED
                )
                for handle in [each for each in tasks if each in done]:  # in the order of their start
                    attempt = tasks.pop(handle)
                    result, writes = handle.result()
                    if writes is not None and isinstance(result, Completed):
                        self._written.append(_Written(attempt, result, writes))
                    else:
                        execution.feed(result)
                execution.settle(self._clock.now_ms())
                for closed in execution.attempts.take_closed():
                    if closed.handle is not None:
                        closed.handle.cancel()
                        tasks.pop(closed.handle, None)
        finally:
            for handle in tasks:
                handle.cancel()

    def _start(self, attempt: Attempt) -> None:
        self._execution.start(attempt, self._clock.now_ms())
        probe(
            "attempt",
            execution=self._execution,
            key=attempt.command.key,
            number=attempt.number,
            optimistic=True,
        )

    def _until_due(self) -> float | None:
        due = self._execution.next_due()
        return None if due is None else (max(0, due - self._clock.now_ms()) + LATE_MS) / 1000

    async def _transact(self, attempt: Attempt, done: tuple[Completed, StepTx] | None) -> bool:
        """A step whose own transaction is the tick's transaction (C8)."""
        execution = self._execution
        if attempt.phase is not Phase.RUNNING:
            self._start(attempt)
        guard = partial(commit_optimistic, self._store.dialect)
        writing = Writing(execution, attempt, guard, optimistic=True, done=done)
        answer = await self._parts.user_writes.commit(writing)
        if answer is None:
            return False
        if isinstance(answer, AttemptFailed):
            execution.feed(answer)
            execution.settle(self._clock.now_ms())
            return await self._commit()
        execution.ticked()
        execution.deliver(answer)
        return True

    async def _commit(self, *, intents: bool = False) -> bool:
        """Write what there is. Events and cancellations that came meanwhile are taken in: no result is lost (B6)."""
        execution = self._execution
        for _ in range(READS_MAX):
            now = self._clock.now_ms()
            boundary = execution.boundary(
                now, next_run_id=self._parts.keys.next(), optimistic=True, intents=intents
            )
            assert boundary is not None, "an optimistic tick never holds a run"
            script = commit_optimistic(self._store.dialect, boundary)
            if await self._store.transaction("tick", script):
                execution.ticked()
                return True
            if not await self._reread():
                return False
            execution.settle(now)
        return False

    async def _reread(self) -> bool:
        """Take in what others wrote; False when the run is not this tick's any more."""
        execution = self._execution
        run_id = execution.run.id
        found = await self._store.transaction("reread", read_held(self._store.dialect, [run_id]), "read")
        held = found.get(run_id)
        if held is None or held.task.fence != execution.fence or held.run.status == Status.PAUSED:
            return False
        if (held.task.wake_seq, held.run.version) == (execution.wake_seq, execution.run.version):
            return False  # nobody woke it, so somebody holds it
        execution.reread(held.task, held.run, held.events)
        return not execution.pending.overtaken_by(execution.events)


def _user_transaction(startable: Sequence[Attempt]) -> Attempt | None:
    return next((each for each in startable if each.command.kind is StepKind.TRANSACTION), None)
