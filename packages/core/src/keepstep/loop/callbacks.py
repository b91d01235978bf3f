"""What a step's callback must be, and the codec of its result, looked up without reading signatures again (C3)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import lru_cache
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from keepstep.errors import UsageError
from keepstep.model.annotations import MISSING
from keepstep.model.codec import Codec, codec_for, return_codec

_CODECS: WeakKeyDictionary[Callable[..., Any], Codec] = WeakKeyDictionary()
_codec_once = lru_cache(maxsize=4096)(return_codec)
_TAKES_ANY_KEYWORD = inspect.CO_VARKEYWORDS


def check_callback(fn: object, call: str) -> None:
    """Refuse what cannot be called as a step.

    Raises:
        UsageError: it is not callable; the message shows how ``call`` is written.
    """
    if callable(fn):
        return
    if isinstance(fn, Coroutine):
        fn.close()
        raise UsageError(
            f"{call} was given a coroutine that is started already; pass the function and its arguments: "
            f"`await {call[:-1]}, fn, argument)`"
        )
    raise UsageError(f"{call} needs a function to call, not {fn!r}: `await {call[:-1]}, fn, argument)`")


def check_keywords(
    fn: Callable[..., Any], names: dict[str, Any], options: tuple[str, ...], call: str
) -> None:
    """Refuse keyword arguments that the callback has no parameter for: they are misspelt options, most likely.

    Raises:
        UsageError: the message lists the options.
    """
    function: Any = getattr(fn, "__func__", fn)
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        return
    code = function.__code__
    if code.co_flags & _TAKES_ANY_KEYWORD:
        return
    taken = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
    unknown = [name for name in names if name not in taken]
    if unknown:
        raise unknown_options(call, unknown, options, f"{function.__qualname__} has no such parameter either")


def unknown_options(call: str, unknown: list[str], options: tuple[str, ...], also: str = "") -> UsageError:
    """The error for options that do not exist."""
    known = f"known are {', '.join(options)}" if options else "it has none"
    return UsageError(
        f"{call} has no option {', '.join(map(repr, unknown))}: {known}{'; ' if also else ''}{also}"
    )


def result_codec(fn: Callable[..., Any]) -> Codec:
    """The codec of what a callback returns (C3).

    Raises:
        UsageError: its return annotation cannot be resolved or stored.
    """
    if type(fn) is FunctionType and not fn.__dict__:
        if not fn.__code__.co_flags & inspect.CO_NESTED:
            return _codec_once(fn)
        annotation = fn.__annotations__.get("return", MISSING)
        if issubclass(type(annotation), type) or annotation is None or annotation is MISSING:
            return codec_for(annotation)
        return return_codec(fn)  # a local function is a new one at every replay: no cache would find it
    try:
        found = _CODECS.get(fn)
    except TypeError:  # not hashable, or takes no weak reference
        return return_codec(fn)
    if found is None:
        found = return_codec(fn)
        with suppress(TypeError):
            _CODECS[fn] = found
    return found
