"""What type checkers infer from the client over HTTP and from the routes; checked by pyright strict, never run."""

# ruff: noqa: D101, D103 (the names say all)

from __future__ import annotations

from typing import Any, assert_type

from pydantic import BaseModel
from starlette.requests import Request

from keepstep import App, Binding, Bindings, Instance, WorkflowEvent, WorkflowStep, workflow
from keepstep.client import Client
from keepstep.routes import Access, Kind, Routes
from keepstep.sync.binding import SyncBinding


class Order(BaseModel):
    item: str


class Receipt(BaseModel):
    total: int


@workflow(name="order")
async def order(event: WorkflowEvent[Order], step: WorkflowStep) -> Receipt:
    return Receipt(total=len(event.payload.item))


class Workflows(Bindings):
    order = order


client = Client("https://shop.example", headers={"authorization": "Bearer x"})
assert_type(client.binding(order), Binding[Order, Receipt])
assert_type(client.bindings(Workflows).order, Binding[Order, Receipt])
assert_type(client.workflow("order", params=Order, output=Receipt), Binding[Order, Receipt])
assert_type(client.workflow("order"), Binding[Any, Any])
assert_type(client.sync.binding(order), SyncBinding[Order, Receipt])
assert_type(client.sync.workflow("order", params=Order, output=Receipt), SyncBinding[Order, Receipt])


async def use() -> None:
    instance = await client.binding(order).create(params=Order(item="lamp"))
    assert_type(instance, Instance[Receipt])
    assert_type(await instance.result(), Receipt)
    await client.binding(order).create(params="lamp")  # pyright: ignore[reportArgumentType]
    assert_type(client.sync.binding(order).create("o-1", Order(item="lamp")).result(), Receipt)


def everybody(request: Request, access: Access) -> bool:
    return access.kind is Kind.READ and "authorization" in request.headers


async def some(request: Request, access: Access) -> bool:
    return access.workflow == "order"


def routes(app: App[Workflows]) -> None:
    assert_type(app.routes(authorize=everybody), Routes)
    app.routes(authorize={"read": everybody, "create": some}, tick=True, wait_max="5 seconds")
    app.routes(authorize=lambda request, access: True, prefix="/api", body_bytes_max=1000)
    app.routes(authorise=everybody)  # pyright: ignore[reportCallIssue]
    app.routes(authorize=len)  # pyright: ignore[reportArgumentType]
