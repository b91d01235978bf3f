"""A small shop for tests of what users hold: its workflows, and the outside world."""

from pydantic import BaseModel

from keepstep import EventModel, Retry, WorkflowEvent, WorkflowStep, workflow


class Order(BaseModel):
    """Params of the workflow."""

    item: str
    quantity: int = 1


class Receipt(BaseModel):
    """Its result."""

    total: int
    note: str | None = None


class Approval(EventModel, type="approval"):
    """What it waits for."""

    approved: bool


class Shop:
    """The outside world: how often a step ran, and whether it fails."""

    charges = 0
    broken = False


def charge(order: Order) -> int:
    """A step that fails as long as the shop is broken."""
    Shop.charges += 1
    if Shop.broken:
        raise ConnectionError("the bank is closed")
    return 25 * order.quantity


@workflow(name="order", events=[Approval], retry=Retry(max_attempts=1))
async def order(event: WorkflowEvent[Order], step: WorkflowStep) -> Receipt:
    """Charge, wait for an approval, give a receipt."""
    total = await step.do("charge", charge, event.payload)
    decision = await step.wait_for_event("decision", Approval, timeout="1 hour", default=None)
    return Receipt(total=total, note=None if decision is None else str(decision.payload.approved))


@workflow(name="nothing")
async def nothing(event: WorkflowEvent[None], step: WorkflowStep) -> None:
    """End at once."""
