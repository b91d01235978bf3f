"""Workflows with one mistake each, for the tests of what finds them."""

from __future__ import annotations

import random
import socket
import time
from contextlib import suppress

from sqlalchemy import Column, Integer, MetaData, String, Table, insert
from sqlalchemy.orm import Session

from keepstep import (
    EventModel,
    EventTimeoutError,
    NonRetryableError,
    StepContext,
    WorkflowEvent,
    WorkflowStep,
    workflow,
)

metadata = MetaData()
ledger = Table("ledger", metadata, Column("id", Integer, primary_key=True), Column("what", String))
seen: set[str] = set()


class Go(EventModel, type="go"):
    """Go on."""

    word: str = "now"


def charge(cents: int, idempotency_key: str | None = None) -> str:
    """Outside."""
    raise AssertionError("tests stand in for it")


async def mail(to: str, text: str) -> None:
    """Outside."""
    raise AssertionError("tests stand in for it")


class Bank:
    """Outside, with a method."""

    async def pay(self, cents: int) -> str:
        """Outside."""
        raise AssertionError("tests stand in for it")


async def take(context: StepContext, cents: int) -> str:
    """Charge with the step's key."""
    return charge(cents, idempotency_key=context.idempotency_key)


def take_in_thread(cents: int) -> str:
    """Charge without a key, as a sync step."""
    return charge(cents)


async def note(word: str) -> str:
    """Nothing outside."""
    return word


async def once_only(word: str) -> str:
    """Refuses to be executed twice: the mistake of ANOTHER_END."""
    if word in seen:
        raise NonRetryableError("it was there already")
    seen.add(word)
    return word


async def first_or_second(word: str) -> bool:
    """Whether it is executed for the first time."""
    first = word not in seen
    seen.add(word)
    return first


def write(session: Session, what: str) -> None:
    """A row with the boundary."""
    session.execute(insert(ledger).values(what=what))


@workflow(name="good", events=[Go])
async def good(event: WorkflowEvent[int], step: WorkflowStep) -> str:
    """Nothing is wrong."""
    number = await step.do("take", take, event.payload)
    await step.sleep("rest", "30 days")
    await step.transaction("book", write, number)
    got = await step.wait_for_event("go", Go, timeout=None)
    return got.payload.word


@workflow(name="in-thread")
async def in_thread(event: WorkflowEvent[int], step: WorkflowStep) -> str:
    """A sync step without a key."""
    return await step.do("take", take_in_thread, event.payload)


@workflow(name="chance")
async def chance(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """Names its step by chance."""
    word = await step.do(f"note {random.random()}", note, "a")
    await step.sleep("rest", "1 day")
    return word


@workflow(name="clock")
async def clock(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """Decides by the wall clock."""
    begun = time.time()
    await step.sleep("rest", "1 day")
    if time.time() - begun > 3600:
        return await step.do("late", note, "late")
    await step.sleep("rest more", "1 day")
    return "early"


@workflow(name="unrepeatable")
async def unrepeatable(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Its step fails when it is executed again."""
    return await step.do("once", once_only, event.payload)


@workflow(name="stranded", events=[Go])
async def stranded(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Waits for ever when its step was executed twice."""
    if not await step.do("first", first_or_second, event.payload):
        await step.wait_for_event("go", Go, timeout=None)
    return "done"


@workflow(name="impatient", events=[Go])
async def impatient(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Waits for hours only when its step was executed twice, and then does something else for days."""
    first = await step.do("first", first_or_second, event.payload)
    with suppress(EventTimeoutError):
        await step.wait_for_event("go", Go, timeout="2 days" if first else "2 hours")
    await step.sleep("rest", "10 days")
    return "done"


@workflow(name="networked")
async def networked(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """Its step opens a socket."""

    async def ask() -> str:
        socket.socket()
        return "answered"

    return await step.do("ask", ask)


@workflow(name="mails")
async def mails(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """Pays and mails by functions that are found in a module and in a class."""
    number = await step.do("pay", Bank().pay, 3)
    await step.do("mail", mail, "you", number)
    return number
