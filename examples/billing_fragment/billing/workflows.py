"""How an invoice is collected. Configuration and services come from where the workflow is mounted."""

from __future__ import annotations

from pydantic import BaseModel

from examples.billing_fragment.billing.fragment import billing
from examples.billing_fragment.billing.services import Invoice, mark_paid, write_reminder
from keepstep import EventModel, EventTimeoutError, StepContext, WorkflowEvent, WorkflowStep


class Payment(EventModel, type="payment"):
    """Money came in."""

    amount: int


class Receipt(BaseModel):
    """What collecting an invoice ends with."""

    order_id: str
    text: str
    reminders: int


@billing.workflow(name="collect", events=[Payment])
async def collect(event: WorkflowEvent[Invoice], step: WorkflowStep) -> Receipt:
    """Wait for the payment, and have reminders written until it comes."""
    order_id, config = event.payload.order_id, billing.config(step)
    reminded = 0
    while True:
        try:
            await step.wait_for_event("payment", Payment, timeout=config.terms)
            break
        except EventTimeoutError:
            await step.do("begin reminder", begin_reminder, order_id)
            reminded += 1
    invoice = await step.transaction("paid", mark_paid, order_id)
    return Receipt(order_id=order_id, text=f"{invoice.amount} {invoice.currency}", reminders=reminded)


def begin_reminder(order_id: str, context: StepContext) -> str:
    """Begin the other workflow; it commits with this step."""
    return context.tx.create(remind, params=order_id)


@billing.workflow(name="remind")
async def remind(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Write a reminder; a real one would send it, too."""
    return await step.transaction("write", write_reminder, event.payload)
