"""An order that a person has to approve: price it, let it rest, wait for the decision.

Everything that an instance needs to go on stands in the database at each await, so the process may end at any of
them and another one continues.
"""

from __future__ import annotations

import logging
from decimal import Decimal

from pydantic import BaseModel

from keepstep import EventModel, EventTimeoutError, Retry, StepContext, WorkflowEvent, WorkflowStep, workflow

log = logging.getLogger("approval")

PRICES = {"lamp": Decimal("24.90"), "desk": Decimal("189.00")}


class Order(BaseModel):
    """What somebody wants to buy."""

    item: str
    quantity: int


class Quote(BaseModel):
    """What the order costs, as the price list said."""

    total: Decimal
    currency: str = "EUR"


class Approval(EventModel, type="approval"):
    """A manager's decision."""

    approved: bool
    by: str


class Receipt(BaseModel):
    """How the order ended."""

    order_id: str
    total: Decimal
    approved: bool
    decided_by: str


class PriceListAwayError(Exception):
    """The price list did not answer; it may next time."""


async def price_order(context: StepContext, order: Order) -> Quote:
    """Ask the price list, whose first answer fails so that the retry can be seen."""
    log.info("executing %s, attempt %d", context.step_key, context.attempt)
    if context.attempt == 1:
        raise PriceListAwayError("the price list did not answer")
    return Quote(total=PRICES[order.item] * order.quantity)


async def reserve_stock(context: StepContext, order: Order) -> int:
    """Set the goods aside, and tell how many."""
    log.info("executing %s, attempt %d", context.step_key, context.attempt)
    return order.quantity


@workflow(name="order-approval", events=[Approval])
async def order_approval(event: WorkflowEvent[Order], step: WorkflowStep) -> Receipt:
    """Ask a manager for the order, and take silence for a no."""
    order = event.payload
    retry = Retry(max_attempts=4, delay="400ms", backoff="constant")
    quote = await step.do("price", price_order, order, retry=retry)
    # Ordinary logging in a body is written again at each replay; `step.log.info` is kept, once.
    log.info("the body continues with the price %s %s", quote.total, quote.currency)
    await step.sleep("time to reconsider", "1 second")
    try:
        decision = await step.wait_for_event("manager's decision", Approval, timeout="3 days")
    except EventTimeoutError:
        return Receipt(order_id=event.instance_id, total=quote.total, approved=False, decided_by="nobody")
    answer = decision.payload
    if answer.approved:
        await step.do("reserve", reserve_stock, order)
    return Receipt(
        order_id=event.instance_id, total=quote.total, approved=answer.approved, decided_by=answer.by
    )
