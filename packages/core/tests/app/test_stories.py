"""Whole workflows as other systems' documents tell them, seen from outside at each stage (requirements S1, S3)."""

from datetime import timedelta
from typing import Any

import pytest

from keepstep import App, Status, WorkflowEvent, WorkflowStep, workflow
from keepstep_testing.conformance.engines import Clock


def greet(name: str) -> str:
    """A step."""
    return f"hello {name}"


@workflow(name="greeting")
async def greeting(event: WorkflowEvent[str], step: WorkflowStep) -> dict[str, Any]:
    """Greet, rest, wait to be approved."""
    said = await step.do("greet", greet, event.payload)
    await step.sleep("rest", "5 seconds")
    approval = await step.wait_for_event("approval", "approval", timeout="1 minute")
    return {"said": said, "approved": approval.payload["approved"]}


SHELF: list[str] = []


def reserve(item: str) -> None:
    """Take it from the shelf."""
    SHELF.remove(item)


def put_back(item: str) -> None:
    """Undo that."""
    SHELF.append(item)


def ship(item: str) -> str:
    """Send it."""
    return f"shipped {item}"


@workflow(name="order")
async def order(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Reserve, wait a day for the payment, ship or put back."""
    await step.do("reserve", reserve, event.payload)
    paid = await step.wait_for_event("payment", "payment", timeout="24 hours", default=None)
    if paid is None:
        await step.do("put back", put_back, event.payload)
        return "not paid"
    return await step.do("ship", ship, event.payload)


def report(month: int) -> int:
    """The work of one month."""
    return month + 1


@workflow(name="monthly")
async def monthly(event: WorkflowEvent[int], step: WorkflowStep) -> None:
    """Work, rest for 30 days, and begin again without the history."""
    month = await step.do("report", report, event.payload)
    await step.sleep("until next month", "30 days")
    step.continue_as_new(month)


@pytest.fixture
def clock():
    """Moved by the test."""
    return Clock()


@pytest.fixture
async def app(database_url, clock):
    """Ticked, on each kind of database."""
    app = App(
        database_url,
        workflows={"GREETING": greeting, "ORDER": order, "MONTHLY": monthly},
        dispatcher=None,
        clock=clock,
    )
    await app.migrate()
    yield app
    await app.stop()


async def later(app, clock, **time):
    """Let time pass and do what is due."""
    clock.ms += int(timedelta(**time) / timedelta(milliseconds=1))
    await app.run_until_idle()


async def test_each_stage_of_a_greeting_is_seen(app, clock):
    """S1-36, S1-42 (E1, D1, D4): sleeping with its step done, then waiting, then complete with its result, and listed."""
    instance = await app.workflows.GREETING.create(id="g-1", params="Ada")
    await later(app, clock)
    (rest,) = (await instance.details()).waiting_for
    assert (rest.key, rest.what) == ("sleep:rest", "sleep")
    assert (await instance.history()).steps[0].result == "hello Ada"
    await later(app, clock, seconds=5)
    (wait,) = (await instance.details()).waiting_for
    assert (wait.key, wait.event_type, wait.until - wait.since) == (
        "wait:approval",
        "approval",
        timedelta(minutes=1),
    )
    await instance.send_event("approval", {"approved": True})
    await later(app, clock)
    assert (await instance.status()).output == {"said": "hello Ada", "approved": True}
    (listed,) = (await app.workflows.GREETING.list(status="complete")).items
    assert (listed.id, listed.status) == ("g-1", Status.COMPLETE)


@pytest.mark.parametrize(
    ("pays", "result", "left"), [(True, "shipped lamp", []), (False, "not paid", ["lamp"])]
)
async def test_an_order_that_is_not_paid_in_a_day_is_put_back(app, clock, pays, result, left):
    """S3-43 (D4): the wait's default ends the day; a payment within it ships."""
    SHELF[:] = ["lamp"]
    instance = await app.workflows.ORDER.create(params="lamp")
    await later(app, clock)
    assert SHELF == []
    if pays:
        await instance.send_event("payment")
    await later(app, clock, hours=24)
    assert await instance.result(timeout=0) == result
    assert left == SHELF


async def test_a_periodic_workflow_keeps_a_short_history_for_years(app, clock):
    """S3-14 (C10): ten years of months are one instance whose runs have two steps each."""
    instance = await app.workflows.MONTHLY.create(params=0)
    for _ in range(120):
        await later(app, clock, days=30)
    details, history = await instance.details(), await instance.history()
    assert (details.run_number, details.params, details.status) == (120, 119, Status.WAITING)
    assert [each.key for each in history.steps] == ["do:report", "sleep:until next month"]
    first = await instance.history(run=1)
    assert [each.key for each in first.steps] == ["do:report", "sleep:until next month"]
