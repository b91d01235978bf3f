"""A store of each kind, on an empty database with keepstep's tables, under a clock that the test sets."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import create_engine

from keepstep.store import tables
from keepstep.store.postgres import PostgresStore
from keepstep.store.sqlite import SqliteStore
from keepstep_testing.conformance.stores import SetClock, StoreWorld
from keepstep_testing.conformance.stores.world import boundary


@pytest.fixture(name="boundary")
def boundary_fixture() -> Any:
    """The function ``boundary`` of the conformance suite."""
    return boundary


def make_tables(url: str) -> None:
    """Create the tables as ``tables.py`` says them."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    tables.metadata.create_all(engine)
    engine.dispose()


@pytest.fixture
def clock() -> SetClock:
    """Database time."""
    return SetClock()


@pytest.fixture
async def postgres_world(postgres_database: str, clock: SetClock) -> AsyncIterator[StoreWorld]:
    """The shorthand on PostgreSQL only."""
    make_tables(postgres_database)
    opened = PostgresStore(postgres_database, clock=clock)
    await opened.open()
    yield StoreWorld(opened, clock)
    await opened.close()


@pytest.fixture
async def store(database_url: str, clock: SetClock) -> AsyncIterator[Any]:
    """A store on an empty database; a test that asks for it runs on each kind."""
    make_tables(database_url)
    kind: Any = SqliteStore if database_url.startswith("sqlite") else PostgresStore
    opened = kind(database_url, clock=clock)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def world(store: Any, clock: SetClock) -> StoreWorld:
    """The store with the shorthand of its tests."""
    return StoreWorld(store, clock)


@pytest.fixture
def sqlite_url(tmp_path: Any) -> str:
    """The URL of a SQLite database that has the tables."""
    url = f"sqlite:///{tmp_path}/keepstep.db"
    make_tables(url)
    return url
