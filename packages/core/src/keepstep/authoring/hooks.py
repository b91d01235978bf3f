"""Hooks: functions of a fragment that are called after a commit, at least once (F1, F2). Nothing here runs them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import FunctionType
from typing import Any, Concatenate, Final, Generic, NamedTuple, ParamSpec, TypeVar

from keepstep.authoring.mount import Mount
from keepstep.authoring.step import RetryOption, TimeoutOption
from keepstep.authoring.trace import NO_TRACE
from keepstep.errors import HookPayloadError, InvalidDurationError, InvalidNameError, UsageError
from keepstep.model.annotations import MISSING, resolved
from keepstep.model.codec import Codec, params_codec
from keepstep.model.duration import duration_ms
from keepstep.model.ids import check_hook_name
from keepstep.model.limits import Limits
from keepstep.model.retry import Retry, timeout_in

P = TypeVar("P")
A = ParamSpec("A")
R = TypeVar("R")

HOOK_RETRY: Final = Retry(max_attempts=20, delay="10 seconds", coefficient=1.56, jitter=0.1)
"""The policy of a hook that names none: 20 attempts over about a day (F1)."""
HOOK_TIMEOUT_MS: Final = 5 * 60_000
"""The limit of one delivery of a hook that names none."""


@dataclass(frozen=True, slots=True)
class HookContext:
    """One delivery of a hook; its first argument (F2).

    Attributes:
        id: the row's id: equal for all attempts of one trigger.
        name: the hook's stored name.
        attempt: which attempt this is, from 1.
        created_at: when it was triggered, UTC.
        key: the key under which duplicates collapse, or None.
        trace: W3C trace context (``traceparent``, ``tracestate``) of the code that triggered it.
        mount: the mounted fragment.
    """

    id: str
    name: str
    attempt: int
    created_at: datetime
    key: str | None = None
    trace: Mapping[str, str] = field(default_factory=lambda: NO_TRACE)
    mount: Mount | None = field(default=None, compare=False, repr=False)

    @property
    def idempotency_key(self) -> str:
        """Names this trigger to outside services: the same for all its attempts."""
        return f"{self.name}/{self.id}"

    async def call(self, fn: Callable[Concatenate[Any, A], R], /, *args: A.args, **kwargs: A.kwargs) -> R:
        """Call a service, or any ``fn(tx, …)``, in a transaction of the engine's own.

        Raises:
            UsageError: the context was made by hand, without a fragment.
        """
        if self.mount is None:
            raise UsageError("this HookContext stands in no mounted fragment")
        return await self.mount.call(fn, *args, **kwargs)


@dataclass(frozen=True, eq=False, repr=False)
class HookDefinition(Generic[P]):
    """A hook as the engine sees it. Made by ``Fragment.hook``.

    Attributes:
        name: stored with every row; the fragment's prefix is added where it is mounted.
        fn: ``fn(context, payload)``, sync or async.
        codec: of ``P``.
        retry: when a failed delivery is tried again.
        timeout_ms: the limit of one delivery.
        concurrency: how many deliveries of it one process makes at once; None = most of what the runner has room for.
        mount: where it is mounted; None for what its author wrote.
    """

    name: str
    fn: Callable[[HookContext, P], Any]
    codec: Codec
    retry: Retry
    timeout_ms: int
    concurrency: int | None = None
    mount: Mount | None = None

    def __repr__(self) -> str:
        return f"<hook {self.name!r}>"

    def encode(self, payload: P, limits: Limits) -> str:
        """Check a payload against the hook's annotation, and encode it.

        Raises:
            HookPayloadError: it does not fit; ``issues`` lists why.
            SerializationError: it cannot be stored as what it is.
            PayloadTooLargeError: it is larger than the limit.
        """
        what = f"the payload of hook {self.name!r}"
        value = self.codec.validate(payload, HookPayloadError, what)
        return self.codec.encode(value, limits.payload_bytes_max, what)


class HookOptions(NamedTuple):
    """What ``Fragment.hook`` takes."""

    name: str | None = None
    retry: RetryOption = None
    timeout: TimeoutOption = None
    concurrency: int | None = None


def define_hook(fn: Callable[[HookContext, P], Any], options: HookOptions) -> HookDefinition[P]:
    """Make a function a hook.

    Args:
        fn: ``fn(context, payload)``.
        options: its name is the function's unless one is given.

    Raises:
        UsageError: the function does not take a context and a payload, or an option is wrong.
    """
    name = options.name or getattr(fn, "__name__", "")
    function = _checked(fn, name)
    annotation = function.__annotations__.get(function.__code__.co_varnames[1], MISSING)
    payload = resolved(function, annotation, "annotation of the payload")
    try:
        check_hook_name(name)
        retry = HOOK_RETRY if options.retry is None else Retry.of(options.retry, HOOK_RETRY)
        limit = options.timeout if options.timeout is not None else timeout_in(options.retry)
        timeout_ms = HOOK_TIMEOUT_MS if limit is None else duration_ms(limit, "timeout")
    except (UsageError, InvalidDurationError, InvalidNameError) as error:
        raise UsageError(f"hook {name!r}: {error}") from error
    most = options.concurrency
    if most is not None and (type(most) is not int or most < 1):
        raise UsageError(f"hook {name!r}: concurrency must be an integer of 1 or more, not {most!r}")
    return HookDefinition(name, fn, params_codec(payload), retry, timeout_ms, most)


def _checked(fn: object, name: str) -> FunctionType:
    if not isinstance(fn, FunctionType) or inspect.isasyncgenfunction(fn):
        raise UsageError(f"hook {name!r} must be a function, def or async def, not {fn!r}")
    if fn.__code__.co_argcount != 2 or fn.__code__.co_kwonlyargcount:
        raise UsageError(f"hook {name!r} takes {inspect.signature(fn)}; it must take (context, payload)")
    return fn
