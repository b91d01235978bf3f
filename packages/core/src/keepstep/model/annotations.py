"""What a callback says it returns: its annotation, read at run time (C3). Nothing here knows how values are stored."""

from __future__ import annotations

import collections.abc
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from types import CodeType, FunctionType
from typing import (
    Any,
    Final,
    ForwardRef,
    Literal,
    Never,
    NoReturn,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from keepstep.errors import UsageError

MISSING: Final = object()
"""There is no annotation."""
_AWAITABLES = frozenset({Awaitable, Coroutine})


def return_annotation(fn: Callable[..., Any]) -> Any:
    """The annotation of what ``fn`` returns once awaited, or ``MISSING``.

    Text annotations (``from __future__ import annotations``) are resolved in the function's module, and in the
    variables that a local function closes over.

    Raises:
        UsageError: a name in it cannot be resolved.
    """
    function = _function(fn)
    if isinstance(function, type):
        return function
    if function is None:
        return MISSING
    return _awaited(resolved(function, function.__annotations__.get("return", MISSING), "return annotation"))


def _function(fn: Any) -> FunctionType | type[Any] | None:
    """The Python function behind partials, methods, wrappers and callable objects."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, type):
        return fn
    fn = inspect.unwrap(getattr(fn, "__func__", fn))
    if isinstance(fn, FunctionType):
        return fn
    call = inspect.unwrap(getattr(cast("object", type(fn)), "__call__", fn))  # noqa: B004 (a callable object: its class has the annotation)
    return call if isinstance(call, FunctionType) else None


def resolved(function: FunctionType, annotation: Any, what: str) -> Any:
    """An annotation of ``function`` with its names looked up, where they are text.

    Args:
        function: whose module and closed-over variables have the names.
        annotation: as written, or ``MISSING``.
        what: names the annotation in the error.

    Raises:
        UsageError: a name cannot be resolved.
    """
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation
    try:
        if isinstance(annotation, str):
            # What stands in the user's own source, as typing.get_type_hints evaluates it.
            annotation = eval(_compiled(annotation), function.__globals__, _closure(function))  # noqa: S307
        return _without_text(annotation, function) if _has_text(annotation) else annotation
    except Exception as error:
        raise UsageError(
            f"the {what} {annotation!r} of {function.__qualname__} cannot be resolved ({type(error).__name__}: {error}): "
            "its names must be defined in the module, not under TYPE_CHECKING, or be used by the function itself"
        ) from error


def _without_text(annotation: Any, function: FunctionType) -> Any:
    holder = type("Holder", (), {"__annotations__": {"it": annotation}})
    return get_type_hints(holder, function.__globals__, _closure(function), include_extras=True)["it"]


@functools.lru_cache(maxsize=4096)
def _compiled(text: str) -> CodeType:
    return compile(text.strip(), "<annotation>", "eval")


def _closure(function: FunctionType) -> dict[str, Any]:
    names = function.__code__.co_freevars
    if not names:
        return {}
    found: dict[str, Any] = {}
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _has_text(annotation: Any) -> bool:
    """Whether names inside an annotation are still text, as in ``list["Order"]``."""
    if isinstance(annotation, (str, ForwardRef)):
        return True
    if get_origin(annotation) is Literal:
        return False
    return any(map(_has_text, get_args(annotation)))


def _awaited(annotation: Any) -> Any:
    """The result of ``Awaitable[T]`` and ``Coroutine[…, T]``; no result and no promise are no annotation."""
    origin = get_origin(annotation)
    if origin in _AWAITABLES or origin is collections.abc.Coroutine:
        return _awaited(get_args(annotation)[-1])
    return MISSING if annotation in (Any, object, Never, NoReturn) else annotation
