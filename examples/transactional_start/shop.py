"""A shop with a table of its own: placing an order writes the row and starts the workflow in one transaction.

Neither can exist without the other: no order without its workflow when the process dies in between, no workflow
for an order that was rolled back.
"""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from keepstep import App, Bindings, WorkflowEvent, WorkflowStep, workflow


class Base(DeclarativeBase):
    """The shop's own schema."""


class OrderRow(Base):
    """One order."""

    __tablename__ = "shop_order"

    id: Mapped[str] = mapped_column(primary_key=True)
    item: Mapped[str]
    shipped: Mapped[bool] = mapped_column(default=False)


class OutOfStockError(Exception):
    """The shop cannot take the order."""


async def print_label(item: str) -> str:
    """Stand in for the carrier's service."""
    return f"label for one {item}"


def mark_shipped(session: Session, order_id: str) -> None:
    """Write to the shop's table in the transaction that records the step."""
    session.get_one(OrderRow, order_id).shipped = True


@workflow(name="fulfil-order")
async def fulfil_order(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Ship what was ordered; the params are the item."""
    label = await step.do("label", print_label, event.payload)
    await step.transaction("shipped", mark_shipped, event.instance_id)
    return label


class Workflows(Bindings):
    """The shop's workflows."""

    fulfil = fulfil_order


def place_order(app: App[Workflows], session: Session, order_id: str, item: str) -> None:
    """Write the order and start its workflow; the caller's transaction decides about both."""
    session.add(OrderRow(id=order_id, item=item))
    app.using(session).workflows.fulfil.create(id=order_id, params=item)
    if item == "unicorn":
        raise OutOfStockError(item)
