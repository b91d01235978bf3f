"""The event loops on which our processes are measured."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import uvloop

LOOPS = ("uvloop", "asyncio")


def run(work: Coroutine[Any, Any, Any], loop: str = LOOPS[0]) -> Any:
    """Run to the end, on this loop."""
    return uvloop.run(work) if loop == "uvloop" else asyncio.run(work)
