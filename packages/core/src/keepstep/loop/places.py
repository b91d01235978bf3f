"""Where in its source a body stands: for the words about a contradiction (E10), asked for only when there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from keepstep.model.commands import Place

_NOT_THE_BODYS = (str(Path(__file__).parents[1]), str(Path(asyncio.__file__).parent))


def place_of(coroutines: Iterable[Any], key: str | None) -> Place | None:
    """Where a body waits for the command with this key; else where the first of its coroutines stands.

    Args:
        coroutines: of the body's tasks at rest, the body itself first.
        key: what it may wait for.
    """
    first: Place | None = None
    for coroutine in coroutines:
        place, keys = _walked(coroutine)
        if first is None:
            first = place
        if key in keys:
            return place or first
    return first


def _walked(coroutine: Any) -> tuple[Place | None, set[str]]:
    """The innermost line of the user's on the way to what a coroutine waits for, and the keys of what that is."""
    place: Place | None = None
    keys = set[str]()
    while coroutine is not None:
        frame: FrameType | None = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is not None:
            key = getattr(frame.f_locals.get("opened"), "key", None) if _is_ours(frame) else None
            if isinstance(key, str):
                keys.add(key)
            elif not _is_ours(frame):
                place = Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
    return place, keys


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_NOT_THE_BODYS)
