"""An app with hooks on each database that runs nothing by itself: tests tick, and move its clock."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from keepstep import App, Fragment, HookContext, RunnerOptions, Tx
from keepstep_testing.conformance.engines import Clock

HOUR = timedelta(hours=1)


class Message(BaseModel):
    """What hooks are called with."""

    text: str


class World:
    """What hooks did outside of the database, and whether they fail or hang."""

    def __init__(self) -> None:
        self.calls: list[tuple[HookContext, str]] = []
        self.broken = False
        self.error: Exception = ConnectionError("nobody answers")
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()
        self.threads: set[str] = set()

    def called(self, context: HookContext, payload: Message) -> None:
        """Note a call."""
        self.calls.append((context, payload.text))
        if self.broken:
            raise self.error


class Library:
    """A fragment with hooks of every kind, fresh for each test."""

    def __init__(self, world: World) -> None:
        self.fragment = fragment = Fragment("mail")

        @fragment.hook
        async def send(context: HookContext, payload: Message) -> None:
            world.called(context, payload)

        @fragment.hook(retry={"max_attempts": 3, "delay": "10 seconds", "backoff": "constant", "jitter": 0})
        async def three(context: HookContext, payload: Message) -> None:
            world.called(context, payload)

        @fragment.hook
        def blocking(context: HookContext, payload: Message) -> None:
            world.threads.add(threading.current_thread().name)
            world.called(context, payload)

        @fragment.hook(timeout="1 minute")
        async def hanging(context: HookContext, payload: Message) -> None:
            world.called(context, payload)
            world.entered.set()
            await world.gate.wait()

        @fragment.hook(timeout="1 ms")
        async def brief(context: HookContext, payload: Message) -> None:
            await world.gate.wait()

        @fragment.hook(retry={"max_attempts": 1})
        async def once(context: HookContext, payload: Message) -> None:
            world.called(context, payload)

        @fragment.hook
        async def again(context: HookContext, payload: Message) -> None:
            await context.call(trigger, again, payload, key=context.key, at=context.created_at + HOUR)
            raise ConnectionError("a newer one is pending")

        @fragment.hook
        async def chained(context: HookContext, payload: Message) -> None:
            world.called(context, payload)
            await context.call(trigger, send, payload)

        def trigger(tx: Tx, hook: Any, payload: Message, **options: Any) -> str:
            return tx.trigger_hook(hook, payload, **options)

        self.send, self.three, self.blocking, self.hanging = send, three, blocking, hanging
        self.brief, self.once, self.again, self.chained = brief, once, again, chained
        self.trigger = trigger


@pytest.fixture
def clock() -> Clock:
    """The app's clock."""
    return Clock()


@pytest.fixture
def world() -> World:
    """The world outside."""
    return World()


@pytest.fixture
def mail(world: World) -> Library:
    """The fragment and its hooks."""
    return Library(world)


@pytest.fixture
def opened(database_url: str, clock: Clock, mail: Library) -> Any:
    """Makes apps on the database."""

    def make(**options: Any) -> App:
        wanted: dict[str, Any] = {"dispatcher": None, "clock": clock, **options}
        return App(database_url, fragments=[mail.fragment], **wanted)

    return make


@pytest.fixture
async def app(opened: Any) -> Any:
    """A migrated app that is not started."""
    app = opened(runner=RunnerOptions(hook_lease="30 seconds", hooks=8))
    await app.migrate()
    yield app
    await app.stop()


@pytest.fixture
def trigger(app: Any, mail: Library) -> Any:
    """Triggers a hook in a transaction of its own; the row's id."""

    async def call(hook: Any, text: str = "hello", **options: Any) -> str:
        return await app.mail.call(mail.trigger, hook, Message(text=text), **options)

    return call
