"""What hosts and workflows call: transaction scripts, and a hook that is called after their commit."""

from __future__ import annotations

from pydantic import BaseModel
from sqlalchemy import insert, select, update

from examples.billing_fragment.billing.fragment import billing, invoices, reminders
from keepstep import HookContext, Tx
from keepstep.errors import RefusedError


class Invoice(BaseModel):
    """One invoice."""

    order_id: str
    amount: int
    currency: str
    paid: bool = False


class NewInvoice(BaseModel):
    """What a caller over HTTP wants to be collected."""

    order_id: str
    amount: int


class InvoicePaid(BaseModel):
    """What the hook is called with."""

    order_id: str
    amount: int


ANNOUNCED: list[tuple[str, str]] = []
"""Stands in for the world outside: (mount, order), as a mail server would have seen them."""


@billing.service
def open_invoice(tx: Tx, order_id: str, amount: int) -> Invoice:
    """Write the invoice and begin to collect it; both or neither."""
    invoice = Invoice(order_id=order_id, amount=amount, currency=billing.config(tx).currency)
    tx.execute(insert(invoices).values(invoice.model_dump()))
    tx.workflows.collect.create(id=order_id, params=invoice)
    return invoice


@billing.service
def mark_paid(tx: Tx, order_id: str) -> Invoice:
    """Note the payment; have it announced once that is certain."""
    tx.execute(update(invoices).where(invoices.c.order_id == order_id).values(paid=True))
    invoice = read_invoice(tx, order_id)
    tx.trigger_hook(invoice_paid, InvoicePaid(order_id=order_id, amount=invoice.amount), key=order_id)
    return invoice


@billing.service
def write_reminder(tx: Tx, order_id: str) -> str:
    """Write one reminder more."""
    text = f"please pay {order_id}"
    tx.execute(insert(reminders).values(order_id=order_id, text=text))
    return text


@billing.service
def read_invoice(tx: Tx, order_id: str) -> Invoice:
    """Read an invoice."""
    found = tx.execute(select(invoices).where(invoices.c.order_id == order_id)).mappings().one_or_none()
    if found is None:
        raise RefusedError(404, "INVOICE_NOT_FOUND", f"there is no invoice of order {order_id!r}")
    return Invoice.model_validate(dict(found))


@billing.hook
async def invoice_paid(context: HookContext, payload: InvoicePaid) -> None:
    """Tell the world, at least once; a real one passes ``context.idempotency_key`` on."""
    mount = context.name.partition("__")[0]
    ANNOUNCED.append((mount, payload.order_id))


@billing.route("GET", "/invoices/{order_id}", kind="read")
def show_invoice(tx: Tx, order_id: str) -> Invoice:
    """Show an invoice."""
    return read_invoice(tx, order_id)


@billing.route("POST", "/invoices", kind="create")
def post_invoice(tx: Tx, wanted: NewInvoice) -> Invoice:
    """Open an invoice and begin to collect it."""
    return open_invoice(tx, wanted.order_id, wanted.amount)
