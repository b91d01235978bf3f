"""The event loop that ``keepstep worker`` runs on: uvloop where it is installed (``keepstep[speedups]``), else asyncio's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop; None = asyncio's own way. For :class:`asyncio.Runner`."""
    return None if find_spec("uvloop") is None else import_module("uvloop").new_event_loop
