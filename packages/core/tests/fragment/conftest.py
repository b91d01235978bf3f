"""A billing library and a shop that uses it, mounted in apps on each database."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    insert,
    select,
)

from keepstep import Fragment, HookContext, NonRetryableError, StepContext, Tx, WorkflowEvent, WorkflowStep

metadata = MetaData()
invoices = Table(
    "billing_invoice",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("total", Integer, nullable=False),
    Column("paid", Integer, nullable=False, default=0),
)
Index("ix_billing_invoice_total", invoices.c.total)
payments = Table(
    "billing_payment",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("invoice_id", ForeignKey("billing_invoice.id"), nullable=False),
)


class BillingConfig(BaseModel):
    """What a host may choose."""

    currency: str = "EUR"


class Invoice(BaseModel):
    """Params of the workflow, and payload of the hook."""

    order_id: str
    total: int


@dataclass
class World:
    """What hooks did outside of the database."""

    called: list[tuple[HookContext, Invoice]] = field(default_factory=list)
    delivered: asyncio.Event = field(default_factory=asyncio.Event)


WORLD = World()


@dataclass
class Library:
    """A library's fragments, with what they consist of: fresh for each test that changes them."""

    billing: Fragment[BillingConfig, Any]
    shop: Fragment[None, Any]
    collect: Any
    collect_buffered: Any
    open_invoice: Any
    place_order: Any
    invoice_opened: Any


def make_library() -> Library:  # one library, many small parts
    """Write the fragments anew."""
    billing = Fragment("billing", schema=metadata, config=BillingConfig)

    @billing.workflow(name="collect")
    async def collect(event: WorkflowEvent[Invoice], step: WorkflowStep) -> str:
        await step.transaction("paid", mark_paid, event.payload.order_id)
        return f"{event.payload.total} {billing.config(step).currency}"

    @billing.workflow(name="collect-buffered")
    async def collect_buffered(event: WorkflowEvent[Invoice], step: WorkflowStep) -> str:
        return await step.do(
            "buffered", buffer, event.payload, retry={"max_attempts": 2, "delay": "0 seconds"}
        )

    def buffer(invoice: Invoice, context: StepContext) -> str:
        context.tx.execute(insert(invoices).values(id=invoice.order_id, total=invoice.total))
        context.tx.trigger_hook(invoice_opened, invoice)
        child = context.tx.create(collect, params=invoice)
        if invoice.total < 0:
            raise NonRetryableError("a negative invoice")
        if invoice.total == 13 and context.attempt == 1:
            raise ValueError("unlucky the first time")
        return child

    @billing.service
    def open_invoice(tx: Tx, order_id: str, total: int = 99) -> Invoice:
        tx.execute(insert(invoices).values(id=order_id, total=total))
        invoice = Invoice(order_id=order_id, total=total)
        tx.workflows.collect.create(id=order_id, params=invoice)
        tx.trigger_hook(invoice_opened, invoice, key=order_id)
        return invoice

    @billing.service
    def mark_paid(tx: Tx, order_id: str) -> int:
        return tx.execute(invoices.update().where(invoices.c.id == order_id).values(paid=1)).rowcount

    @billing.service
    def currency(tx: Tx) -> str:
        return billing.config(tx).currency

    @billing.hook
    async def invoice_opened(context: HookContext, payload: Invoice) -> None:
        WORLD.called.append((context, payload))
        WORLD.delivered.set()

    shop = Fragment("shop")
    shop.uses(billing)

    @shop.service
    def place_order(tx: Tx, order_id: str) -> str:
        invoice = open_invoice(tx, order_id, total=5)
        assert tx.binding(collect).get(order_id).id == order_id
        return f"{invoice.order_id} in {currency(tx)}"

    return Library(billing, shop, collect, collect_buffered, open_invoice, place_order, invoice_opened)


@pytest.fixture
def library() -> Library:
    """The fragments."""
    return make_library()


@pytest.fixture
def world() -> World:
    """What hooks did, from now on."""
    WORLD.called.clear()
    WORLD.delivered = asyncio.Event()
    return WORLD


@pytest.fixture
def engine(database_url: str) -> Any:
    """The host's own sync engine."""
    made = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    yield made
    made.dispose()


@pytest.fixture
def rows(engine: Any) -> Any:
    """Reads a table of the library's, by name."""

    def read(name: str) -> list[tuple[Any, ...]]:
        table = Table(name, MetaData(), autoload_with=engine)
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]

    return read
