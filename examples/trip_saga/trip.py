"""A trip of several bookings: if one fails, or the trip is cancelled, those before it are taken back.

A cancellation reaches the body as `CancelledError` at its await; the steps of its `except` block still run, and are as
durable as any other: a process that dies while it takes back is replaced by one that goes on taking back.
"""

from __future__ import annotations

import asyncio
import logging

from keepstep import EventModel, WorkflowEvent, WorkflowStep, workflow
from keepstep.errors import NonRetryableError, StepFailedError

log = logging.getLogger("trip")


class Paid(EventModel, type="paid"):
    """The traveller has paid."""


async def book(what: str) -> str:
    """Book one part of a trip, and give the booking's number; there is no boat."""
    if what == "boat":
        raise NonRetryableError("no boat goes there", name="SoldOut")
    return f"{what}-1"


async def take_back(booking: str) -> None:
    """Give a booking back."""
    log.info("took back %s", booking)


@workflow(name="trip", events=[Paid])
async def trip(event: WorkflowEvent[list[str]], step: WorkflowStep) -> list[str]:
    """Book each part, then wait for the payment; all or nothing."""
    booked: list[str] = []
    try:
        for part in event.payload:
            booking = await step.do(f"book {part}", book, part)
            booked.append(booking)
        await step.wait_for_event("payment", Paid, timeout="1 day")
    except (StepFailedError, TimeoutError, asyncio.CancelledError):
        for booking in reversed(booked):
            await step.do(f"take back {booking}", take_back, booking)
        raise
    return booked
