"""The library works in its host as if it were alone, twice (G1, G2)."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from examples.billing_fragment.billing import Payment, Receipt, collect, read_invoice
from examples.billing_fragment.billing.services import ANNOUNCED
from examples.billing_fragment.host import Shop, metadata, place_order
from keepstep.routes import Access

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
DAY_MS = 86_400_000


class Clock:
    """Time that the test moves."""

    ms = 1_800_000_000_000

    def now_ms(self) -> int:
        """Wall clock."""
        return self.ms

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self.ms / 1000


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The host's own engine, with its table."""
    url = make_url(database_url)
    engine = create_engine(url.set(drivername=DRIVERS[url.get_backend_name()]))
    metadata.create_all(engine)
    yield engine
    engine.dispose()


async def test_the_library_mounted_twice(database_url: str, engine: Engine) -> None:
    """Orders of both kinds, a reminder in one of them, payments, receipts, and an announcement each."""
    clock = Clock()
    ANNOUNCED.clear()
    shop = Shop(database_url, dispatcher=None, clock=clock)
    await shop.migrate()
    assert place_order(shop, engine, "o-1", "lamp", 40).currency == "EUR"
    assert place_order(shop, engine, "o-1-ch", "fondue", 50).currency == "CHF"
    await shop.run_until_idle()
    clock.ms += 20 * DAY_MS
    await shop.run_until_idle()
    euro = await shop.billing.workflows.collect.get("o-1")
    franc = await shop.swiss.binding(collect).get("o-1-ch")
    for each in (euro, franc):
        await each.send_event(Payment(amount=40))
    await shop.run_until_idle()
    assert await euro.result() == Receipt(order_id="o-1", text="40 EUR", reminders=1)
    assert await franc.result() == Receipt(order_id="o-1-ch", text="50 CHF", reminders=0)
    assert (await shop.swiss.call(read_invoice, "o-1-ch")).paid
    assert sorted(ANNOUNCED) == [("billing", "o-1"), ("swiss", "o-1-ch")]
    with engine.connect() as connection:
        reminded = connection.execute(text("SELECT order_id, text FROM billing_reminder")).all()
        assert reminded == [("o-1", "please pay o-1")]
        assert connection.execute(text("SELECT order_id FROM swiss_billing_invoice")).all() == [("o-1-ch",)]
    await shop.stop()


async def test_an_order_that_fails_leaves_no_invoice(database_url: str, engine: Engine) -> None:
    """The host's rollback takes the library's row and its workflow back (G1)."""
    shop = Shop(database_url, dispatcher=None)
    await shop.migrate()
    place_order(shop, engine, "o-1", "lamp", 40)
    with pytest.raises(IntegrityError):
        place_order(shop, engine, "o-1", "lamp", 41)
    assert (await shop.billing.call(read_invoice, "o-1")).amount == 40
    assert len((await shop.billing.workflows.collect.list()).items) == 1
    await shop.stop()


def only_fragments(_: object, access: Access) -> bool:
    """Let callers do what the fragments' routes offer, and nothing else (G3)."""
    return access.fragment is not None


async def test_the_routes_of_both_mounts(database_url: str) -> None:
    """Invoices are opened and read over HTTP, each mount under its own name (G2)."""
    shop = Shop(database_url, dispatcher=None)
    await shop.migrate()
    transport = httpx.ASGITransport(shop.routes(authorize=only_fragments))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as http:
        opened = await http.post("/fragments/swiss/invoices", json={"order_id": "o-1", "amount": 7})
        assert opened.json() == {"order_id": "o-1", "amount": 7, "currency": "CHF", "paid": False}
        assert (await http.get("/fragments/swiss/invoices/o-1")).json() == opened.json()
        missing = await http.get("/fragments/billing/invoices/o-1")
        assert (missing.status_code, missing.json()["code"]) == (404, "INVOICE_NOT_FOUND")
        assert (await http.get("/workflows")).status_code == 403, "this host lets nobody but the fragments'"
    assert [each.id for each in (await shop.swiss.workflows.collect.list()).items] == ["o-1"]
    await shop.stop()
