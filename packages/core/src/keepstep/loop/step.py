"""What a body's ``step`` is: each call checks its arguments, takes its key, and gives a coroutine that waits (C, D).

A call that is wrong raises at once, inside the body, before it takes a key. The key is taken at the call and the
command is opened at the await, so calls that are made in order and awaited together keep their order.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from random import Random
from threading import get_ident
from typing import Any, Never
from uuid import UUID

from keepstep.authoring.definition import WorkflowDefinition
from keepstep.authoring.events import EventModel, event_type_of
from keepstep.authoring.mount import Mount
from keepstep.authoring.step import UNSET
from keepstep.errors import InvalidDurationError, InvalidEventTypeError, NondeterminismError, UsageError
from keepstep.loop.callbacks import check_callback, check_keywords, result_codec, unknown_options
from keepstep.loop.draws import Draws
from keepstep.loop.journal import Journal
from keepstep.loop.opened import DoOptions, Opened, OpenedDo, OpenedSleep, OpenedWait
from keepstep.model.codec import PLAIN
from keepstep.model.duration import describe_ms, duration_ms, instant_ms, to_datetime
from keepstep.model.ids import check_event_type, check_name
from keepstep.model.recorded import storable
from keepstep.model.retry import Retry, timeout_in
from keepstep.model.status import StepKind

_DO = StepKind.DO
_OPTIONS = ("retry", "timeout", "non_retryable", "journal_intent", "reconcile")


class ContinueSignal(BaseException):
    """Ends the run after ``step.continue_as_new`` (C10).

    Not an ``Exception``: ``except Exception`` does not hold it up. ``finally`` blocks run, and their steps are recorded.
    """


class Facilities:
    """What a body's step and its scopes share.

    Attributes:
        journal: the body's journal.
        definition: the workflow.
        draws: the run's randomness.
        options: of a step that names none.
        continued: encoded params of ``continue_as_new``, once it was called.
    """

    __slots__ = ("continued", "definition", "draws", "journal", "options")

    def __init__(self, journal: Journal, definition: WorkflowDefinition[Any, Any], draws: Draws) -> None:
        self.journal = journal
        self.definition = definition
        self.draws = draws
        self.options = _default_options(definition.retry, definition.timeout_ms)
        self.continued: str | None = None


class BodyStep:
    """Implements :class:`~keepstep.authoring.step.WorkflowStep` for one scope of a body.

    Args:
        facilities: shared by all scopes of the body.
        scope: the scope's path as text that keys begin with: ``""``, ``"item-42>"``.
    """

    __slots__ = ("_facilities", "_journal", "_scope")

    def __init__(self, facilities: Facilities, scope: str = "") -> None:
        self._facilities = facilities
        self._journal = facilities.journal
        self._scope = scope

    @property
    def mount(self) -> Mount | None:
        """See :meth:`keepstep.authoring.step.WorkflowStep.mount`."""
        return self._facilities.definition.mount

    # Steps

    def do(
        self,
        name: str,
        fn: Callable[..., Any] | None = None,
        /,
        *args: Any,
        retry: Retry | Mapping[str, Any] | None = None,
        timeout: timedelta | str | None = None,
        non_retryable: Sequence[type[BaseException] | str] = (),
        journal_intent: bool = False,
        reconcile: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """See :meth:`keepstep.authoring.step.WorkflowStep.do`."""
        if fn is None:
            given = dict[str, Any](
                retry=retry,
                timeout=timeout,
                non_retryable=non_retryable,
                journal_intent=journal_intent,
                reconcile=reconcile,
            )
            return self._decorator(name, given, kwargs)
        if not callable(fn) or kwargs:
            check_callback(fn, call := f"step.do({name!r})")
            check_keywords(fn, kwargs, _OPTIONS, call)
        facilities = self._facilities
        options = facilities.options
        if retry is not None or timeout is not None or non_retryable:
            options = _policy(facilities.definition, retry, timeout, non_retryable)
        if reconcile is not None or journal_intent:
            _check_intent(journal_intent, reconcile, name)
            options = options._replace(journal_intent=journal_intent, reconcile=reconcile)
        codec = result_codec(fn)
        opened = OpenedDo(self._new_step_key(_DO, name), _DO, (fn, args, kwargs), codec, options)
        return step_call(self._journal, opened)

    def _decorator(self, name: str, options: dict[str, Any], unknown: dict[str, Any]) -> _Decorator:
        if unknown:
            raise unknown_options(f"step.do({name!r})", list(unknown), _OPTIONS)
        check_name(_DO, name, self._journal.limits)
        return _Decorator(self, name, options)

    def transaction(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """See :meth:`keepstep.authoring.step.WorkflowStep.transaction`."""
        check_callback(fn, call := f"step.transaction({name!r})")
        if kwargs:
            check_keywords(fn, kwargs, (), call)
        codec = result_codec(fn)
        kind = StepKind.TRANSACTION
        opened = OpenedDo(
            self._new_step_key(kind, name), kind, (fn, args, kwargs), codec, self._facilities.options
        )
        return step_call(self._journal, opened)

    def _new_step_key(self, kind: StepKind, name: str) -> str:
        journal = self._journal
        if journal.loop.entered_by != get_ident():
            raise _used_outside(f"step.{kind}({name!r})")
        key = journal.new_key(self._scope, kind, name)
        journal.count_step(key)
        return key

    # Waiting

    def sleep(self, name: str, duration: timedelta | str) -> Coroutine[Any, Any, None]:
        """See :meth:`keepstep.authoring.step.WorkflowStep.sleep`."""
        length_ms = duration_ms(duration, f"step.sleep({name!r}): the duration")
        return self._sleep_until(name, self._journal.loop.now_ms + length_ms)

    def sleep_until(self, name: str, when: datetime) -> Coroutine[Any, Any, None]:
        """See :meth:`keepstep.authoring.step.WorkflowStep.sleep_until`."""
        return self._sleep_until(name, instant_ms(when, f"step.sleep_until({name!r}): the instant"))

    def _sleep_until(self, name: str, due_at: int) -> Coroutine[Any, Any, None]:
        journal = self._journal
        length_ms = due_at - journal.loop.now_ms
        if length_ms > journal.limits.sleep_max_ms:
            raise InvalidDurationError(
                f"the sleep {name!r} is {describe_ms(length_ms)} long; at most {describe_ms(journal.limits.sleep_max_ms)} "
                "is allowed (Limits.sleep_max)"
            )
        key = self._new_key(StepKind.SLEEP, name)
        if length_ms <= 0 and not journal.is_recorded(key):
            return _past()
        return step_call(journal, OpenedSleep(key, due_at))

    def wait_for_event(
        self,
        name: str,
        type: type[EventModel] | str,  # noqa: A002 - api.md names it
        *,
        timeout: timedelta | str | None = "24 hours",
        default: Any = UNSET,
    ) -> Any:
        """See :meth:`keepstep.authoring.step.WorkflowStep.wait_for_event`."""
        event_type = self._event_type(type)
        due_at = None if timeout is None else self._journal.loop.now_ms + self._wait_ms(name, timeout)
        model = None if isinstance(type, str) else type
        return step_call(
            self._journal, OpenedWait(self._new_key(StepKind.WAIT, name), event_type, model, due_at, default)
        )

    def _event_type(self, event: type[EventModel] | str) -> str:
        definition = self._facilities.definition
        found = event_type_of(event)
        if definition.events is not None and found not in definition.events:
            raise InvalidEventTypeError(
                f"workflow {definition.name!r} does not declare events of type {found!r}, so none can ever come; "
                f"it declares {', '.join(map(repr, definition.events)) or 'none'}"
            )
        return check_event_type(found, self._journal.limits)

    def _wait_ms(self, name: str, timeout: timedelta | str) -> int:
        limits = self._journal.limits
        timeout_ms = duration_ms(timeout, f"step.wait_for_event({name!r}): the timeout")
        if not limits.wait_min_ms <= timeout_ms <= limits.wait_max_ms:
            raise InvalidDurationError(
                f"step.wait_for_event({name!r}): the timeout {describe_ms(timeout_ms)} is not within "
                f"{describe_ms(limits.wait_min_ms)} and {describe_ms(limits.wait_max_ms)} "
                "(Limits.wait_min, wait_max); timeout=None waits for ever"
            )
        return timeout_ms

    def _new_key(self, kind: StepKind, name: str) -> str:
        journal = self._journal
        if journal.loop.entered_by != get_ident():
            raise _used_outside(f"the {kind} {name!r}")
        return journal.new_key(self._scope, kind, name)

    # What else a body may ask for

    def scope(self, name: str) -> BodyStep:
        """See :meth:`keepstep.authoring.step.WorkflowStep.scope`."""
        checked = check_name("scope", name, self._journal.limits)
        return BodyStep(self._facilities, f"{self._scope}{checked}>")

    def now(self) -> datetime:
        """See :meth:`keepstep.authoring.step.WorkflowStep.now`."""
        return to_datetime(self._journal.loop.now_ms)

    def random(self) -> Random:
        """See :meth:`keepstep.authoring.step.WorkflowStep.random`."""
        return self._facilities.draws.random(self._scope)

    def uuid4(self) -> UUID:
        """See :meth:`keepstep.authoring.step.WorkflowStep.uuid4`."""
        return self._facilities.draws.uuid4(self._scope)

    @property
    def log(self) -> BodyLog:
        """See :meth:`keepstep.authoring.step.WorkflowStep.log`."""
        return BodyLog(self._journal)

    def continue_as_new(self, params: Any) -> Never:
        """See :meth:`keepstep.authoring.step.WorkflowStep.continue_as_new`.

        Raises ``ContinueSignal``, which is no ``Exception``. Once it is called the run ends so, even if the body
        catches the signal and returns; only another exception that ends the body takes its place.
        """
        facilities = self._facilities
        limit = self._journal.limits.payload_bytes_max
        facilities.continued = facilities.definition.params_codec.encode(
            params, limit, f"the params of continue_as_new in workflow {facilities.definition.name!r}"
        )
        raise ContinueSignal


class BodyLog:
    """Implements :class:`~keepstep.authoring.step.StepLog`."""

    __slots__ = ("_journal",)

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def debug(self, message: str, /, **data: Any) -> None:
        """Log at level ``debug``."""
        self._line("debug", message, data)

    def info(self, message: str, /, **data: Any) -> None:
        """Log at level ``info``."""
        self._line("info", message, data)

    def warning(self, message: str, /, **data: Any) -> None:
        """Log at level ``warning``."""
        self._line("warning", message, data)

    def error(self, message: str, /, **data: Any) -> None:
        """Log at level ``error``."""
        self._line("error", message, data)

    def _line(self, level: str, message: str, data: dict[str, Any]) -> None:
        if not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"step.log.{level} takes a text, and data as keyword arguments; not {message!r}")
        limit = self._journal.limits.payload_bytes_max
        encoded = PLAIN.encode(data, limit, f"the data of step.log.{level}") if data else None
        self._journal.log(level, storable(message), encoded)  # what a page says may never end a run


class _Decorator:
    """What ``step.do("name")`` without a function is."""

    __slots__ = ("_name", "_options", "_step")

    def __init__(self, step: BodyStep, name: str, options: dict[str, Any]) -> None:
        self._step = step
        self._name = name
        self._options = options

    def __call__(self, fn: Callable[..., Any], /) -> _LocalStep:
        """A function that does ``fn`` as a step each time it is called and awaited."""
        check_callback(fn, f"step.do({self._name!r})")
        return _LocalStep(self._step, self._name, fn, self._options)

    def __await__(self) -> Never:
        raise UsageError(
            f"step.do({self._name!r}) was awaited without a function: "
            f"`await step.do({self._name!r}, fn, argument)`, or decorate a function with it"
        )


class _LocalStep:
    """What a function that is decorated with ``@step.do("name")`` becomes; made anew in every replay, so it is light."""

    __slots__ = ("__wrapped__", "_name", "_options", "_step")

    def __init__(self, step: BodyStep, name: str, fn: Callable[..., Any], options: dict[str, Any]) -> None:
        self._step = step
        self._name = name
        self._options = options
        self.__wrapped__ = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Do the function as a step."""
        for name in kwargs:
            if name in _OPTIONS:
                raise UsageError(
                    f"{name} is an option of step.do: give it to the decorator, @step.do(…, {name}=…)"
                )
        return self._step.do(self._name, self.__wrapped__, *args, **self._options, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __repr__(self) -> str:
        return f"<step {self._name!r}: {self.__wrapped__!r}>"


async def step_call(journal: Journal, opened: Opened) -> Any:
    """Open a command and wait for its resolution (Python names this in a warning if it is never awaited); when the body stops waiting, the command is closed."""
    future = journal.open(opened)
    try:
        return await future
    except BaseException:
        journal.close(opened)
        raise


async def _past() -> None:
    """A sleep until an instant that is past (D1)."""


@lru_cache(maxsize=1024)
def _default_options(retry: Retry, timeout_ms: int) -> DoOptions:
    return DoOptions(retry, timeout_ms)


def _policy(
    definition: WorkflowDefinition[Any, Any],
    retry: Retry | Mapping[str, Any] | None,
    timeout: timedelta | str | None,
    non_retryable: Sequence[type[BaseException] | str],
) -> DoOptions:
    """The policy in force: the call's, else the workflow's, which has the engine's where it says nothing (C4)."""
    policy = Retry.of(retry, definition.retry)
    if timeout is None:
        timeout = timeout_in(retry)
    timeout_ms = definition.timeout_ms if timeout is None else duration_ms(timeout, "timeout")
    if timeout_ms == 0:
        raise InvalidDurationError("timeout must be longer than 0")
    if non_retryable:
        more = (non_retryable,) if isinstance(non_retryable, (type, str)) else non_retryable
        policy = replace(policy, non_retryable=(*policy.non_retryable, *more))
    return DoOptions(policy, timeout_ms)


def _check_intent(journal_intent: object, reconcile: object, name: str) -> None:
    if not isinstance(journal_intent, bool):
        raise UsageError(f"step.do({name!r}): journal_intent must be True or False, not {journal_intent!r}")
    if reconcile is None:
        return
    if not callable(reconcile):
        raise UsageError(f"step.do({name!r}): reconcile must be a function, not {reconcile!r}")
    if not journal_intent:
        raise UsageError(
            f"step.do({name!r}): reconcile is called when an intent is found; add journal_intent=True (B8)"
        )


def _used_outside(what: str) -> NondeterminismError:
    return NondeterminismError(
        f"{what} was called outside the workflow body, in a step's callback or another thread for instance. "
        "Steps are asked for in the body; a callback returns a result"
    )
