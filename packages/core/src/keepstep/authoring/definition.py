"""Workflow definitions: a decorated function, or a class, becomes a name, codecs and policies (C4, C10, D6).

Everything that can be wrong with a definition is said where it is written, at import time.
"""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    Protocol,
    Self,
    TypeVar,
    cast,
    get_args,
    get_origin,
    overload,
)

from keepstep.authoring.events import EventModel, WorkflowEvent
from keepstep.authoring.mount import Mount
from keepstep.authoring.step import RetryOption, TimeoutOption, WorkflowStep
from keepstep.errors import InvalidDurationError, InvalidNameError, UsageError, WorkflowParamsError
from keepstep.model.annotations import MISSING, resolved
from keepstep.model.change import ChangeKind
from keepstep.model.codec import Codec, codec_for, params_codec, return_codec
from keepstep.model.duration import duration_ms
from keepstep.model.ids import check_workflow_name
from keepstep.model.limits import Limits
from keepstep.model.retry import Retry, timeout_in

if TYPE_CHECKING:
    from keepstep.authoring.registry import Bindings
    from keepstep.client.binding import Binding

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")

DEFAULT_TIMEOUT_MS = 10 * 60_000
"""The engine's limit of one attempt (C4)."""


@dataclass(frozen=True, eq=False, repr=False)
class WorkflowDefinition(Generic[P, R]):
    """A workflow as the engine sees it. Made by :func:`workflow` or a :class:`WorkflowEntrypoint`.

    Attributes:
        name: stored with every instance; never change it.
        version: stored with every run.
        fn: the body: ``fn(event, step)`` gives a coroutine.
        params_codec: of ``P``.
        result_codec: of ``R``.
        retry: the workflow's default policy (C4).
        timeout_ms: the workflow's default limit of one attempt.
        events: event models by type, or None when the workflow does not declare its events (D6).
        mount: the fragment in which it is mounted; None for what its author wrote, and outside fragments.
        changes: the kinds of change events that the app publishes of it (F3).
    """

    name: str
    version: int
    fn: Callable[[WorkflowEvent[P], WorkflowStep], Coroutine[Any, Any, R]]
    params_codec: Codec
    result_codec: Codec
    retry: Retry
    timeout_ms: int
    events: Mapping[str, type[EventModel]] | None = None
    mount: Mount | None = None
    changes: frozenset[ChangeKind] = frozenset()

    def run(self, event: WorkflowEvent[P], step: WorkflowStep) -> Coroutine[Any, Any, R]:
        """A new coroutine of the body."""
        return self.fn(event, step)

    def encode_params(self, params: Any, limits: Limits) -> str:
        """Check params against the workflow's annotation, and encode them.

        Args:
            params: a value of the annotated type, or data that fits it.
            limits: for the size (C10).

        Raises:
            WorkflowParamsError: they do not fit; ``issues`` lists why.
            SerializationError: they cannot be stored as what they are (C3).
            PayloadTooLargeError: they are larger than the limit.
        """
        what = f"the params of workflow {self.name!r}"
        value = self.params_codec.validate(params, WorkflowParamsError, what)
        return self.params_codec.encode(value, limits.payload_bytes_max, what)

    def __repr__(self) -> str:
        return f"<workflow {self.name!r} version {self.version}>"

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, instance: Bindings, owner: type | None = None) -> Binding[P, R]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Self: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> Any:
        """In a ``Bindings`` class: the workflow's binding in the app that the instance belongs to."""
        bind = getattr(instance, "_bind", None)
        return self if bind is None else bind(self)


class WorkflowDecorator(Protocol):
    """What ``@workflow(…)`` is."""

    def __call__(
        self, fn: Callable[[WorkflowEvent[P], WorkflowStep], Coroutine[Any, Any, R]], /
    ) -> WorkflowDefinition[P, R]:
        """The definition of the body ``fn``."""
        ...


def workflow(
    wrongly: None = None,
    /,
    *,
    name: str = "",
    version: int = 1,
    retry: RetryOption = None,
    timeout: TimeoutOption = None,
    events: Iterable[type[EventModel]] | None = None,
) -> WorkflowDecorator:
    """Make an ``async def body(event: WorkflowEvent[P], step: WorkflowStep) -> R`` a workflow.

    Args:
        wrongly: nothing; catches ``@workflow`` without parentheses.
        name: stored with every instance: 1–64 of ``a-z A-Z 0-9 _ -`` (C10).
        version: 1 or more; an instance keeps the version it was created with.
        retry: default policy of its steps (C4).
        timeout: default limit of an attempt of its steps; None = 10 minutes.
        events: the event models it takes; others are refused. None = any (D6).

    Raises:
        UsageError: anything of this is wrong, or the body is not as above.
    """
    if wrongly is not None or not name:
        raise UsageError('a workflow needs a name: write @workflow(name="order-approval")')

    def decorate(fn: Callable[[WorkflowEvent[Any], WorkflowStep], Coroutine[Any, Any, Any]]) -> Any:
        function = _checked_body(fn, f"workflow {name!r}", given=2)
        params = params_codec(_payload_annotation(function, 0))
        return _define(_Options(name, version, retry, timeout, events), fn, params, return_codec(fn))

    return decorate


class _Options(NamedTuple):
    """What ``@workflow`` and a class entrypoint's attributes say alike."""

    name: str
    version: int
    retry: RetryOption
    timeout: TimeoutOption
    events: Iterable[type[EventModel]] | None


def _define(
    options: _Options, fn: Callable[..., Any], params: Codec, result: Codec
) -> WorkflowDefinition[Any, Any]:
    name, version, retry, timeout, events = options
    try:
        check_workflow_name(name)
    except InvalidNameError as error:
        raise UsageError(str(error)) from error
    if type(version) is not int or version < 1:
        raise UsageError(f"the version of workflow {name!r} must be an integer of 1 or more, not {version!r}")
    try:
        policy = Retry.of(retry)
        limit = timeout if timeout is not None else timeout_in(retry)
        timeout_ms = DEFAULT_TIMEOUT_MS if limit is None else duration_ms(limit, "timeout")
    except (UsageError, InvalidDurationError) as error:
        raise UsageError(f"workflow {name!r}: {error}") from error
    declared = None if events is None else _events_by_type(name, events)
    return WorkflowDefinition(name, version, fn, params, result, policy, timeout_ms, declared)


def _events_by_type(workflow_name: str, events: Iterable[type[EventModel]]) -> Mapping[str, type[EventModel]]:
    if not isinstance(events, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            f"events of workflow {workflow_name!r} must be a list of EventModel classes, not {events!r}"
        )
    found: dict[str, type[EventModel]] = {}
    for model in events:
        if not (isinstance(model, type) and issubclass(model, EventModel) and model.__event_type__):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                f"events of workflow {workflow_name!r} must be EventModel classes, not {model!r}"
            )
        if found.setdefault(model.__event_type__, model) is not model:
            raise UsageError(
                f"workflow {workflow_name!r} declares two events of type {model.__event_type__!r}"
            )
    return found


def _checked_body(fn: object, subject: str, given: int) -> FunctionType:
    """The body's function, if it is ``async def`` and takes ``given`` positional arguments."""
    if isinstance(fn, type):
        raise UsageError(
            f"{subject}: {fn.__name__} is a class; derive it from WorkflowEntrypoint instead of decorating it"
        )
    if not isinstance(fn, FunctionType) or fn.__name__ == "<lambda>":
        raise UsageError(f"{subject}: its body must be an async def function, not {fn!r}")
    shown = f"{subject}: its body {fn.__qualname__}"
    if inspect.isasyncgenfunction(fn):
        raise UsageError(f"{shown} is an async generator; remove its yield: a body returns its result")
    if not inspect.iscoroutinefunction(fn):
        raise UsageError(f"{shown} must be async: write async def {fn.__name__}(event, step)")
    taken = inspect.signature(fn).parameters.values()
    positional = [each for each in taken if each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}]
    if len(positional) != given or len(taken) != given:
        expected = "(event, step)" if given == 2 else "(self, event, step)"
        raise UsageError(f"{shown} takes {inspect.signature(fn)}; it must take {expected}")
    return fn


def _payload_annotation(function: FunctionType, position: int) -> Any:
    """``P`` of the event parameter's ``WorkflowEvent[P]``; ``Any`` without an annotation."""
    name = function.__code__.co_varnames[position]
    annotation = resolved(function, function.__annotations__.get(name, MISSING), f"annotation of {name!r}")
    if annotation is MISSING or annotation is WorkflowEvent or annotation is Any:
        return Any
    if get_origin(annotation) is not WorkflowEvent:
        raise UsageError(
            f"{function.__qualname__}: annotate {name!r} as WorkflowEvent[…], not {annotation!r}"
        )
    return get_args(annotation)[0]


class _EntrypointType(ABCMeta):
    """Makes a class entrypoint work as an attribute of a ``Bindings`` class, as a definition does."""

    @overload
    def __get__(
        cls: type[WorkflowEntrypoint[P, R]], instance: Bindings, owner: type | None = None
    ) -> Binding[P, R]: ...
    @overload
    def __get__(cls: T, instance: object, owner: type | None = None) -> T: ...
    def __get__(cls, instance: object | None, owner: type | None = None) -> Any:
        bind = getattr(instance, "_bind", None)
        return cls if bind is None else bind(definition_of(cast("Any", cls)))


class WorkflowEntrypoint(Generic[P, R], metaclass=_EntrypointType):
    """The class form of a workflow; each replay runs on a new instance, made without arguments.

    ``class OrderApproval(WorkflowEntrypoint[Order, Receipt])`` with a ``name`` and ``async def run(self, event, step)``.
    A class without a ``name`` of its own is a base for others.

    Attributes:
        name: as in :func:`workflow`; so are the others.

    Raises:
        UsageError: at class creation, when the definition is wrong.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    retry: ClassVar[RetryOption] = None
    timeout: ClassVar[TimeoutOption] = None
    events: ClassVar[Iterable[type[EventModel]] | None] = None
    __definition__: ClassVar[WorkflowDefinition[Any, Any] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__definition__ = _define_class(cast("Any", cls)) if "name" in cls.__dict__ else None

    async def run(self, event: WorkflowEvent[P], step: WorkflowStep) -> R:
        """The body."""
        raise NotImplementedError


def definition_of(
    workflow: WorkflowDefinition[P, R] | type[WorkflowEntrypoint[P, R]],
) -> WorkflowDefinition[P, R]:
    """The definition of a decorated function or a class entrypoint.

    Raises:
        UsageError: it is neither, or a class without a ``name``.
    """
    if isinstance(workflow, WorkflowDefinition):
        return workflow
    if not isinstance(workflow, type) or not issubclass(workflow, WorkflowEntrypoint):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            f"{workflow!r} is no workflow: decorate it with @workflow or derive it from WorkflowEntrypoint"
        )
    definition = workflow.__definition__
    if definition is None:
        raise UsageError(f"class {workflow.__qualname__} is no workflow yet: it has no name of its own")
    return definition


def _define_class(cls: Any) -> WorkflowDefinition[Any, Any]:
    subject = f"class {cls.__qualname__}"
    run = cls.run
    if run is vars(WorkflowEntrypoint)["run"]:
        raise UsageError(f"{subject} has no body: write async def run(self, event, step)")
    function = _checked_body(run, subject, given=3)
    required = [each for each in inspect.signature(cls).parameters.values() if each.default is each.empty]
    if any(each.kind not in {each.VAR_POSITIONAL, each.VAR_KEYWORD} for each in required):
        raise UsageError(f"{subject}: its __init__ must not need arguments; a replay makes a new instance")
    params, result = (
        resolved(function, each, "type argument") for each in _type_arguments(cast("type", cls))
    )

    def body(event: WorkflowEvent[Any], step: WorkflowStep) -> Coroutine[Any, Any, Any]:
        return cls().run(event, step)

    return _define(
        _Options(cls.name, cls.version, cls.retry, cls.timeout, cls.events),
        body,
        params_codec(_payload_annotation(function, 1) if params is MISSING else params),
        return_codec(run) if result is MISSING else codec_for(result),
    )


def _type_arguments(cls: type) -> tuple[Any, Any]:
    """What a class and its bases give for ``P`` and ``R``; ``MISSING`` where nothing is given."""
    for base in cls.__dict__.get("__orig_bases__", cls.__bases__):
        origin: Any = get_origin(base) or base
        if origin is WorkflowEntrypoint:
            return get_args(base) or (MISSING, MISSING)
        if isinstance(origin, type) and issubclass(origin, WorkflowEntrypoint):
            generic = cast("Any", origin)
            given = dict(zip(generic.__parameters__, get_args(base), strict=False))
            params, result = _type_arguments(generic)
            return _filled_in(params, given), _filled_in(result, given)
    return MISSING, MISSING


def _filled_in(annotation: Any, given: Mapping[Any, Any]) -> Any:
    """``annotation`` with its type variables replaced, as ``list[T]`` by ``list[int]``."""
    if isinstance(annotation, TypeVar):
        return given.get(annotation, MISSING)
    variables = getattr(annotation, "__parameters__", ())
    return annotation[tuple(given.get(each, Any) for each in variables)] if variables else annotation
