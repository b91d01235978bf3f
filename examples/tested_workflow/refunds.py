"""A refund that a person has to approve, twice: once as one writes it first, and once as it survives crashes.

The first version pays out again when its process dies after the call of the bank and before the commit that records it.
"""

from __future__ import annotations

from pydantic import BaseModel

from keepstep import EventModel, EventTimeoutError, StepContext, WorkflowEvent, WorkflowStep, workflow


class Refund(BaseModel):
    """What somebody wants back."""

    order: str
    cents: int


class Approval(EventModel, type="approval"):
    """A manager's decision."""

    approved: bool


async def transfer(order: str, cents: int, *, idempotency_key: str | None = None) -> str:
    """Have the bank transfer money, and tell the number of the transfer. It does nothing twice for one key."""
    raise NotImplementedError("the example has no bank: tests stand in for it")


async def pay_carelessly(refund: Refund) -> str:
    """Pay; the bank cannot recognise a second call."""
    return await transfer(refund.order, refund.cents)


async def pay(context: StepContext, refund: Refund) -> str:
    """Pay; the bank recognises every call of this step by its key (B8)."""
    return await transfer(refund.order, refund.cents, idempotency_key=context.idempotency_key)


@workflow(name="careless-refund", events=[Approval])
async def careless_refund(event: WorkflowEvent[Refund], step: WorkflowStep) -> str:
    """Wait for the decision, then pay: the version with the mistake."""
    try:
        decision = await step.wait_for_event("decision", Approval, timeout="7 days")
    except EventTimeoutError:
        return "nobody decided"
    if not decision.payload.approved:
        return "refused"
    return await step.do("pay", pay_carelessly, event.payload)


@workflow(name="refund", events=[Approval])
async def refund(event: WorkflowEvent[Refund], step: WorkflowStep) -> str:
    """Wait for the decision, then pay."""
    try:
        decision = await step.wait_for_event("decision", Approval, timeout="7 days")
    except EventTimeoutError:
        return "nobody decided"
    if not decision.payload.approved:
        return "refused"
    return await step.do("pay", pay, event.payload)
