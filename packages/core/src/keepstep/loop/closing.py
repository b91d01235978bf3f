"""Closing the coroutines of a body that is dropped: quietly, and so that nothing keeps their memory (A5)."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from types import CellType, CoroutineType
from typing import Any, cast

_TRIES = 64
"""How often a coroutine that awaits in its cleanup is closed anew."""
_DEPTH = 4
"""How deep in lists, dicts and closures a coroutine is looked for."""
_HOLDERS = (CoroutineType, CellType, list, tuple, dict, set)


def close_task(task: asyncio.Task[Any]) -> None:
    """Close a task's coroutine, and cut the task off from what waits for it and what it waits for.

    ``Future.cancel`` of the base class, called on a task, does nothing but mark it as done and take its callbacks off.
    Without that a task and the future it awaits would hold each other until the next garbage collection. The loop
    is closed already, so nobody is woken up.
    """
    coroutine: Any = task.get_coro()
    if coroutine is not None:  # a task that was done at once has none
        _close_unawaited(coroutine)
        _close(coroutine)
    waiter: Any = getattr(task, "_fut_waiter", None)
    linked: tuple[object, ...] = (task, waiter)
    for future in linked:
        if isinstance(future, asyncio.Future):
            _mark_cancelled(cast("object", future))


_mark_cancelled = cast("Callable[[object], bool]", asyncio.Future.cancel)


def _close(coroutine: Any) -> None:
    for _ in range(_TRIES):
        try:
            coroutine.close()
        except RuntimeError:  # it awaits in its cleanup: closed again at that await
            continue
        except BaseException:  # noqa: BLE001 - cleanup code may raise anything; the run goes on elsewhere
            return
        else:
            return


def _close_unawaited(root: object) -> None:
    """Close coroutines that the body holds and has not awaited yet: Python would warn that it never will."""
    seen: set[int] = set()
    found: list[tuple[object, int]] = [(root, 0)]
    while found:
        holder, depth = found.pop()
        for held in gc.get_referents(holder):
            if not isinstance(held, _HOLDERS) or id(held) in seen:  # pyright: ignore[reportUnknownArgumentType]
                continue
            seen.add(id(held))  # pyright: ignore[reportUnknownArgumentType]
            if isinstance(held, CoroutineType) and _is_unawaited(held):  # pyright: ignore[reportUnknownArgumentType]
                held.close()
            elif depth < _DEPTH:
                found.append((held, depth + 1))  # pyright: ignore[reportUnknownArgumentType]


def _is_unawaited(coroutine: CoroutineType[Any, Any, Any]) -> bool:
    return coroutine.cr_frame is not None and not coroutine.cr_suspended and not coroutine.cr_running
