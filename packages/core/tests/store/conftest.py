"""A store of each kind, on a database with keepstep's tables, under a clock that the test sets."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from keepstep.store.postgres import PostgresStore
from keepstep.store.sqlite import SqliteStore
from keepstep_testing.conformance.stores import SetClock, StoreWorld
from keepstep_testing.conformance.stores.world import boundary


@pytest.fixture(name="boundary")
def boundary_fixture() -> Any:
    """The function ``boundary`` of the conformance suite."""
    return boundary


@pytest.fixture
def clock() -> SetClock:
    """Database time."""
    return SetClock()


@pytest.fixture
async def postgres_world(postgres_database: str, clock: SetClock) -> AsyncIterator[StoreWorld]:
    """The shorthand on PostgreSQL only."""
    opened = PostgresStore(postgres_database, clock=clock)
    await opened.open()
    yield StoreWorld(opened, clock)
    await opened.close()


@pytest.fixture
async def store(database_url: str, clock: SetClock) -> AsyncIterator[Any]:
    """A store on an empty database; a test that asks for it runs on each kind."""
    kind: Any = SqliteStore if database_url.startswith("sqlite") else PostgresStore
    opened = kind(database_url, clock=clock)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def world(store: Any, clock: SetClock) -> StoreWorld:
    """The store with the shorthand of its tests."""
    return StoreWorld(store, clock)
