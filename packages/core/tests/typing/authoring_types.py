"""What type checkers infer from the authoring API; checked by pyright strict, never run."""

# ruff: noqa: D101, D102, D103 (the names say all)

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any, assert_type
from uuid import UUID

from keepstep.authoring.definition import WorkflowDefinition, WorkflowEntrypoint, definition_of, workflow
from keepstep.authoring.events import EventModel, ReceivedEvent, WorkflowEvent
from keepstep.authoring.registry import Bindings, Registry
from keepstep.authoring.step import StepContext, WorkflowStep
from keepstep.client.binding import Binding
from keepstep.model.retry import Retry


@dataclass
class Order:
    sku: str
    price: int


@dataclass
class Receipt:
    number: str


class Approval(EventModel, type="approval"):
    approved: bool


async def charge(order: Order, amount: int = 1) -> Receipt:
    return Receipt(f"{order.sku}-{amount}")


def price(order: Order) -> int:
    return order.price


async def numbered(ctx: StepContext, order: Order) -> Receipt:
    return Receipt(f"{ctx.idempotency_key}-{order.sku}")


def numbered_sync(ctx: StepContext, order: Order) -> int:
    return ctx.attempt + order.price


async def told_last(order: Order, ctx: StepContext) -> Receipt:
    return Receipt(f"{ctx.idempotency_key}-{order.sku}")


def told_last_sync(order: Order, ctx: StepContext) -> int:
    return ctx.attempt + order.price


async def insert_async(session: object, order: Order) -> int:
    return order.price


def insert_sync(session: object, order: Order) -> str:
    return order.sku


def undo(order: Order) -> Receipt:
    return Receipt(order.sku)


async def undo_async(order: Order) -> Receipt:
    return Receipt(order.sku)


@workflow(name="order-approval", retry=Retry(max_attempts=3), timeout="1 minute", events=[Approval])
async def order_approval(event: WorkflowEvent[Order], step: WorkflowStep) -> Receipt:
    order = event.payload
    assert_type(order, Order)

    assert_type(await step.do("charge", charge, order), Receipt)
    assert_type(await step.do("charge", charge, order, amount=2), Receipt)
    assert_type(await step.do("price", price, order), int)
    assert_type(await step.do("numbered", numbered, order), Receipt)
    assert_type(await step.do("numbered", numbered_sync, order), int)
    assert_type(await step.do("told last", told_last, order), Receipt)
    assert_type(await step.do("told last", told_last_sync, order), int)
    assert_type(await step.do("told last", told_last_sync, order, timeout="1 s"), int)
    assert_type(await step.do("lambda", lambda: 5), int)
    await step.do("charge", charge, "no order")  # pyright: ignore[reportCallIssue, reportArgumentType]
    await step.do("charge", charge)  # pyright: ignore[reportCallIssue]
    await step.do("told last", told_last)  # pyright: ignore[reportCallIssue]
    await step.do("told last", told_last, "no order")  # pyright: ignore[reportCallIssue]

    assert_type(
        await step.do("charge", charge, order, 2, retry=Retry(max_attempts=1), timeout="1 s"), Receipt
    )
    assert_type(await step.do("price", price, order, non_retryable=[ValueError, "HttpError"]), int)
    assert_type(
        await step.do("numbered", numbered, order, journal_intent=True, reconcile=undo_async), Receipt
    )
    await step.do("charge", charge, "no order", 2, timeout="1 s")  # pyright: ignore[reportCallIssue]

    @step.do("local", timeout="1 s")
    async def local(count: int) -> str:
        return order.sku * count

    @step.do("local sync")
    def local_sync() -> int:
        return 1

    @step.do("local with context")
    async def local_context(ctx: StepContext, count: int) -> str:
        return ctx.step_key * count

    assert_type(await local(2), str)
    assert_type(await local_sync(), int)
    assert_type(await local_context(2), str)

    assert_type(await step.transaction("insert", insert_async, order), int)
    assert_type(await step.transaction("insert", insert_sync, order), str)

    assert_type(await step.wait_for_event("wait", Approval), ReceivedEvent[Approval])
    assert_type(await step.wait_for_event("wait", Approval, default=None), ReceivedEvent[Approval] | None)
    assert_type((await step.wait_for_event("wait", Approval, timeout=None)).payload.approved, bool)
    assert_type(await step.wait_for_event("wait", "approval", timeout="1 hour"), ReceivedEvent[Any])
    assert_type(await step.wait_for_event("wait", "approval", default=0), ReceivedEvent[Any] | int)

    first, second = await asyncio.gather(step.do("a", charge, order), step.do("b", price, order))
    assert_type(first, Receipt)
    assert_type(second, int)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(step.scope("item-42").do("charge", charge, order))
    assert_type(task.result(), Receipt)

    await step.sleep("rest", "10 seconds")
    assert_type(step.now(), datetime)
    assert_type(step.random(), Random)
    assert_type(step.uuid4(), UUID)
    step.log.info("charged", receipt=first.number)
    if second > 10:
        step.continue_as_new(order)
    return first


class OrderApproval(WorkflowEntrypoint[Order, Receipt]):
    name = "order-approval-class"
    events = (Approval,)

    async def run(self, event: WorkflowEvent[Order], step: WorkflowStep) -> Receipt:
        return await step.do("charge", charge, event.payload)


class Workflows(Bindings):
    approval = order_approval
    classy = OrderApproval


def uses(workflows: Workflows) -> None:
    assert_type(order_approval, WorkflowDefinition[Order, Receipt])
    assert_type(definition_of(OrderApproval), WorkflowDefinition[Order, Receipt])
    assert_type(workflows.approval, Binding[Order, Receipt])
    assert_type(workflows.classy, Binding[Order, Receipt])
    assert_type(Workflows.approval, WorkflowDefinition[Order, Receipt])
    Registry({"APPROVAL": order_approval, "CLASSY": OrderApproval})
    Registry(Workflows)


@workflow(name="sync")  # pyright: ignore[reportArgumentType]
def sync_body(event: WorkflowEvent[Order], step: WorkflowStep) -> Receipt:
    return Receipt(event.payload.sku)
