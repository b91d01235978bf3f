"""Knowing when the instances of a workload have arrived somewhere, through the public API and at little cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from keepstep import Binding, Status

BATCH = 100
LOOK_S = 0.002


class Countdown:
    """Bodies count themselves here in memory, so that nobody polls while they run."""

    def __init__(self) -> None:
        self._left = 0
        self._none_left = asyncio.Event()

    def expect(self, count: int) -> None:
        """Begin anew."""
        self._left = count
        self._none_left = asyncio.Event()

    def one(self) -> None:
        """One has arrived."""
        self._left -= 1
        if self._left <= 0:
            self._none_left.set()

    async def done(self) -> None:
        """Wait until all have."""
        await self._none_left.wait()


async def none_is(binding: Binding[Any, Any], status: Status, look_s: float = LOOK_S) -> None:
    """Wait until no instance has this status: the database says so, so it is durable."""
    while (await binding.list(status=status, limit=1)).items:
        await asyncio.sleep(look_s)


async def create_all(binding: Binding[Any, Any], count: int, prefix: str | None = None) -> list[Any]:
    """Create instances in batches, several batches at a time; they are handed back in order."""

    def items(first: int) -> list[Any]:
        numbers = range(first, min(first + BATCH, count))
        return [
            {"params": number} if prefix is None else {"id": f"{prefix}{number}", "params": number}
            for number in numbers
        ]

    batches = await in_lanes(
        8, [lambda first=first: binding.create_batch(items(first)) for first in range(0, count, BATCH)]
    )
    return [instance for batch in batches for instance in batch]


async def in_lanes(lanes: int, jobs: Iterable[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Do the jobs, ``lanes`` at a time; their results in order."""
    numbered = enumerate(list(jobs))
    results: dict[int, Any] = {}

    async def lane() -> None:
        for number, job in numbered:
            results[number] = await job()

    await asyncio.gather(*(lane() for _ in range(lanes)))
    return [results[number] for number in sorted(results)]
