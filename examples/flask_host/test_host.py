"""The shop's views, called as a WSGI server would call them: from plain sync code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from examples.flask_host.host import Base, OrderRow, Workflows, make_host, order
from keepstep import App

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}


class Shop:
    """The shop and what is behind it."""

    def __init__(self, database_url: str) -> None:
        url = make_url(database_url)
        self.engine = create_engine(url.set(drivername=DRIVERS[url.get_backend_name()]))
        Base.metadata.create_all(self.engine)
        self.app = App(database_url, workflows=Workflows)
        self.http: FlaskClient = make_host(self.app, self.engine).test_client()

    def row(self, order_id: str) -> OrderRow | None:
        """The order's row."""
        with Session(self.engine) as session:
            return session.get(OrderRow, order_id)


@pytest.fixture
def shop(database_url: str) -> Iterator[Shop]:
    """The shop, its app running on a thread of its own."""
    shop = Shop(database_url)
    with shop.app.sync.running():
        yield shop
    shop.engine.dispose()


def test_an_order_is_placed_paid_and_shipped(shop: Shop) -> None:
    """Row and workflow begin together, a message that comes twice counts once, the step writes the row (G1, D7, C8)."""
    assert shop.http.post("/orders/o-1", json={"item": "lamp"}).status_code == 201
    shop.app.sync.binding(order).instance("o-1").pause()  # so that the second message comes before the end
    assert shop.http.get("/orders/o-1").get_json()["why"].startswith(("paused", "active", "waiting"))
    for duplicate in (False, True):
        answer = shop.http.post("/orders/o-1/payments/p-1", json={"cents": 2490})
        assert (answer.status_code, answer.get_json()) == (202, {"duplicate": duplicate})
    shop.app.sync.binding(order).instance("o-1").resume()
    assert shop.app.sync.binding(order).instance("o-1").result(timeout=30) == "lamp for 2490 cents"
    row = shop.row("o-1")
    assert row is not None
    assert row.shipped


def test_a_refused_order_leaves_nothing(shop: Shop) -> None:
    """What fails after the start takes the start back with it (G1)."""
    assert shop.http.post("/orders/o-2", json={"item": "unicorn"}).status_code == 409
    assert shop.row("o-2") is None
    answer = shop.http.get("/orders/o-2")
    assert (answer.status_code, answer.get_json()["code"]) == (404, "INSTANCE_NOT_FOUND")


def test_errors_have_their_codes(shop: Shop) -> None:
    """A host maps keepstep's tree of errors to its own answers (H)."""
    shop.http.post("/orders/o-3", json={"item": "desk"})
    instance = shop.app.sync.binding(order).instance("o-3")
    instance.terminate()
    answer = shop.http.post("/orders/o-3/payments/p-1", json={"cents": 1})
    assert (answer.status_code, answer.get_json()["code"]) == (409, "INSTANCE_TERMINAL")
    answer = shop.http.post("/orders/not an id/payments/p-1", json={"cents": 1})
    assert (answer.status_code, answer.get_json()["code"]) == (422, "INVALID_INSTANCE_ID")
