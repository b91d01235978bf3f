"""Steps that write the user's own tables: the step's row commits in the user's transaction, or neither does (C8).

    session opens ─▶ the step's function, or the writes it left in ``tx`` ─▶ guard and step row ─▶ commit

The function gets a SQLAlchemy session of its own colour. Its timeout ends the function, never a commit under way, so
that no attempt is taken for failed whose writes are durable (C6). What the database did to the transaction (a
conflict) is tried again and is no attempt (C5); when it is unknown whether the commit took place, the run is given
up and read again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from keepstep.authoring.context import StepContext, StepTx, entered_step, with_context
from keepstep.engine.attempt import Attempt, AttemptFailed
from keepstep.engine.attempts import Attempts, is_async
from keepstep.engine.backoff import Backoff
from keepstep.engine.execution import Execution
from keepstep.engine.probe import probe
from keepstep.engine.stepwrites import write_buffered
from keepstep.errors import (
    IntegrityError,
    NonRetryableError,
    StepTimeoutError,
    StoreConflictError,
    StoreError,
    StoreUnavailableError,
    UsageError,
)
from keepstep.model.facts import Completed
from keepstep.model.ids import KeySource
from keepstep.model.plan import Boundary, Hold, Release
from keepstep.model.records import StepRecord
from keepstep.store.errors import translate
from keepstep.store.host import run_async, run_sync
from keepstep.store.script import Script
from keepstep.store.sessions import Sessions

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

Guard = Callable[[Boundary], Script[bool]]
"""Makes the script that writes a boundary if its guard holds."""


class _Refused(Exception):  # noqa: N818  # rolls the user's transaction back; never leaves this file
    """The guard no longer holds."""


class _Unopened(Exception):  # noqa: N818  # likewise
    """There is no connection: the step's function was not called."""

    def __init__(self, why: StoreError) -> None:
        super().__init__(str(why))
        self.why = why


class _Race:
    """Who comes first, the timeout on the loop or the commit in the thread, decides for both."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._won = False

    def win(self) -> bool:
        """Whether the caller is the first to ask."""
        with self._lock:
            first, self._won = not self._won, True
        return first


@contextmanager
def _opening() -> Generator[None, None, None]:
    try:
        yield
    except Exception as error:
        found = translate(error, "step")
        if isinstance(found, StoreUnavailableError | StoreConflictError):
            raise _Unopened(found) from error
        raise


@dataclass(frozen=True, slots=True)
class Writing:
    """One step's transaction.

    Attributes:
        execution: its run; nothing else of the run may commit meanwhile.
        attempt: its attempt, started.
        guard: how its boundary is written.
        optimistic: the boundary gives the run back (B9).
        done: the result and the buffered writes of a step that used ``tx``; None for ``step.transaction``.
    """

    execution: Execution
    attempt: Attempt
    guard: Guard
    optimistic: bool = False
    done: tuple[Completed, StepTx] | None = None


class UserWrites:
    """Commits steps together with what they write.

    Args:
        sessions: where transactions are opened; None = this engine has no such steps.
        attempts: encodes results and runs synchronous functions in threads.
        keys: fresh internal keys.
        on_work: called after a commit that made work for runners.
    """

    def __init__(
        self,
        sessions: Sessions | None,
        attempts: Attempts,
        keys: KeySource,
        on_work: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._attempts = attempts
        self._keys = keys
        self._on_work = on_work
        self._guard = Lock()
        self._clock = None if sessions is None else sessions.clock

    async def close(self) -> None:
        """Close the connections that were opened here."""
        if self._sessions is not None:
            await self._sessions.close()

    async def commit(self, writing: Writing) -> StepRecord | AttemptFailed | None:
        """The step's durable row; or how the attempt failed; or None when somebody steered the run.

        Raises:
            StoreUnavailableError: whether the transaction took place is unknown.
        """
        backoff = Backoff()
        while not writing.execution.dropped:
            try:
                record, tx = await self._transact(writing)
            except _Refused:
                return None
            except _Unopened as unopened:
                if writing.optimistic:
                    raise unopened.why from unopened
                log.warning("step %r waits for a session: %s", writing.attempt.command.key, unopened.why)
            except (KeyboardInterrupt, SystemExit, GeneratorExit):
                raise
            except BaseException as error:  # a step may raise anything; it is recorded
                if isinstance(error, asyncio.CancelledError) and _cancelling():
                    raise
                failed = self._judge(writing, error)
                if failed is not None:
                    return failed
            else:
                if tx.makes_work:
                    self._on_work()
                return record
            await backoff.wait()
        return None

    def _judge(self, writing: Writing, error: BaseException) -> AttemptFailed | None:
        """What a failed transaction is: a failed attempt, None = to be tried again (C5), or raised = unknown."""
        found = translate(error, "step") if isinstance(error, DBAPIError | StoreError) else None
        if isinstance(found, StoreConflictError):
            return None
        if isinstance(found, StoreUnavailableError):
            raise found from error
        if isinstance(found, IntegrityError):
            error = _violation(found)
        return self._attempts.failed(writing.attempt, error)

    async def _transact(self, writing: Writing) -> tuple[StepRecord, StepTx]:
        if self._sessions is None:
            raise UsageError("this engine was made without a database for transactions of the user's own")
        if writing.done is None and is_async(writing.attempt.command.fn):
            return await self._sessions.run_async(partial(self._async, writing))
        if writing.done is not None and self._sessions.prefers_loop:
            return await self._sessions.run_on_loop(partial(self._sync, writing, _Race()))
        race = _Race()
        work = partial(self._sync, writing, race)
        thread = asyncio.ensure_future(self._attempts.workers.run(self._sessions.run_sync, work))
        try:
            await asyncio.wait([thread], timeout=None if writing.done else _limit(writing))
            if not thread.done() and race.win():
                raise _late(writing)
            return await thread
        finally:
            thread.cancel()

    async def _async(self, writing: Writing, session: AsyncSession) -> tuple[StepRecord, StepTx]:
        with _opening():
            await session.connection()
        context = self._context(writing)
        timeout = asyncio.timeout(_limit(writing))
        try:
            async with timeout:
                with entered_step(context):
                    value = await self._call(writing, session, context)
        except TimeoutError as error:
            raise _late(writing) if timeout.expired() else error from error
        await session.run_sync(write_buffered, context.tx, self._new_key, self._attempts.clock.now_ms())
        record, boundary = self._boundary(writing, value)
        if not await run_async(session, writing.guard(boundary), self._clock):
            raise _Refused
        return record, context.tx

    def _sync(self, writing: Writing, race: _Race, session: Session) -> tuple[StepRecord, StepTx]:
        """In a worker's thread: a thread cannot be stopped, so whether it is too late is decided once (C6)."""
        with _opening():
            session.connection()
        if writing.done is not None:
            value, tx = None, writing.done[1]
        else:
            context = self._context(writing)
            with entered_step(context):
                value, tx = self._call(writing, session, context), context.tx
        write_buffered(session, tx, self._new_key, self._attempts.clock.now_ms())
        if not race.win():
            raise _late(writing)
        if writing.execution.dropped:
            raise _Refused
        record, boundary = self._boundary(writing, value)
        if not run_sync(session, writing.guard(boundary), self._clock):
            raise _Refused
        return record, tx

    def _call(self, writing: Writing, session: Session | AsyncSession, context: StepContext) -> Any:
        command = writing.attempt.command
        fn = self._attempts.callee(command.fn, writing.attempt, lambda: context)
        args, kwargs = with_context(fn, (session, *command.args), command.kwargs, lambda: context)
        return fn(*args, **kwargs)

    def _context(self, writing: Writing) -> StepContext:
        return self._attempts.context(writing.execution.run, writing.attempt.command, writing.attempt.number)

    def _new_key(self) -> int:
        with self._guard:  # threads of several steps may ask at once
            return self._keys.next()

    def _boundary(self, writing: Writing, value: object) -> tuple[StepRecord, Boundary]:
        execution, attempt, attempts = writing.execution, writing.attempt, self._attempts
        key, now = attempt.command.key, attempts.clock.now_ms()
        if writing.done is None:
            limit = attempts.limits.payload_bytes_max
            result = attempt.command.codec.encode(value, limit, f"the result of step {key!r}")
            fact = Completed(key, result, attempt.number, attempt.started_at)
        else:
            fact = writing.done[0]
        record = execution.resolved_row(fact, now)
        end = Release(now) if writing.optimistic else Hold()
        boundary = execution.alone(record, end)
        probe("writing", execution=execution, boundary=boundary)
        return record, boundary


def _limit(writing: Writing) -> float | None:
    """The attempt's timeout in seconds."""
    timeout_ms = writing.attempt.command.timeout_ms
    return None if timeout_ms is None else timeout_ms / 1000


def _late(writing: Writing) -> StepTimeoutError:
    command, number = writing.attempt.command, writing.attempt.number
    return StepTimeoutError(
        f"attempt {number} of step {command.key!r} ran longer than its timeout of {_limit(writing):g} s"
    )


def _violation(error: IntegrityError) -> NonRetryableError:
    """A constraint of the user's refused: the same write would be refused again (C8)."""
    return NonRetryableError(str(error), name="IntegrityError")


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
