"""A library of its own: invoices that are collected, reminded of and announced. Hosts mount it, as often as they like.

It knows nothing of its hosts: no application, no database, no global that is not a definition.
"""

from examples.billing_fragment.billing.fragment import BillingConfig, billing
from examples.billing_fragment.billing.services import (
    Invoice,
    InvoicePaid,
    invoice_paid,
    mark_paid,
    open_invoice,
    read_invoice,
)
from examples.billing_fragment.billing.workflows import Payment, Receipt, collect, remind

__all__ = [
    "BillingConfig",
    "Invoice",
    "InvoicePaid",
    "Payment",
    "Receipt",
    "billing",
    "collect",
    "invoice_paid",
    "mark_paid",
    "open_invoice",
    "read_invoice",
    "remind",
]
