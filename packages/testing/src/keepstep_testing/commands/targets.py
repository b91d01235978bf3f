"""Things that a command line names as ``module:name``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from keepstep import App
from keepstep.authoring.registry import Bindings
from keepstep.errors import UsageError


def named(target: str, example: str) -> Any:
    """What ``module:name`` names; modules of the current folder are found.

    Args:
        target: as given.
        example: a good one, for the message.

    Raises:
        UsageError: it has another form, the module cannot be imported, or has no such name.
    """
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise UsageError(f"{target!r} must name a module and something in it, like {example}")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise UsageError(f"the module {module_name!r} of {target!r} cannot be imported: {told}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(f"the module {module_name!r} has no {name!r}; {target!r} must be like {example}")
        found = getattr(found, part)
    return found


def workflows_of(target: str) -> Any:
    """The app or the workflows that ``module:name`` names.

    Raises:
        UsageError: see :func:`named`; or it is something else.
    """
    found = named(target, "shop.main:app")
    if _has_workflows(found):
        return found
    raise UsageError(
        f"{target!r} is {type(found).__name__}: name an App, a Bindings class or a dict of workflows"
    )


def _has_workflows(found: object) -> bool:
    is_class = isinstance(found, type) and issubclass(found, Bindings)
    return is_class or isinstance(found, App | dict | Bindings)
