"""The fragment itself: its tables and what a host may configure."""

from __future__ import annotations

from pydantic import BaseModel
from sqlalchemy import Boolean, Column, ForeignKey, Integer, MetaData, String, Table, false

from keepstep import Fragment

metadata = MetaData()

invoices = Table(
    "billing_invoice",
    metadata,
    Column("order_id", String(100), primary_key=True),
    Column("amount", Integer, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("paid", Boolean, nullable=False, server_default=false()),
)
reminders = Table(
    "billing_reminder",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("order_id", ForeignKey(invoices.c.order_id), nullable=False),
    Column("text", String(200), nullable=False),
)


class BillingConfig(BaseModel):
    """What a host may choose, for each mounting.

    Attributes:
        currency: of all its invoices.
        terms: how long customers have before they are reminded.
    """

    currency: str = "EUR"
    terms: str = "14 days"


billing = Fragment("billing", schema=metadata, config=BillingConfig)
