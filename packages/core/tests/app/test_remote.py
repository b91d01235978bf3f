"""An app whose looks are requests from somewhere else: it starts no runner and is advanced by ticks (B9)."""

import asyncio

import pytest

from keepstep import App, WorkflowEvent, WorkflowNotFoundError, WorkflowStep, workflow
from keepstep.engine.dispatch import Looker


class Remote:
    """Keeps what it is started with, and notes wakes."""

    remote = True

    def __init__(self) -> None:
        self.asked: Looker | None = None
        self.woken = asyncio.Event()

    async def start(self, runner) -> None:
        """Keep the runner, to ask it."""
        self.asked = runner

    async def wake(self, at=None) -> None:
        """Note it."""
        self.woken.set()

    async def stop(self) -> None:
        """Forget."""
        self.asked = None


@workflow(name="napping")
async def napping(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Sleep, and end."""
    await step.sleep("a while", event.payload)
    return "rested"


@workflow(name="greeting")
async def greeting(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """End at once."""
    return f"hello {event.payload}"


@pytest.fixture
async def remote_app(database_url):
    """A started app of two workflows on a remote dispatcher, and that dispatcher."""
    dispatcher = Remote()
    app = App(database_url, workflows={"NAP": napping, "GREET": greeting}, dispatcher=dispatcher)
    async with app.running():
        yield app, dispatcher


async def test_a_remote_dispatcher_has_no_runner_execute_anything(remote_app):
    """What is created waits for a tick, and the dispatcher is woken for it."""
    app, dispatcher = remote_app
    instance = await app.workflows.GREET.create(params="ada")
    assert (await instance.details()).started_at is None
    assert (await app.tick()).processed == 1
    assert await instance.result(timeout=0) == "hello ada"
    await dispatcher.woken.wait()


async def test_a_remote_dispatcher_can_ask_when_something_falls_due(remote_app):
    """Asking advances nothing, and answers for the workflows that are named."""
    app, dispatcher = remote_app
    assert dispatcher.asked is not None
    assert dispatcher.asked.workflows == app.workflow_names == ("greeting", "napping")
    assert await dispatcher.asked.next_due(app.workflow_names) is None
    instance = await app.workflows.NAP.create(params="1 hour")
    created_at = (await instance.details()).created_at
    due_at = await dispatcher.asked.next_due(["napping"])
    assert due_at is not None
    assert abs((due_at - created_at).total_seconds()) < 1
    assert await dispatcher.asked.next_due(["greeting"]) is None
    assert (await instance.details()).started_at is None


async def test_ticks_are_shared_out_by_workflow(remote_app):
    """A tick for some workflows leaves the others alone, in what it advances and in what it answers."""
    app, _ = remote_app
    nap = await app.workflows.NAP.create(params="1 hour")
    hello = await app.workflows.GREET.create(params="ada")
    result = await app.tick(workflows=["napping"])
    assert result.processed == 1
    assert result.next_due == (await nap.details()).next_wake_at
    assert (await hello.details()).started_at is None
    assert (await app.tick(workflows=["greeting"])).processed == 1
    assert (await app.tick(workflows=["greeting"])).next_due is None


async def test_a_tick_for_an_unknown_workflow_says_which_are_known(remote_app):
    """H: a name that is mistyped is no tick for nothing."""
    app, _ = remote_app
    with pytest.raises(WorkflowNotFoundError, match="greeting, napping"):
        await app.tick(workflows=["greetings"])
