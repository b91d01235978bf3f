# ruff: noqa: D101, D102, D103 (values and callbacks under test)
"""A callback's codec comes from its return annotation, wherever that is written (C3)."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

import pytest

from keepstep.errors import UsageError
from keepstep.model.codec import PLAIN, codec_for, return_codec

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypes

T = TypeVar("T")


def named(value: object) -> str | None:
    """A test's id that is the same in every process."""
    return getattr(value, "__name__", None)


@dataclass
class Receipt:
    number: int


class Service:
    def bound(self) -> Receipt:
        return Receipt(1)

    @classmethod
    def of_class(cls) -> Receipt:
        return Receipt(1)

    @staticmethod
    def static() -> Receipt:
        return Receipt(1)

    async def __call__(self) -> Receipt:
        return Receipt(1)


def plain_function() -> Receipt: ...
async def coroutine_function() -> Receipt: ...
def gives_awaitable() -> Awaitable[Receipt]: ...
def gives_coroutine() -> Coroutine[Any, Any, Receipt]: ...


def decorated(fn: Callable[..., T]) -> Callable[..., T]:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> T:
        return fn(*args)

    return wrapper


@pytest.mark.parametrize(
    "fn",
    [
        plain_function,
        coroutine_function,
        gives_awaitable,
        gives_coroutine,
        Service().bound,
        Service.of_class,
        Service.static,
        Service(),
        Receipt,
        functools.partial(plain_function),
        functools.partial(functools.partial(coroutine_function)),
        functools.partial(Service().bound),
        decorated(plain_function),
    ],
    ids=named,
)
def test_the_annotation_is_found(fn):
    """C3: functions, coroutine functions, methods, partials, wrappers, classes and callable objects have one codec."""
    assert return_codec(fn) is codec_for(Receipt)


def test_text_inside_an_annotation():
    """C3: names in quotes inside an annotation are looked up, too."""

    def quoted(): ...

    quoted.__annotations__["return"] = list["Receipt"]
    assert return_codec(quoted) is codec_for(list[Receipt])


def test_literals_are_no_names():
    """C3: text in a Literal is a value, not a name to look up."""

    def choice() -> Literal["a", "b"]: ...

    assert return_codec(choice) is codec_for(Literal["a", "b"])


def test_a_closed_over_name_that_has_no_value_yet():
    """C3: other variables that the function closes over need not have a value yet."""

    def early() -> Receipt:
        return later

    assert return_codec(early) is codec_for(Receipt)
    later = Receipt(1)


def test_local_types_that_the_function_uses():
    """C3: a local function's annotation may name what the function closes over."""

    @dataclass
    class Local:
        value: int

    def make() -> Local:
        return Local(1)

    assert return_codec(make) is codec_for(Local)


def test_local_types_that_the_function_does_not_use():
    """C3: a local name that the function does not close over cannot be found, and the error says what to do."""

    @dataclass
    class Local:
        value: int

    def make() -> Local: ...

    with pytest.raises(UsageError, match=r"make.*'Local'.*cannot be resolved.*used by the function itself"):
        return_codec(make)


def test_names_for_type_checkers_only():
    """C3: a name that is imported under TYPE_CHECKING only is a clear error."""

    def make() -> OnlyForTypes: ...

    with pytest.raises(UsageError, match="not under TYPE_CHECKING"):
        return_codec(make)


def test_no_annotation_is_plain():
    """C3: without an annotation, or with one that promises nothing, plain JSON is taken."""

    def anything() -> Any: ...
    def never() -> NoReturn: ...

    for fn in [lambda: 1, anything, never, len, print, functools.partial(len)]:
        assert return_codec(fn) is PLAIN


def test_none_is_an_annotation():
    """C3: ``-> None`` takes None only."""

    def nothing() -> None: ...

    assert return_codec(nothing) is codec_for(None)
    assert return_codec(nothing).encode(None) == "null"


def test_types_without_a_codec():
    """C3: an annotation that cannot be stored is refused, with the callback's name."""

    def opaque() -> Service: ...

    with pytest.raises(UsageError, match=r"opaque has no codec: .*Service cannot be stored"):
        return_codec(opaque)
