"""A library's own fragment under simulation: its services, tables, workflows and hooks, mounted as in a host (G1, G2, F1)."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, MetaData, String, Table, insert, select

from keepstep import EventModel, Fragment, HookContext, Tx, WorkflowEvent, WorkflowStep
from keepstep.errors import UsageError
from keepstep_testing import DurabilityError, Simulation, explore, settings

pytestmark = pytest.mark.usefixtures("own_settings")

metadata = MetaData()
parcels = Table(
    "post_parcel", metadata, Column("id", String(50), primary_key=True), Column("state", String(20))
)
post = Fragment("post", schema=metadata)


class Arrived(EventModel, type="arrived"):
    """It is there."""


def ring(parcel: str, *, key: str | None = None) -> None:
    """Outside."""
    raise AssertionError("tests stand in for it")


@post.hook
async def announced(context: HookContext, payload: str) -> None:
    """Ring, with the delivery's key."""
    ring(payload, key=context.idempotency_key)


@post.hook
async def rung(context: HookContext, payload: str) -> None:
    """Ring without any."""
    ring(payload)


@post.service
def send(tx: Tx, parcel: str) -> None:
    """Write the parcel, and begin to wait for it."""
    tx.execute(insert(parcels).values(id=parcel, state="sent"))
    tx.workflows.travel.create(id=parcel, params=parcel)


@post.service
def arrive(tx: Tx, parcel: str) -> str:
    """Note it, and announce it."""
    tx.execute(parcels.update().where(parcels.c.id == parcel).values(state="there"))
    tx.trigger_hook(announced, parcel, key=parcel)
    return parcel


@post.service
def state_of(tx: Tx, parcel: str) -> Any:
    """How it stands."""
    return tx.execute(select(parcels.c.state).where(parcels.c.id == parcel)).scalar_one()


@post.workflow(name="travel", events=[Arrived])
async def travel(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Wait for the arrival, and note it."""
    await step.wait_for_event("arrival", Arrived, timeout="30 days")
    return await step.transaction("arrive", arrive, event.payload)


async def sends(sim: Simulation) -> None:
    """One parcel, from the service to the bell."""
    bell = sim.effect(ring, returns=None)
    sim.mount(post)
    await sim.fragment(post).call(send, "p-1")
    await sim.advance("2 days")
    instance = await sim.fragment(post).workflows.travel.get("p-1")
    sim.client(instance.send_event, Arrived())
    await sim.settle()
    assert await sim.fragment(post).call(state_of, "p-1") == "there"
    assert bell.count == 1


async def test_a_fragment_works_as_in_a_host(sim: Simulation) -> None:
    """Service, workflow, transaction and hook, in one world and in virtual time."""
    await sends(sim)
    assert sim.rows("SELECT id, state FROM post_parcel") == [("p-1", "there")]


async def test_a_fragment_is_mounted_twice(sim: Simulation) -> None:
    """Each mount has its own rows and names (G2)."""
    other = post.instance("air")
    sim.mount(post, other)
    await sim.fragment(other).call(send, "p-1")
    await sim.quiet()
    assert sim.rows("SELECT count(*) FROM air_post_parcel") == [(1,)]
    assert sim.rows("SELECT count(*) FROM post_parcel") == [(0,)]
    assert await sim.fragment(other).call(state_of, "p-1") == "sent"
    assert [each.id for each in (await sim.fragment(post).workflows.travel.list()).items] == []


def test_a_fragment_survives_what_is_drawn() -> None:
    """Any order, and mishaps."""
    found = explore(sends, schedules=12, name="sends", budget="60s")
    assert found.schedules == 12
    assert found.fired


async def careless(sim: Simulation) -> None:
    """Its hook gives the receiver no key."""
    bell = sim.effect(ring, returns=None)
    shop = Fragment("shop")

    @shop.service
    def sell(tx: Tx, item: str) -> None:
        tx.trigger_hook(call_out, item, key=item)

    @shop.hook
    async def call_out(context: HookContext, payload: str) -> None:
        ring(payload)

    sim.mount(shop)
    await sim.fragment(shop).call(sell, "lamp")
    await sim.settle()
    assert bell.count == 1


def test_a_hook_without_a_key_is_found() -> None:
    """A process that dies after the call and before the delivery is recorded rings twice (F1)."""
    settings.use(settings.Settings(exhaustive=True))
    with pytest.raises(DurabilityError, match="crash at runner-1"):
        explore(careless, name="careless")


async def test_what_cannot_be_composed_is_said_at_once(sim: Simulation) -> None:
    """As by an app."""
    with pytest.raises(UsageError, match="cannot be composed"):
        sim.mount(post, post)
