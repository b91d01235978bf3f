"""The step protocol: what a workflow body can ask for (C, D). The loop implements it; nothing here runs.

Options and the callback's own keyword arguments cannot be told apart by a type checker in one signature. So ``do`` is
typed with all arguments of the callback when no option is given, and with its positional arguments beside options, or
before a context that stands last.
"""

from __future__ import annotations

import builtins
import enum
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import (
    Any,
    Concatenate,
    Final,
    Never,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    TypeVarTuple,
    Unpack,
    overload,
)
from uuid import UUID

from keepstep.authoring.context import (
    StepContext,
    StepTx,
    context_parameter,
    entered_step,
    step_context,
    with_context,
)
from keepstep.authoring.events import EventModel, ReceivedEvent
from keepstep.authoring.mount import Mount
from keepstep.model.retry import Retry

__all__ = [
    "UNSET",
    "NonRetryable",
    "RetryOption",
    "Step",
    "StepContext",
    "StepDecorator",
    "StepFunction",
    "StepLog",
    "StepOptions",
    "StepTx",
    "TimeoutOption",
    "Unset",
    "WorkflowStep",
    "context_parameter",
    "entered_step",
    "step_context",
    "with_context",
]

A = ParamSpec("A")
Ts = TypeVarTuple("Ts")
R = TypeVar("R")
D = TypeVar("D")
E = TypeVar("E", bound=EventModel)

RetryOption = Retry | Mapping[str, Any] | None
"""A policy, a mapping in keepstep's or Cloudflare's form, or None for the workflow's default (C4)."""
TimeoutOption = timedelta | str | None
"""A limit of one attempt, or None for the workflow's default (C6)."""
NonRetryable = type[BaseException] | str
Step = Coroutine[Any, Any, R]
"""What is awaited, or given to ``asyncio.gather`` and ``TaskGroup.create_task``."""
StepFunction = Callable[A, Coroutine[Any, Any, R]]
"""A local function made a step by ``@step.do("name")``."""


class Unset(enum.Enum):
    """The type of ``UNSET``: an argument that was not given, where ``None`` is a value."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


class StepOptions(TypedDict, total=False):
    """Options of one ``do``; what is left out is the workflow's default (C4).

    Attributes:
        retry: the policy.
        timeout: limit of one attempt (C6).
        non_retryable: exception classes or names that end the step at once, beside the policy's own (C5).
        journal_intent: store an intent before the callback starts (B8).
        reconcile: called with the callback's arguments, instead of it, when an intent is found after a crash (B8).
    """

    retry: RetryOption
    timeout: TimeoutOption
    non_retryable: Sequence[NonRetryable]
    journal_intent: bool
    reconcile: Callable[..., Any] | None


class StepLog(Protocol):
    """Durable log lines of a run, written once however often the body is replayed."""

    def debug(self, message: str, /, **data: Any) -> None:
        """Log at level ``debug``; ``data`` is plain JSON data."""
        ...

    def info(self, message: str, /, **data: Any) -> None:
        """Log at level ``info``; ``data`` is plain JSON data."""
        ...

    def warning(self, message: str, /, **data: Any) -> None:
        """Log at level ``warning``; ``data`` is plain JSON data."""
        ...

    def error(self, message: str, /, **data: Any) -> None:
        """Log at level ``error``; ``data`` is plain JSON data."""
        ...


class StepDecorator(Protocol):
    """What ``@step.do("name")`` is: it makes of a local function a step that runs when it is called and awaited."""

    @overload
    def __call__(self, fn: Callable[Concatenate[StepContext, A], Awaitable[R]], /) -> StepFunction[A, R]: ...
    @overload
    def __call__(self, fn: Callable[A, Awaitable[R]], /) -> StepFunction[A, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[StepContext, A], R], /) -> StepFunction[A, R]: ...
    @overload
    def __call__(self, fn: Callable[A, R], /) -> StepFunction[A, R]: ...


class WorkflowStep(Protocol):
    """What a body asks of its run. Every method that is awaited is a durable step (C1, C2)."""

    @property
    def log(self) -> StepLog:
        """Durable log lines."""
        ...

    @property
    def mount(self) -> Mount | None:
        """The fragment in which the workflow is mounted; ``fragment.config(step)`` reads it (G2)."""
        ...

    @overload
    def do(
        self, name: str, fn: Callable[A, Awaitable[R]], /, *args: A.args, **kwargs: A.kwargs
    ) -> Step[R]: ...
    @overload
    def do(
        self,
        name: str,
        fn: Callable[Concatenate[StepContext, A], Awaitable[R]],
        /,
        *args: A.args,
        **kwargs: A.kwargs,
    ) -> Step[R]: ...
    @overload
    def do(self, name: str, fn: Callable[A, R], /, *args: A.args, **kwargs: A.kwargs) -> Step[R]: ...
    @overload
    def do(
        self, name: str, fn: Callable[Concatenate[StepContext, A], R], /, *args: A.args, **kwargs: A.kwargs
    ) -> Step[R]: ...
    @overload
    def do(
        self, name: str, fn: Callable[[*Ts], Awaitable[R]], /, *args: *Ts, **options: Unpack[StepOptions]
    ) -> Step[R]: ...
    @overload
    def do(
        self,
        name: str,
        fn: Callable[[StepContext, *Ts], Awaitable[R]],
        /,
        *args: *Ts,
        **options: Unpack[StepOptions],
    ) -> Step[R]: ...
    @overload
    def do(
        self, name: str, fn: Callable[[*Ts], R], /, *args: *Ts, **options: Unpack[StepOptions]
    ) -> Step[R]: ...
    @overload
    def do(
        self, name: str, fn: Callable[[StepContext, *Ts], R], /, *args: *Ts, **options: Unpack[StepOptions]
    ) -> Step[R]: ...
    @overload
    def do(
        self,
        name: str,
        fn: Callable[[*Ts, StepContext], Awaitable[R]],
        /,
        *args: *Ts,
        **options: Unpack[StepOptions],
    ) -> Step[R]: ...
    @overload
    def do(
        self, name: str, fn: Callable[[*Ts, StepContext], R], /, *args: *Ts, **options: Unpack[StepOptions]
    ) -> Step[R]: ...
    @overload
    def do(self, name: str, /, **options: Unpack[StepOptions]) -> StepDecorator: ...
    def do(self, name: str, fn: Callable[..., Any] | None = None, /, *args: Any, **kwargs: Any) -> Any:
        """Run ``fn(*args, **kwargs)`` once and keep its result (C2, C3).

        Args:
            name: the step's name (C1).
            fn: sync or async; a first or last parameter annotated ``StepContext`` is filled in. Without ``fn``, a
                decorator: ``@step.do("charge")`` on a local function, then ``await charge()``.
            *args: for ``fn``.
            **kwargs: for ``fn``, and :class:`StepOptions`, whose names ``fn``'s own keyword arguments cannot have.

        Raises:
            StepFailedError: it failed for good.
            SerializationError: its result cannot be kept as what it is.
        """
        ...

    @overload
    def transaction(
        self, name: str, fn: Callable[Concatenate[Any, A], Awaitable[R]], /, *args: A.args, **kwargs: A.kwargs
    ) -> Step[R]: ...
    @overload
    def transaction(
        self, name: str, fn: Callable[Concatenate[Any, A], R], /, *args: A.args, **kwargs: A.kwargs
    ) -> Step[R]: ...
    def transaction(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run ``fn(session, *args, **kwargs)`` on the boundary's own transaction: all commits or nothing does (C8).

        Args:
            name: the step's name (C1).
            fn: gets an ``AsyncSession`` if it is async, a ``Session`` if it is not.
            *args: for ``fn``.
            **kwargs: for ``fn``.
        """
        ...

    def sleep(self, name: str, duration: timedelta | str) -> Step[None]:
        """Wait for ``duration`` of loop time, up to 365 days (D1)."""
        ...

    def sleep_until(self, name: str, when: datetime) -> Step[None]:
        """Wait until an instant; the past returns at once, a naive datetime is refused (D1)."""
        ...

    @overload
    def wait_for_event(
        self, name: str, type: type[E], *, timeout: timedelta | str | None = "24 hours"
    ) -> Step[ReceivedEvent[E]]: ...
    @overload
    def wait_for_event(
        self, name: str, type: type[E], *, timeout: timedelta | str | None = "24 hours", default: D
    ) -> Step[ReceivedEvent[E] | D]: ...
    @overload
    def wait_for_event(
        self, name: str, type: str, *, timeout: timedelta | str | None = "24 hours"
    ) -> Step[ReceivedEvent[Any]]: ...
    @overload
    def wait_for_event(
        self, name: str, type: str, *, timeout: timedelta | str | None = "24 hours", default: D
    ) -> Step[ReceivedEvent[Any] | D]: ...
    def wait_for_event(
        self,
        name: str,
        type: builtins.type[EventModel] | str,  # noqa: A002
        *,
        timeout: timedelta | str | None = "24 hours",
        default: Any = UNSET,
    ) -> Any:
        """Take the oldest unconsumed event of a type (D4).

        Args:
            name: the step's name (C1).
            type: an event model, whose instance ``payload`` will be, or a type, for plain JSON data.
            timeout: 1 second to 365 days, or None to wait for ever.
            default: what to return on timeout; without it ``EventTimeoutError`` is raised.
        """
        ...

    def scope(self, name: str) -> WorkflowStep:
        """The same step API with keys under ``name>``, so that edits elsewhere don't shift them (C1)."""
        ...

    def now(self) -> datetime:
        """Loop time, UTC: equal on every replay (A3)."""
        ...

    def random(self) -> Random:
        """The run's random source, seeded by it: equal on every replay (A3)."""
        ...

    def uuid4(self) -> UUID:
        """A UUID of the run's random source: equal on every replay (A3)."""
        ...

    def continue_as_new(self, params: Any) -> Never:
        """End this run and start the instance's next one with ``params`` and no history (C10)."""
        ...
