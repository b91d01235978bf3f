"""A FastAPI shop that mounts the workflows' routes, and decides with its own tokens who may do what.

Customers place orders through the shop's own endpoint and approve their own orders through the routes; the support
team reads everything and may steer it; nobody else gets in. Run it:

    SHOP_DATABASE=sqlite:///shop.db uvicorn --factory examples.fastapi_host.host:from_environment
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from keepstep import App, Bindings, EventModel, WorkflowEvent, WorkflowStep, workflow
from keepstep.errors import UnauthenticatedError
from keepstep.routes import Access, Kind


class Order(BaseModel):
    """What a customer wants."""

    customer: str
    item: str


class Approval(EventModel, type="approval"):
    """The customer's last word."""

    approved: bool


async def ship(order: Order) -> str:
    """Stand in for the carrier."""
    return f"{order.item} for {order.customer}"


@workflow(name="order", events=[Approval])
async def order(event: WorkflowEvent[Order], step: WorkflowStep) -> str | None:
    """Ask once more, then ship."""
    decision = await step.wait_for_event("last word", Approval, timeout="2 days", default=None)
    if decision is None or not decision.payload.approved:
        return None
    await step.sleep("until the carrier comes", "200ms")
    return await step.do("ship", ship, event.payload)


class Workflows(Bindings):
    """The shop's workflows."""

    order = order


CUSTOMERS = {"token-of-ada": "ada", "token-of-bob": "bob"}
SUPPORT = frozenset({"token-of-support"})
BEARER = HTTPBearer()


def token_of(request: Request) -> str:
    """The token that a request carries."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not (token in CUSTOMERS or token in SUPPORT):
        raise UnauthenticatedError("send the token that the shop gave you, as `Authorization: Bearer …`")
    return token


def may(request: Request, access: Access) -> bool:
    """Who may do what with the workflows: the shop's rules in one place (G3)."""
    token = token_of(request)
    if token in SUPPORT:
        return access.kind in {Kind.READ, Kind.MANAGE}
    own = (access.instance_id or "").startswith(f"{CUSTOMERS[token]}-")
    return own and access.kind in {Kind.READ, Kind.SEND_EVENT}


def make_host(database: str) -> FastAPI:
    """Make the shop."""
    app = App(database, workflows=Workflows)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncGenerator[None]:
        async with app.running():
            yield

    host = FastAPI(lifespan=life)
    host.mount("/workflows-of-the-shop", app.routes(authorize=may))

    @host.post("/orders/{number}", status_code=201)
    async def place(
        number: int, item: str, caller: Annotated[HTTPAuthorizationCredentials, Depends(BEARER)]
    ) -> dict[str, str]:
        """Place an order; asking twice places it once."""
        if caller.credentials not in CUSTOMERS:
            raise HTTPException(403, "only customers place orders")
        customer = CUSTOMERS[caller.credentials]
        instance = await app.workflows.order.create(
            id=f"{customer}-{number}", params=Order(customer=customer, item=item), if_exists="return"
        )
        return {"order": instance.id}

    return host


def from_environment() -> FastAPI:
    """Make the shop on the database that the environment names."""
    return make_host(os.environ["SHOP_DATABASE"])
