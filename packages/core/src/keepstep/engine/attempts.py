"""Executes one attempt of a step on the host's loop or in a worker thread, and says how it went (A4, C3–C6).

Used alike by the runner and by the optimistic tick. Decides nothing: what follows a failure is the kernel's.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from keepstep.authoring.context import ContextSource, StepContext, StepTx, enter_step, with_context
from keepstep.authoring.registry import Registry
from keepstep.engine.attempt import Attempt, AttemptFailed
from keepstep.engine.deadlines import Deadline, Deadlines
from keepstep.engine.seams import DatabaseClock, Seams
from keepstep.engine.workers import Workers
from keepstep.errors import (
    InvalidInputError,
    KeepstepError,
    NonRetryableError,
    StepTimeoutError,
    UsageError,
)
from keepstep.model.commands import DoCommand
from keepstep.model.facts import AttemptError, Completed
from keepstep.model.limits import Limits
from keepstep.model.outcome import ErrorInfo
from keepstep.model.records import RunRecord


@dataclass(frozen=True, slots=True)
class Attempts:
    """Makes attempts.

    Attributes:
        workers: where synchronous callbacks run.
        limits: bounds of a result (C10).
        clock: stamps ``started_at``.
        seams: draws jitter.
        registry: tells in which fragment a workflow is mounted.
        deadlines: of attempts under way.
    """

    workers: Workers
    limits: Limits
    clock: DatabaseClock
    seams: Seams
    registry: Registry
    deadlines: Deadlines = field(default_factory=Deadlines)

    async def make(self, run: RunRecord, attempt: Attempt) -> tuple[Completed | AttemptFailed, StepTx | None]:
        """Call the step's function once, in the task ``attempt.handle``; what came of it, and what it wants to write.

        Cancellation from outside passes through; nothing else is raised.
        """
        command = attempt.command
        key, number, started_at = command.key, attempt.number, attempt.started_at
        source = _Source(self, run, command, number)
        try:
            value = await self._call(attempt, source)
            result = command.codec.encode(value, self.limits.payload_bytes_max, f"the result of step {key!r}")
        except asyncio.CancelledError as error:
            if _cancelled_from_outside():
                raise
            return self.failed(attempt, error), None
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise  # the process is to end: in the loop's thread that need not be the step's own doing
        except BaseException as error:  # noqa: BLE001  # a step may raise anything; it is recorded
            return self.failed(attempt, error), None
        made = source.made
        writes = made.tx if made is not None and made.tx.writes else None
        return Completed(key, result, number, started_at), writes

    def context(self, run: RunRecord, command: DoCommand, number: int) -> StepContext:
        """What the callback learns about its attempt (B8: one idempotency key over attempts and takeovers)."""
        mount = self.registry.by_name(run.workflow).mount
        return StepContext(
            attempt=number,
            step_key=command.key,
            instance_id=run.instance_id,
            workflow_name=run.workflow,
            run_number=run.run_number,
            tx=StepTx(mount, self.registry, self.limits, f"{run.id}/{command.key}"),
            mount=mount,
        )

    def callee(self, fn: Callable[..., Any], attempt: Attempt, source: ContextSource) -> Callable[..., Any]:
        """What an attempt calls: the function that its workflow names, or what a test puts in its place."""
        stand_in = self.seams.callee
        return fn if stand_in is None else stand_in(fn, attempt, source())

    async def _call(self, attempt: Attempt, source: ContextSource) -> Any:
        """The callback's value, within the attempt's timeout (C6): awaited, or from a worker thread if it is sync (A4)."""
        command = attempt.command
        fn = command.reconcile if attempt.interrupted and command.reconcile is not None else command.fn
        fn = self.callee(fn, attempt, source)
        args, kwargs = with_context(fn, command.args, command.kwargs, source)
        limit = None if command.timeout_ms is None else command.timeout_ms / 1000
        task = attempt.handle or asyncio.current_task()  # a task that starts eagerly is not known yet
        assert task is not None, "an attempt runs in a task"
        deadline = Deadline(self.deadlines, task, limit)
        enter_step(source)
        try:
            with deadline:
                if is_async(fn):
                    return await fn(*args, **kwargs)
                value = await self.workers.run(fn, *args, **kwargs)
                return await value if inspect.isawaitable(value) else value
        except TimeoutError as error:
            if not deadline.expired:
                raise
            message = (
                f"attempt {attempt.number} of step {command.key!r} ran longer than its timeout of {limit:g} s"
            )
            raise StepTimeoutError(message) from error

    def failed(self, attempt: Attempt, error: BaseException) -> AttemptFailed:
        """One failed attempt as an inbox item."""
        return AttemptFailed(
            attempt.command.key,
            attempt.number,
            as_data(error),
            attempt.started_at,
            self.seams.random.random(),
        )


class _Source:
    """Gives one attempt's context; makes it when it is asked for, which most callbacks never do."""

    __slots__ = ("_attempts", "_command", "_number", "_run", "made")

    def __init__(self, attempts: Attempts, run: RunRecord, command: DoCommand, number: int) -> None:
        self._attempts = attempts
        self._run = run
        self._command = command
        self._number = number
        self.made: StepContext | None = None

    def __call__(self) -> StepContext:
        if self.made is None:
            self.made = self._attempts.context(self._run, self._command, self._number)
        return self.made


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether calling ``fn`` gives a coroutine."""
    if type(fn) is FunctionType:  # by far the most, and asked for each attempt
        return fn.__code__.co_flags & inspect.CO_COROUTINE != 0 or inspect.iscoroutinefunction(fn)
    if inspect.iscoroutinefunction(fn):
        return True
    inner = getattr(fn, "func", None) or getattr(fn, "__call__", None)  # noqa: B004  # partials and callable objects
    return inspect.iscoroutinefunction(inner)


def as_data(error: BaseException) -> AttemptError:
    """An exception as the kernel reads it."""
    names = tuple(each.__name__ for each in type(error).__mro__ if each is not object)
    own = isinstance(error, KeepstepError)
    name = error.name if isinstance(error, NonRetryableError) else type(error).__name__
    info = ErrorInfo(name=name, message=_message(error), code=error.code if own else None)
    final = isinstance(error, NonRetryableError | InvalidInputError | UsageError)
    return AttemptError(info, (name, *names), retryable=not final)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # the step's own code makes the text
        return "its message cannot be made"


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
