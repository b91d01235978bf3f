"""How long a stop may take, and what it says when it takes longer: one bound for all its parts.

A part waits for what is not ours: for a database, for callbacks of the user's, for a dispatcher. It bounds that itself
where it can; this bound is for where it cannot. To give up is safe: a lease that was not given back ends by itself, and
what was not written is done again (B2, B8).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger(__name__)

STUCK_S = 30.0
"""How long a stop may take beside the drain's grace: longer than a database that answers at all lets it wait."""
LAST_S = 1.0
"""How long a part may take when that time is over, and to end when it is given up."""


class Stopping:
    """One stop, from now on.

    Args:
        grace_s: how long it may wait for steps.
    """

    def __init__(self, grace_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._until = self._began + grace_s + STUCK_S

    async def part(self, name: str, end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Await the end of a part; one that does not come is given up with a warning that says where it waits.

        Args:
            name: of the part, for people.
            end: ends it.
        """
        ending = self._loop.create_task(end(), name="keepstep-stop")
        try:
            await asyncio.wait([ending], timeout=max(LAST_S, self._until - self._loop.time()))
            if ending.done():
                return ending.result()
            log.warning(
                "a stop goes on without the end of %s, after %.0f s: %s",
                name,
                self._loop.time() - self._began,
                "; ".join([where(ending), *sorted(where(each) for each in _others(ending))]),
            )
        finally:
            if ending.cancel():
                await asyncio.wait([ending], timeout=LAST_S)


def where(task: asyncio.Task[Any]) -> str:
    """A task's name, and the calls in which it waits, outermost first."""
    calls: list[str] = []
    inner: Any = task.get_coro()
    while hasattr(inner, "__qualname__"):
        calls.append(inner.__qualname__)
        inner = getattr(inner, "cr_await", None) or getattr(inner, "ag_await", None)
    return f"{task.get_name()} in {' > '.join(calls)}"


def _others(ending: asyncio.Task[None]) -> list[asyncio.Task[Any]]:
    """The engine's other tasks: what a part waits for is often one of them."""
    return [
        each for each in asyncio.all_tasks() if each is not ending and each.get_name().startswith("keepstep")
    ]
