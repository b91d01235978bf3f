"""A Flask shop: sync views, the order's row and its workflow in one transaction, `app.sync` for the rest.

Run it: SHOP_DATABASE=sqlite:///shop.db flask --app "examples.flask_host.host:from_environment()" run
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, abort, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy import Engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from keepstep import (
    App,
    Bindings,
    EventModel,
    InstanceNotFoundError,
    KeepstepError,
    WorkflowEvent,
    WorkflowStep,
    workflow,
)
from keepstep.errors import InvalidInputError, StateError


class Base(DeclarativeBase):
    """The shop's own schema."""


class OrderRow(Base):
    """One order."""

    __tablename__ = "flask_order"

    id: Mapped[str] = mapped_column(primary_key=True)
    item: Mapped[str]
    shipped: Mapped[bool] = mapped_column(default=False)


class Payment(EventModel, type="payment"):
    """Money has come in."""

    cents: int


def mark_shipped(session: Session, order_id: str) -> None:
    """Write to the shop's table, in the transaction that records the step."""
    session.get_one(OrderRow, order_id).shipped = True


@workflow(name="order", events=[Payment])
async def order(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Wait for the money, then ship; the params are the item."""
    payment = await step.wait_for_event("money", Payment, timeout="14 days")
    await step.transaction("shipped", mark_shipped, event.instance_id)
    return f"{event.payload} for {payment.payload.cents} cents"


class Workflows(Bindings):
    """The shop's workflows."""

    order = order


def make_host(app: App[Workflows], engine: Engine) -> Flask:
    """Make the shop.

    Args:
        app: started by whoever makes the shop, once per process.
        engine: on the same database.
    """
    host = Flask(__name__)
    orders = app.sync.binding(order)

    @host.post("/orders/<order_id>")
    def place(order_id: str) -> ResponseReturnValue:
        """Write the row and begin the workflow, both or neither."""
        body: dict[str, Any] = request.get_json()
        with Session(engine) as session, session.begin():
            session.add(OrderRow(id=order_id, item=body["item"]))
            app.using(session).binding(order).create(id=order_id, params=body["item"])
            if body["item"] == "unicorn":
                abort(409, "out of stock")
        return jsonify(order=order_id), 201

    @host.post("/orders/<order_id>/payments/<payment_id>")
    def pay(order_id: str, payment_id: str) -> ResponseReturnValue:
        """Take a bank's message, which may come more than once."""
        payment = Payment.model_validate(request.get_json())
        accepted = orders.instance(order_id).send_event(payment, id=payment_id)
        return jsonify(duplicate=accepted.duplicate), 202

    @host.get("/orders/<order_id>")
    def look(order_id: str) -> ResponseReturnValue:
        """Say how it stands, in words."""
        return jsonify(why=orders.instance(order_id).why())

    @host.errorhandler(KeepstepError)
    def refuse(error: KeepstepError) -> ResponseReturnValue:
        """Answer with the code of what was refused; everything else is a failure."""
        statuses = {InstanceNotFoundError: 404, StateError: 409, InvalidInputError: 422}
        status = next((statuses[kind] for kind in statuses if isinstance(error, kind)), None)
        if status is None:
            raise error
        return jsonify(code=error.code, detail=str(error)), status

    return host


def from_environment() -> Flask:
    """Make the shop on the database that the environment names, with the app running beside it."""
    from sqlalchemy import create_engine  # noqa: PLC0415  # only this entry makes an engine of its own

    database = os.environ["SHOP_DATABASE"]
    engine = create_engine(database)
    Base.metadata.create_all(engine)
    app = App(database, workflows=Workflows)
    app.sync.start()
    return make_host(app, engine)
