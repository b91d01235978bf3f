"""What type checkers infer from fragments, services, hooks and mounts; checked by pyright strict, never run."""

# ruff: noqa: D101, D103 (the names say all)

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_type

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from keepstep import (
    App,
    Binding,
    Bindings,
    Fragment,
    HookContext,
    Instance,
    StepContext,
    Tx,
    WorkflowEvent,
    WorkflowStep,
    workflow,
)
from keepstep.authoring.hooks import HookDefinition
from keepstep.authoring.registry import KeyedBindings
from keepstep.client.mounted import Mounted
from keepstep.fragment.service import Service
from keepstep.model.outcome import HookView, Page
from keepstep.sync.binding import SyncBinding
from keepstep.sync.instance import SyncInstance
from keepstep.sync.mounted import SyncMounted


class Config(BaseModel):
    currency: str = "EUR"


class Invoice(BaseModel):
    total: int


class Receipt(BaseModel):
    number: str


@workflow(name="collect")
async def collect(event: WorkflowEvent[Invoice], step: WorkflowStep) -> Receipt:
    assert_type(billing.config(step), Config)
    opened = await step.transaction("open", open_invoice, "o-1", total=3)
    assert_type(opened, Invoice)
    number = await step.do("charge", charge, event.payload)
    return Receipt(number=number)


def charge(invoice: Invoice, context: StepContext) -> str:
    context.tx.trigger_hook(opened, invoice)
    context.tx.trigger_hook(opened, "no invoice")  # pyright: ignore[reportArgumentType]
    assert_type(context.tx.create(collect, params=invoice), str)
    return billing.config(context).currency


class Workflows(Bindings):
    collect = collect


billing = Fragment("billing", config=Config, workflows=Workflows)
plain = Fragment("plain")
configured = Fragment("configured", config=Config)
with_workflows = Fragment("with_workflows", workflows=Workflows)


@billing.service
def open_invoice(tx: Tx, order_id: str, *, total: int = 0) -> Invoice:
    assert_type(billing.config(tx), Config)
    assert_type(tx.binding(collect), SyncBinding[Invoice, Receipt])
    assert_type(tx.binding(collect).create(params=Invoice(total=1)), SyncInstance[Receipt])
    assert_type(tx.trigger_hook(opened, Invoice(total=total), key=order_id), str)
    tx.trigger_hook(opened, 7)  # pyright: ignore[reportArgumentType]
    return Invoice(total=total)


@billing.hook
async def opened(context: HookContext, payload: Invoice) -> None:
    assert_type(await context.call(open_invoice, "o-2"), Invoice)
    assert_type(billing.config(context), Config)


@billing.hook(retry={"max_attempts": 3}, timeout="1 minute", concurrency=4)
def closed(context: HookContext, payload: str) -> None: ...


@plain.workflow(name="decorated")
async def decorated(event: WorkflowEvent[str], step: WorkflowStep) -> int:
    return len(event.payload)


def definitions() -> None:
    assert_type(billing, Fragment[Config, Workflows])
    assert_type(plain, Fragment[None, KeyedBindings])
    assert_type(configured, Fragment[Config, KeyedBindings])
    assert_type(with_workflows, Fragment[None, Workflows])
    assert_type(opened, HookDefinition[Invoice])
    assert_type(closed, HookDefinition[str])
    service: Service[..., Invoice] = open_invoice
    called: Callable[[Tx, str], Invoice] = open_invoice
    assert service is called
    billing.instance("eu", config=Config(currency="CHF"))
    billing.instance("eu", config=Invoice(total=1))  # pyright: ignore[reportArgumentType]
    billing.uses(plain)
    plain.uses("billing")  # pyright: ignore[reportArgumentType]


class Shop(App[KeyedBindings]):
    billing = billing
    swiss = billing.instance("swiss", config=Config(currency="CHF"))


app = App("sqlite:///x.db", fragments=[billing, plain.instance("other")])
shop = Shop("sqlite:///x.db")


async def mounted(session: AsyncSession) -> None:
    assert_type(app.fragment(billing), Mounted[Config, Workflows])
    assert_type(shop.billing, Mounted[Config, Workflows])
    assert_type(shop.swiss.config, Config)
    assert_type(shop.billing.workflows.collect, Binding[Invoice, Receipt])
    instance = await shop.billing.workflows.collect.create(id="o-1", params=Invoice(total=1))
    assert_type(instance, Instance[Receipt])
    assert_type(await instance.result(timeout=1), Receipt)
    await shop.billing.workflows.collect.create(id="o-1")  # pyright: ignore[reportCallIssue]
    assert_type(app.fragment(plain).binding(decorated), Binding[str, int])
    assert_type(await shop.billing.call(open_invoice, "o-1", total=7), Invoice)
    await shop.billing.call(open_invoice, 7)  # pyright: ignore[reportArgumentType]
    assert_type(await app.using(session).fragment(billing).call(open_invoice, "o-1"), Invoice)
    assert_type(await app.hooks.list(status="dead"), Page[HookView])
    assert_type(app.fragment(plain).workflows.decorated, Binding[Any, Any])


def mounted_in_sync_code(session: Session) -> None:
    assert_type(app.using(session).fragment(billing), SyncMounted[Config])
    assert_type(app.using(session).fragment(billing).call(open_invoice, "o-1"), Invoice)
    assert_type(app.sync.fragment(billing).binding(collect), SyncBinding[Invoice, Receipt])
    assert_type(app.sync.hooks.get("1"), HookView)


@billing.route("GET", "/invoices/{order_id}")
def show(tx: Tx, order_id: str) -> int:
    """A route stays the function that it was."""
    return len(order_id)


def routes(tx: Tx) -> None:
    assert_type(show(tx, "o-1"), int)
    show(tx)  # pyright: ignore[reportCallIssue]
    billing.route("GET", "/x", kynd="read")  # pyright: ignore[reportCallIssue]
