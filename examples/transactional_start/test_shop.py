"""Starting a workflow is part of the host's transaction (G1)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from examples.transactional_start.shop import Base, OrderRow, OutOfStockError, Workflows, place_order
from keepstep import App, InstanceNotFoundError

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The shop's own engine, with its table."""
    url = make_url(database_url)
    engine = create_engine(url.set(drivername=DRIVERS[url.get_backend_name()]))
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


async def test_a_committed_order_is_fulfilled(database_url: str, engine: Engine) -> None:
    """The row and the workflow commit together; the workflow runs and writes to the shop's table (C8)."""
    async with App(database_url, workflows=Workflows).running() as app:
        with Session(engine) as session, session.begin():
            place_order(app, session, "o-1", "lamp")
        instance = await app.workflows.fulfil.get("o-1")
        assert await instance.result(timeout=30) == "label for one lamp"
    with Session(engine) as session:
        assert session.get_one(OrderRow, "o-1").shipped


async def test_a_rolled_back_order_leaves_nothing(database_url: str, engine: Engine) -> None:
    """What fails after the start takes the start back with it."""
    async with App(database_url, workflows=Workflows).running() as app:
        with pytest.raises(OutOfStockError), Session(engine) as session, session.begin():
            place_order(app, session, "o-2", "unicorn")
        with pytest.raises(InstanceNotFoundError):
            await app.workflows.fulfil.get("o-2")
    with Session(engine) as session:
        assert session.get(OrderRow, "o-2") is None
