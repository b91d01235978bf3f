"""Puts stand-ins where functions are found: in the modules that name them and in the classes that hold them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from keepstep.errors import UsageError

_PLACES: WeakKeyDictionary[Any, list[tuple[object, str]]] = WeakKeyDictionary()
"""Where each function was found: looking through all modules takes a while."""


class Patches:
    """Stand-ins that are in place until :meth:`undo`."""

    def __init__(self) -> None:
        self._before: list[tuple[object, str, Any]] = []

    def put(self, fn: Callable[..., Any], stand_in: Callable[..., Any]) -> None:
        """Have everybody who finds ``fn`` by name find ``stand_in``.

        Raises:
            UsageError: no module and no class names it.
        """
        for holder, name in places_of(fn):
            self._before.append((holder, name, vars(holder)[name]))
            setattr(holder, name, stand_in)

    def undo(self) -> None:
        """Put everything back."""
        while self._before:
            holder, name, before = self._before.pop()
            setattr(holder, name, before)


def places_of(fn: Callable[..., Any]) -> list[tuple[object, str]]:
    """Where a function is named.

    Raises:
        UsageError: nowhere, so that nothing could stand in for it.
    """
    try:
        known = _PLACES.get(fn)
    except TypeError:
        known = None
    if known is not None:
        return known
    found = _in_class(fn) + [
        (module, name)
        for module in list(sys.modules.values())
        for name, value in list(getattr(module, "__dict__", {}).items())
        if value is fn
    ]
    if not found:
        raise UsageError(
            f"nothing can stand in for {fn!r}: it must be a function of a module or of a class, found there by its name; "
            "for the function of a step use sim.stub(step, returns=…)"
        )
    _PLACES[fn] = found
    return found


def _in_class(fn: Callable[..., Any]) -> list[tuple[object, str]]:
    owner: object = sys.modules.get(getattr(fn, "__module__", "") or "")
    *path, name = getattr(fn, "__qualname__", "").split(".")
    if not path or "<locals>" in path:
        return []
    for each in path:
        owner = getattr(owner, each, None)
    return [(owner, name)] if owner is not None and vars(owner).get(name) is fn else []
