"""Growing pauses between tries against a database in trouble. Not for steps: theirs are stored (C4)."""

from __future__ import annotations

import asyncio


class Backoff:
    """Pauses of ``first`` seconds, doubling up to ``longest``."""

    def __init__(self, first: float = 0.02, longest: float = 2.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    async def wait(self) -> None:
        """Pause once."""
        await asyncio.sleep(self.step())

    def step(self) -> float:
        """The next pause in seconds, for callers that pause by themselves."""
        current, self._next = self._next, min(self._next * 2, self._longest)
        return current

    def reset(self) -> None:
        """The trouble is over."""
        self._next = self._first
