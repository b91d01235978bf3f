"""A host that mounts the library twice, for two countries: each has its own tables, names and configuration."""

from __future__ import annotations

from sqlalchemy import Column, Engine, MetaData, String, Table, insert
from sqlalchemy.orm import Session

from examples.billing_fragment.billing import BillingConfig, Invoice, billing, open_invoice
from keepstep import App
from keepstep.authoring.registry import KeyedBindings

metadata = MetaData()
orders = Table(
    "shop_order", metadata, Column("id", String(100), primary_key=True), Column("item", String(100))
)


class Shop(App[KeyedBindings]):
    """The host's app; naming the fragments in its body types them as attributes."""

    billing = billing
    swiss = billing.instance("swiss", config=BillingConfig(currency="CHF", terms="30 days"))


def place_order(shop: Shop, engine: Engine, order_id: str, item: str, amount: int) -> Invoice:
    """The host's own row, the library's invoice and its workflow: one transaction, the host's."""
    with Session(engine) as session, session.begin():
        session.execute(insert(orders).values(id=order_id, item=item))
        country = Shop.swiss if item == "fondue" else Shop.billing
        return shop.using(session).fragment(country).call(open_invoice, order_id, amount)
