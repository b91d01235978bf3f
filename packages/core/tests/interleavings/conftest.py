"""Two transactions on PostgreSQL, in an order that the test forces.

``race(first, second)`` runs both at once, each through a store of its own: the first has run all its statements and is
held before its COMMIT; then the second runs, until it is done or the server says that it waits for the first; then the
first goes on. Nothing is decided by time: the server tells who waits for whom (``pg_blocking_pids``).
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from keepstep.errors import StoreUnavailableError
from keepstep.store import tables
from keepstep.store.postgres import PostgresStore
from keepstep_testing.conformance.stores import SetClock, StoreWorld
from keepstep_testing.conformance.stores.world import boundary

WAITS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'keepstep'"
    " AND cardinality(pg_blocking_pids(pid)) > 0"
)
EMPTIED = [name for name in tables.metadata.tables if name != tables.migration.name]
EMPTY = "; ".join(f"DELETE FROM {name}" for name in EMPTIED)
KILL = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'keepstep'"
)


class Latch:
    """Holds the first transaction that comes to a point until it is let go; then perhaps breaks it off."""

    def __init__(self, label: str, point: str = "commit") -> None:
        self.place = (label, point)
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.breaks = False

    async def __call__(self, label: str, point: str) -> None:
        """A store's gate."""
        if (label, point) != self.place or self.reached.is_set():
            return
        self.reached.set()
        await self.go_on.wait()
        if self.breaks:
            raise StoreUnavailableError("broken off")


@dataclass
class Raced:
    """What became of both: a result or the exception, and whether the second had to wait."""

    first: Any
    second: Any
    waited: bool


@dataclass
class Arena(StoreWorld):
    """A database of keepstep's, the shorthand for its rows, and the bare driver beside it."""

    bare: Any = None
    """An ``asyncpg`` connection: what tests assert by."""
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def side(self, gate: Any = None, **options: Any) -> PostgresStore:
        """Another process's store of the same database."""
        store = PostgresStore(self.store.url, clock=self.clock, gate=gate, **options)
        await store.open()
        self.stack.push_async_callback(store.close)
        return store

    async def race(self, first: Any, second: Any, *, commits: bool = True) -> Raced:
        """Force ``second`` between the statements of ``first`` and its end.

        Args:
            first: a script; held before its COMMIT.
            second: a script that runs meanwhile.
            commits: whether the first then commits, or is rolled back.
        """
        latch = Latch("first")
        latch.breaks = not commits
        one, other = await self.side(latch), await self.side()
        loop = asyncio.get_running_loop()
        running = loop.create_task(one.transaction("first", first))
        await asyncio.wait(
            [running, reached := loop.create_task(latch.reached.wait())], return_when="FIRST_COMPLETED"
        )
        assert reached.done(), running.exception()
        following = loop.create_task(other.transaction("second", second))
        waited = await self.until_waiting(following)
        latch.go_on.set()
        found = await asyncio.gather(running, following, return_exceptions=True)
        return Raced(*found, waited)

    async def until_waiting(self, task: Any, count: int = 1) -> bool:
        """True when so many of keepstep's sessions wait for locks, False when the task ended without."""
        async with asyncio.timeout(30):
            while not task.done():
                if await self.bare.fetchval(WAITS) >= count:
                    return True
        return False

    async def fetch(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows by the bare driver."""
        return [tuple(row) for row in await self.bare.fetch(query, *values)]

    async def kill(self) -> None:
        """End every session of keepstep's."""
        await self.bare.fetch(KILL)


@pytest.fixture(scope="module")
def database(postgres_databases):
    """A database with keepstep's tables, for all tests of a module."""
    with postgres_databases() as url:
        yield url


@pytest.fixture
async def arena(database):
    """The arena, with empty tables."""
    clock = SetClock()
    async with AsyncExitStack() as stack:
        bare = await asyncpg.connect(database)
        stack.push_async_callback(bare.close)
        await bare.execute(EMPTY)
        store = PostgresStore(database, clock=clock)
        await store.open()
        stack.push_async_callback(store.close)
        yield Arena(store, clock, bare, stack)


@pytest.fixture(name="boundary")
def boundary_fixture():
    """A boundary of a run that ``arena.hold`` inserted."""
    return boundary


@pytest.fixture
def latch_at():
    """Makes latches: ``latch_at(label, point="commit")``."""
    return Latch
