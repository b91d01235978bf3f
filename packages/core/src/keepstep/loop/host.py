"""The host's state of a thread, borrowed for the time of an activation: all that leans on asyncio's internals.

Tested on each supported Python; what differs between them is said where it is used.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.events import _get_running_loop as running_loop
from asyncio.events import _set_running_loop as set_running_loop
from collections.abc import Collection
from types import CodeType
from typing import Any

__all__ = [
    "TASK_PER_THREAD",
    "given_to_as_completed",
    "leave_task",
    "resume_task",
    "running_loop",
    "set_running_loop",
]

TASK_PER_THREAD = sys.version_info >= (3, 14)
"""Since 3.14 a thread has one current task, whatever its loop; before, each loop has one of its own."""


def leave_task(host: asyncio.AbstractEventLoop) -> asyncio.Task[Any] | None:
    """Make no task of ``host`` the current one, where a thread has only one; gives the one that was."""
    return _swap(host, None)


def resume_task(host: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    """Undo :func:`leave_task`."""
    _swap(host, task)


def _swap(host: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> asyncio.Task[Any] | None:
    return getattr(asyncio.tasks, "_swap_current_task")(host, task)  # noqa: B009 - not in 3.11, nor in its types


def _codes_of_as_completed() -> frozenset[CodeType]:
    iterator = getattr(asyncio.tasks, "_AsCompletedIterator", None)  # since 3.13
    makers: list[Any] = (
        [asyncio.as_completed] if iterator is None else [asyncio.as_completed, iterator.__init__]
    )
    return frozenset(maker.__code__ for maker in makers)


def _codes_of_wrappers() -> frozenset[CodeType]:
    inner = getattr(asyncio.tasks, "_ensure_future", asyncio.ensure_future)  # up to 3.11
    return frozenset((asyncio.ensure_future.__code__, inner.__code__))


_AS_COMPLETED = _codes_of_as_completed()
_WRAPPERS = _codes_of_wrappers()


def given_to_as_completed() -> list[Any] | None:
    """What ``asyncio.as_completed`` was given, if it is what makes the task for which ``create_task`` asks this.

    It walks a set of what it is given, and coroutines hash by address: their order, and with it the keys of the steps in
    them, would change from replay to replay.
    """
    frame = sys._getframe(2)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if frame.f_code not in _WRAPPERS:
        return None
    for _ in range(3):
        if frame.f_back is None:
            return None
        frame = frame.f_back
        if frame.f_code in _AS_COMPLETED:
            given = frame.f_locals.get("aws", frame.f_locals.get("fs"))  # named so since 3.13, and before
            return list(given) if isinstance(given, Collection) else []  # pyright: ignore[reportUnknownArgumentType]
    return None
