"""A trip is booked whole or not at all, whatever ends it."""

from __future__ import annotations

import asyncio

import pytest

from examples.trip_saga.trip import Paid, trip
from keepstep import App, Instance
from keepstep.errors import WorkflowCancelledError, WorkflowFailedError

LOOK_S = 0.01


async def taken_back(instance: Instance[list[str]]) -> list[str]:
    """What was given back, in order."""
    steps = (await instance.history()).steps
    return [step.name.removeprefix("take back ") for step in steps if step.name.startswith("take back ")]


async def until_it_waits(instance: Instance[list[str]]) -> None:
    """Look until the instance is parked."""
    details = await instance.details()
    while not details.waiting_for:
        await asyncio.sleep(LOOK_S)
        details = await instance.details()


async def test_a_paid_trip_keeps_its_bookings(database_url: str) -> None:
    """Nothing is taken back when nothing goes wrong."""
    app = App(database_url, workflows={"TRIP": trip})
    async with app.running():
        instance = await app.workflows.TRIP.create(params=["train", "hotel"])
        await instance.send_event(Paid())
        assert await instance.result(timeout=30) == ["train-1", "hotel-1"]
        assert await taken_back(instance) == []


async def test_a_failed_booking_takes_back_those_before_it(database_url: str) -> None:
    """The instance is errored with the first failure, after the cleanup (C5)."""
    app = App(database_url, workflows={"TRIP": trip})
    async with app.running():
        instance = await app.workflows.TRIP.create(params=["train", "hotel", "boat"])
        with pytest.raises(WorkflowFailedError, match="no boat goes there"):
            await instance.result(timeout=30)
        assert await taken_back(instance) == ["hotel-1", "train-1"]


async def test_a_cancelled_trip_is_taken_back(database_url: str) -> None:
    """A cancellation is cooperative: the steps of the cleanup run before the instance ends (E5)."""
    app = App(database_url, workflows={"TRIP": trip})
    async with app.running():
        instance = await app.workflows.TRIP.create(params=["train", "hotel"])
        await until_it_waits(instance)
        await instance.cancel("the traveller is ill")
        with pytest.raises(WorkflowCancelledError, match="the traveller is ill"):
            await instance.result(timeout=30)
        assert await taken_back(instance) == ["hotel-1", "train-1"]
