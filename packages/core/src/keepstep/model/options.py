"""How values of options answer a name that they do not know: with the names that they do (semantics H)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, cast

T = TypeVar("T")


def names_known_options(cls: type[T]) -> type[T]:
    """Have a dataclass's constructor answer an unknown option with the known ones."""
    known = ", ".join(field.name for field in fields(cast("Any", cls)) if field.init)
    construct = cast("Callable[..., None]", cls.__init__)

    @functools.wraps(construct)
    def __init__(self: T, *args: Any, **options: Any) -> None:  # noqa: N807  # it is one
        unknown = [name for name in options if name not in cls.__annotations__]
        if unknown:
            raise TypeError(f"{cls.__name__} knows no option {', '.join(unknown)}; it knows {known}")
        construct(self, *args, **options)

    cls.__init__ = __init__
    return cls
