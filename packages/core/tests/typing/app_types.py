"""What type checkers infer from apps, bindings and handles; checked by pyright strict, never run."""

# ruff: noqa: D101, D102, D103 (the names say all)

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, scoped_session

from keepstep import (
    App,
    Binding,
    Bindings,
    Dispatcher,
    EventModel,
    Instance,
    InstanceDetails,
    InstanceStatus,
    Limits,
    Page,
    RunnerOptions,
    Status,
    TickResult,
    WorkflowEntrypoint,
    WorkflowEvent,
    WorkflowStep,
    workflow,
)
from keepstep.authoring.registry import KeyedBindings
from keepstep.client.hosted import Hosted
from keepstep.client.listed import Listed
from keepstep.model.outcome import Accepted, History
from keepstep.sync.binding import SyncBinding
from keepstep.sync.bindings import SyncBindings
from keepstep.sync.client import SyncClient
from keepstep.sync.hosted import SyncHosted
from keepstep.sync.instance import SyncInstance
from keepstep_node import PollingDispatcher


@dataclass
class Order:
    sku: str


@dataclass
class Receipt:
    number: str


class Approval(EventModel, type="approval"):
    approved: bool


@workflow(name="order-approval", events=[Approval])
async def order_approval(event: WorkflowEvent[Order], step: WorkflowStep) -> Receipt:
    return Receipt(event.payload.sku)


@workflow(name="cleanup")
async def cleanup(event: WorkflowEvent[None], step: WorkflowStep) -> None: ...


class Refund(WorkflowEntrypoint[Order, int]):
    name = "refund"

    async def run(self, event: WorkflowEvent[Order], step: WorkflowStep) -> int:
        return len(event.payload.sku)


class Workflows(Bindings):
    approval = order_approval
    cleanup = cleanup
    refund = Refund


app = App("sqlite:///x.db", workflows=Workflows)
keyed = App("sqlite:///x.db", workflows={"APPROVAL": order_approval, "REFUND": Refund})


def apps(engine: Engine, async_engine: AsyncEngine) -> None:
    assert_type(app, App[Workflows])
    assert_type(keyed, App[KeyedBindings])
    App(engine, workflows=Workflows, dispatcher=None)
    App(async_engine, workflows=Workflows, dispatcher=PollingDispatcher(), runner=RunnerOptions(cache=0))
    App("postgresql://db/x", workflows=Workflows, limits=Limits(steps_max=10))
    App(7, workflows=Workflows)  # pyright: ignore[reportArgumentType, reportCallIssue]
    App("sqlite:///x.db", workflows=Workflows, dispacher=None)  # pyright: ignore[reportCallIssue]
    RunnerOptions(leese="1 minute")  # pyright: ignore[reportCallIssue]
    dispatcher: Dispatcher = PollingDispatcher(interval=timedelta(seconds=1))
    App("sqlite:///x.db", workflows=Workflows, dispatcher=dispatcher)


def bindings() -> None:
    assert_type(app.workflows, Workflows)
    assert_type(app.workflows.approval, Binding[Order, Receipt])
    assert_type(app.workflows.cleanup, Binding[None, None])
    assert_type(app.binding(order_approval), Binding[Order, Receipt])
    assert_type(app.binding(Refund), Binding[Order, int])
    assert_type(keyed.workflows.APPROVAL, Binding[Any, Any])
    assert_type(keyed.workflows["APPROVAL"], Binding[Any, Any])
    assert_type(keyed.binding(order_approval), Binding[Order, Receipt])
    app.workflows.aproval  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


async def creating() -> None:
    approval = app.workflows.approval
    assert_type(await approval.create(id="o-1", params=Order("a")), Instance[Receipt])
    assert_type(await approval.create(None, Order("a"), if_exists="return"), Instance[Receipt])
    assert_type(await app.workflows.cleanup.create(), Instance[None])
    assert_type(await app.workflows.cleanup.create(id="c"), Instance[None])
    assert_type(await keyed.workflows.APPROVAL.create("o-1"), Instance[Any])
    await approval.create()  # pyright: ignore[reportCallIssue]
    await approval.create(params="a")  # pyright: ignore[reportArgumentType]
    await approval.create(params=Order("a"), if_exists="ignore")  # pyright: ignore[reportArgumentType]
    assert_type(
        await approval.create_batch([{"id": "a", "params": Order("a")}]), tuple[Instance[Receipt], ...]
    )
    await approval.create_batch([{"name": "a"}])  # pyright: ignore[reportArgumentType]
    assert_type(await approval.restart_or_create("o-1", Order("a"), if_run=1), Instance[Receipt])


async def finding() -> None:
    approval = app.workflows.approval
    assert_type(await approval.get("o-1"), Instance[Receipt])
    assert_type(approval.instance("o-1"), Instance[Receipt])
    page = await approval.list(status="errored", limit=10)
    assert_type(page, Page[Listed[Instance[Receipt]]])
    assert_type([(item.id, item.status) for item in page.items], list[tuple[str, Status]])


async def handling(instance: Instance[Receipt]) -> None:
    assert_type(await instance.result(timeout=30), Receipt)
    assert_type(await instance.result("5 minutes"), Receipt)
    assert_type(await instance.status(), InstanceStatus)
    assert_type(await instance.details(), InstanceDetails)
    assert_type(await instance.history(run=1), History)
    assert_type(await instance.why(), str)
    assert_type(await instance.send_event(Approval(approved=True)), Accepted)
    assert_type(await instance.send_event("approval", {"approved": True}, id="e", if_waiting=True), Accepted)
    await instance.send_event(7)  # pyright: ignore[reportArgumentType]
    await instance.restart(Order("b"))
    await instance.restart(from_step="do:charge")


async def living() -> None:
    async with app.running() as running:
        assert_type(running, App[Workflows])
    assert_type(await app.tick(max_instances=10), TickResult)
    assert_type(await app.run_until_idle(), int)


async def in_an_async_transaction(session: AsyncSession, connection: AsyncConnection) -> None:
    assert_type(app.using(session), Hosted[Workflows])
    assert_type(app.using(connection).workflows.approval, Binding[Order, Receipt])
    assert_type(await app.using(session).binding(Refund).create(params=Order("a")), Instance[int])


def in_a_sync_transaction(session: Session, connection: Connection, scoped: scoped_session[Session]) -> None:
    assert_type(app.using(session), SyncHosted)
    assert_type(app.using(scoped).workflows.approval, SyncBinding[Any, Any])
    assert_type(app.using(connection).binding(order_approval), SyncBinding[Order, Receipt])
    created = app.using(session).binding(order_approval).create(params=Order("a"))
    assert_type(created, SyncInstance[Receipt])
    app.using("sqlite:///x.db")  # pyright: ignore[reportArgumentType, reportCallIssue]


def in_sync_code() -> None:
    with app.sync.running() as sync:
        assert_type(sync, SyncClient)
    assert_type(app.sync.workflows, SyncBindings)
    assert_type(app.sync.workflows.approval, SyncBinding[Any, Any])
    assert_type(app.sync.binding(order_approval).create(params=Order("a")).result(timeout=30), Receipt)
    app.sync.binding(order_approval).create()  # pyright: ignore[reportCallIssue]
    assert_type(app.sync.tick(), TickResult)
