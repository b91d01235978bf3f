"""Which app a command means: ``module:app``, or ``module:make_app()``. Every mistake gets an answer that says what to do."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, cast

from keepstep import App

FORM = "give module:app, module:something.app, or module:make_app()"


class NoAppError(Exception):
    """There is no app where it was said to be; the message says what there is, and what to give."""


def locate(target: str) -> App[Any]:
    """The app that a command's argument means; the folder that the command runs in is looked in first.

    Args:
        target: a module's name, a colon, and where the app is in it: a name, names with dots, or the name of a
            function without arguments with ``()`` after it, which returns the app.

    Raises:
        NoAppError: there is nothing of that name, or it is no app.
        Exception: whatever the module raises when it is imported, or the function when it is called.
    """
    name, colon, path = target.partition(":")
    attributes, called = path.removesuffix("()"), path.endswith("()")
    parts = attributes.split(".")
    if not (name and colon and all(part.isidentifier() for part in parts)):
        raise NoAppError(f"{target!r} names no app: {FORM}")
    found: Any = _module(name)
    for part in parts:
        try:
            found = getattr(found, part)
        except AttributeError:
            raise NoAppError(f"{target!r}: {_described(found)} has no attribute {part!r}") from None
    if called:
        if not callable(found):
            raise NoAppError(
                f"{target!r}: {attributes} cannot be called, it is {_kind(found)}; leave the () off"
            )
        found = found()
    if isinstance(found, App):
        return cast("App[Any]", found)
    raise NoAppError(
        f"{target!r} is {_kind(found)}, not a keepstep App{_hint(name, attributes, found, called)}"
    )


def _module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise  # it is there, and imports something that is not
        hint = "; give a module's name, not a file's" if name.endswith(".py") or "/" in name else ""
        raise NoAppError(
            f"there is no module {missing!r}{hint}. It was looked for in {here} and among what is installed for "
            f"{sys.executable}"
        ) from None


def _described(found: object) -> str:
    return f"the module {found.__name__}" if isinstance(found, ModuleType) else _kind(found)


def _kind(found: object) -> str:
    if isinstance(found, ModuleType):
        return f"the module {found.__name__}"
    if isinstance(found, type):
        return f"the class {found.__name__}"
    if isinstance(found, FunctionType):
        return f"the function {found.__name__}"
    return f"an object of type {type(found).__name__}"


def _hint(name: str, attributes: str, found: object, called: bool) -> str:
    if not called and callable(found) and not isinstance(found, type):
        return f"; if it returns one: {name}:{attributes}()"
    return f"; {FORM}"
