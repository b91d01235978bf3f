"""The shop's views as Django's own test client calls them; Django ends every transaction (G1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from sqlalchemy.engine import make_url

from examples.django_host.host import Order, Shop, Workflows, order
from examples.django_host.joining import joined
from keepstep import App, Fragment

ENGINES = {"sqlite": "django.db.backends.sqlite3", "postgresql": "django.db.backends.postgresql"}


def use(database_url: str) -> None:
    """Point Django at a database, as its settings would."""
    url = make_url(database_url)
    place = {
        "USER": url.username or "",
        "PASSWORD": url.password or "",
        "HOST": url.host or "",
        "PORT": url.port,
    }
    known: dict[str, Any] = connections["default"].settings_dict
    chosen = {**known, "ENGINE": ENGINES[url.get_backend_name()], "NAME": url.database, **place}
    connections["default"].close()
    connections.databases["default"] = chosen
    del connections["default"]


notes = Fragment("notes")
"""A library that the shop mounts."""


@pytest.fixture
def http(database_url: str) -> Iterator[Client]:
    """A browser; the app runs on a thread of its own."""
    use(database_url)
    with connection.schema_editor() as editor:
        editor.create_model(Order)
    Shop.app = App(database_url, workflows=Workflows, fragments=[notes])
    with Shop.app.sync.running():
        yield Client()
    connections["default"].close()


def post(http: Client, path: str, body: dict[str, Any]) -> int:
    """Send JSON; the status of the answer."""
    return http.post(path, body, content_type="application/json").status_code


def test_an_order_is_placed_and_paid(http: Client) -> None:
    """Row and workflow begin together in Django's transaction; its commit wakes the runner."""
    assert post(http, "/orders/o-1/place", {"item": "lamp"}) == 201
    assert Order.objects.get(id="o-1").item == "lamp"
    assert post(http, "/orders/o-1/payments", {"cents": 2490}) == 202
    assert Shop.app.sync.binding(order).instance("o-1").result(timeout=30) == "lamp for 2490 cents"


def test_a_rollback_leaves_nothing(http: Client) -> None:
    """What fails after the start takes the start back with it."""
    assert post(http, "/orders/o-2/place", {"item": "unicorn"}) == 409
    assert not Order.objects.exists()
    assert http.get("/orders/o-2").status_code == 404


@pytest.mark.usefixtures("http")
def test_a_savepoint_takes_back_its_own() -> None:
    """An inner block that fails takes back what was begun in it, and only that."""
    with transaction.atomic():
        with joined(Shop.app) as shop:
            shop.binding(order).create(id="outer", params="lamp")
        with transaction.atomic(), joined(Shop.app) as shop:
            shop.binding(order).create(id="inner", params="desk")
            transaction.set_rollback(True)
    assert [each.id for each in Shop.app.sync.binding(order).list().items] == ["outer"]


def test_the_commit_wakes_the_runner(http: Client) -> None:
    """Django says when it has committed: what waits for that is told then, and never after a rollback."""
    told: list[str] = []
    with transaction.atomic():
        with joined(Shop.app) as shop:
            shop.fragment(notes).call(lambda tx: tx.after_commit(lambda: told.append("committed")))
        assert told == []
    assert told == ["committed"]
    with transaction.atomic(), joined(Shop.app) as shop:
        shop.fragment(notes).call(lambda tx: tx.after_commit(lambda: told.append("rolled back")))
        transaction.set_rollback(True)
    assert told == ["committed"]
    assert http.get("/orders/o-3").status_code == 404


@pytest.mark.usefixtures("http")
def test_it_needs_a_transaction() -> None:
    """Without one every statement would commit alone; that is refused."""
    with pytest.raises(RuntimeError, match="within transaction"), joined(Shop.app):
        pass
