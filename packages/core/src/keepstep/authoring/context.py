"""What a step's callback can ask for while it runs: its attempt, its keys, and writes that join its boundary (C8)."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args

from keepstep.authoring.mount import Mount
from keepstep.errors import UsageError
from keepstep.model.duration import instant_ms
from keepstep.model.ids import check_hook_key, check_instance_id, new_instance_id
from keepstep.model.limits import Limits

if TYPE_CHECKING:
    from keepstep.authoring.definition import WorkflowDefinition, WorkflowEntrypoint
    from keepstep.authoring.hooks import HookDefinition
    from keepstep.authoring.registry import Registry

P = TypeVar("P")

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class Written(NamedTuple):
    """A buffered statement of the user's."""

    statement: Any
    parameters: Parameters | None


class Triggered(NamedTuple):
    """A buffered call of a hook; ``payload`` is encoded."""

    hook: HookDefinition[Any]
    payload: str
    due_at: int | None
    key: str | None


class Created(NamedTuple):
    """A buffered new instance; ``params`` is encoded."""

    workflow: WorkflowDefinition[Any, Any]
    instance_id: str
    params: str


StepWrite = Written | Triggered | Created


class StepTx:
    """Writes of one attempt, kept until its boundary and committed with it, or dropped when it fails (C8).

    Args:
        mount: the fragment of the step's workflow.
        registry: the workflows that can be created.
        limits: C10.
        seed: of ids for instances that are created without one: equal for all attempts.

    Attributes:
        writes: what was asked for so far, in order.
    """

    __slots__ = ("_limits", "_mount", "_registry", "_seed", "writes")

    def __init__(
        self,
        mount: Mount | None = None,
        registry: Registry | None = None,
        limits: Limits = Limits(),  # noqa: B008  # frozen
        seed: str = "",
    ) -> None:
        self._mount = mount
        self._registry = registry
        self._limits = limits
        self._seed = seed
        self.writes: list[StepWrite] = []

    @property
    def makes_work(self) -> bool:
        """Whether runners have something to do once this has committed."""
        return any(not isinstance(each, Written) for each in self.writes)

    def execute(self, statement: Any, parameters: Parameters | None = None) -> None:
        """Write with the step's boundary: nothing happens now, and there is no result to read.

        Args:
            statement: a SQLAlchemy Core statement: insert, update, delete or text.
            parameters: for its bind parameters; a sequence of them executes it once for each.
        """
        own = statement if self._mount is None else self._mount.rewritten(statement)
        self.writes.append(Written(own, parameters))

    def trigger_hook(
        self, hook: HookDefinition[P], payload: P, *, at: datetime | None = None, key: str | None = None
    ) -> None:
        """Have a hook called after the step's boundary has committed, at least once (F1).

        Args:
            hook: of the workflow's fragment, or of one that it uses.
            payload: a value of the hook's annotated type.
            at: not before this instant; None = at once.
            key: collapses duplicates that are pending.

        Raises:
            UsageError: the workflow is in no fragment, or its fragment does not use the hook's.
            HookPayloadError, SerializationError, PayloadTooLargeError: the payload cannot be stored.
            InvalidInputError: the key is not text of 1 to 256 characters.
        """
        if self._mount is None:
            raise UsageError(
                f"{hook!r} was triggered by a workflow outside fragments: hooks belong to fragments"
            )
        found, due_at = (
            self._mount.hook(hook),
            None if at is None else instant_ms(at, "the instant of a hook"),
        )
        self.writes.append(Triggered(found, found.encode(payload, self._limits), due_at, check_hook_key(key)))

    def create(
        self,
        workflow: WorkflowDefinition[P, Any] | type[WorkflowEntrypoint[P, Any]],
        id: str | None = None,  # noqa: A002  # `id` is what callers say
        params: P | None = None,
    ) -> str:
        """Begin an instance with the step's boundary.

        An instance that exists already ends the step like a non-retryable error.

        Args:
            workflow: of this app; within a fragment of it, or of one that it uses.
            id: unique per workflow; None = one that is the same for all attempts of the step.
            params: a value of the workflow's params type.

        Returns:
            The instance's id.

        Raises:
            InvalidInstanceIdError: the id breaks C10.
            WorkflowNotFoundError: the workflow is not registered.
            WorkflowParamsError, SerializationError, PayloadTooLargeError: the params cannot be stored.
        """
        from keepstep.authoring.definition import definition_of  # noqa: PLC0415  # it needs this module

        definition = definition_of(workflow)
        if self._mount is not None:
            definition = self._mount.workflow(definition)
        elif self._registry is not None:
            definition = self._registry.own(definition)
        given = self._next_id() if id is None else check_instance_id(id, self._limits)
        self.writes.append(Created(definition, given, definition.encode_params(params, self._limits)))
        return given

    def _next_id(self) -> str:
        digest = hashlib.sha256(f"{self._seed}/{len(self.writes)}".encode()).digest()
        return new_instance_id(int.from_bytes(digest[:8]), int.from_bytes(digest[8:]))


@dataclass(frozen=True, slots=True)
class StepContext:
    """One attempt of a step. A callback's parameter annotated ``StepContext`` is filled in with it.

    Attributes:
        attempt: which attempt this is, from 1.
        step_key: the step's key within the run (C1).
        instance_id: the instance.
        workflow_name: its workflow.
        run_number: its run.
        tx: writes, hooks and new instances that commit with the step's result (C8).
        mount: the fragment in which the workflow is mounted; ``fragment.config(context)`` reads it.
    """

    attempt: int
    step_key: str
    instance_id: str
    workflow_name: str
    run_number: int
    tx: StepTx = field(default_factory=StepTx, compare=False, repr=False)
    mount: Mount | None = field(default=None, compare=False, repr=False)

    @property
    def idempotency_key(self) -> str:
        """Names the step to outside services: the same for all its attempts and after takeovers (B8)."""
        return f"{self.workflow_name}/{self.instance_id}/{self.run_number}/{self.step_key}"


ContextSource = Callable[[], StepContext]
"""Gives an attempt's context, the same at each call. Few callbacks ask for theirs, so it is made when one does."""

_WORD = re.compile(r"\bStepContext\b")
_CURRENT: ContextVar[ContextSource] = ContextVar("keepstep_step_context")


def enter_step(source: ContextSource) -> None:
    """Make ``source`` what :func:`step_context` asks, from here to the end of the current task; for the engine."""
    _CURRENT.set(source)


class entered_step:  # noqa: N801  # reads as a call: with entered_step(context)
    """Make ``context`` what :func:`step_context` returns, in the code inside; for the engine.

    Args:
        context: of the attempt.
    """

    __slots__ = ("_context", "_token")

    def __init__(self, context: StepContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = _CURRENT.set(lambda: self._context)

    def __exit__(self, *_: object) -> None:
        _CURRENT.reset(self._token)


def step_context() -> StepContext:
    """The context of the step whose callback is running.

    Raises:
        UsageError: no step's callback is running here.
    """
    try:
        return _CURRENT.get()()
    except LookupError:
        raise UsageError(
            "step_context() was called outside a step: it works in code called by step.do(…)"
        ) from None


def context_parameter(fn: Callable[..., Any]) -> str | None:
    """The name of the parameter that is annotated ``StepContext``, or None."""
    if type(fn) is FunctionType:
        nested = fn.__code__.co_flags & inspect.CO_NESTED  # a local function is a new one at every replay
        return _annotated(fn) if nested else _annotated_once(fn)
    if isinstance(fn, functools.partial):
        name = context_parameter(fn.func)
        return None if name in fn.keywords else name
    function = _function(fn)
    return None if function is None else _annotated(function)


def _annotated(function: FunctionType) -> str | None:
    for name, annotation in function.__annotations__.items():
        if type(annotation) is type and annotation is not StepContext:
            continue  # by far the most
        if name != "return" and _is_context(annotation, function):
            return name
    return None


def with_context(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], source: ContextSource
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of ``fn``, with the context in its place when a parameter asks for it and the caller left it out."""
    name = context_parameter(fn)
    if name is None or name in kwargs:
        return args, kwargs
    at = _position(fn, name)
    if at is None or at > len(args):
        return args, {**kwargs, name: source()}
    return (*args[:at], source(), *args[at:]), kwargs


def _is_context(annotation: Any, function: FunctionType) -> bool:
    """Whether an annotation is ``StepContext``, or that or None; text is recognised by its words, not evaluated."""
    if isinstance(annotation, str):
        named = "StepContext" in annotation and _WORD.search(annotation) is not None
        return named or function.__globals__.get(annotation) is StepContext
    return annotation is StepContext or StepContext in get_args(annotation)


_annotated_once = functools.lru_cache(maxsize=4096)(_annotated)


def _function(fn: Callable[..., Any]) -> FunctionType | None:
    found: Any = getattr(fn, "__func__", fn)
    if not isinstance(found, FunctionType):
        found = getattr(type(fn), "__call__", None)  # noqa: B004 (a callable object: its class has the annotations)
    return found if isinstance(found, FunctionType) else None


def _position(fn: Callable[..., Any], name: str) -> int | None:
    """Where in the positional arguments that a caller gives ``name`` stands; None if it is keyword-only."""
    given = 0
    while isinstance(fn, functools.partial):
        given += len(fn.args)
        fn = fn.func
    function = _function(fn)
    if function is None:
        return None
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    if name not in names:
        return None
    bound = 0 if function is fn else 1
    return max(names.index(name) - bound - given, 0)
