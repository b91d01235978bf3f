"""What the tests of an engine share: the workflows that they run, the clock that they move, and how they wait."""

# ruff: noqa: ARG001  # a body takes its event, whether it needs it or not

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from keepstep import (
    App,
    Instance,
    NonRetryableError,
    Retry,
    Status,
    WorkflowEvent,
    WorkflowStep,
    workflow,
)
from keepstep.engine.dispatch import Looker

PATIENCE_S = 60
"""How long a test waits in real time before it fails. Nothing passes or fails by being faster."""

OpenApp = Callable[[Mapping[str, Any]], AbstractAsyncContextManager[App[Any]]]


class Clock:
    """Time that the tests move; an app takes it for the machine's and the database's.

    Attributes:
        ms: milliseconds since the epoch, UTC.
    """

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        """Wall-clock time."""
        return self.ms

    def monotonic(self) -> float:
        """The same in seconds."""
        return self.ms / 1000

    def move(self, **length: float) -> None:
        """Move on, by what ``timedelta`` takes."""
        self.ms += int(timedelta(**length).total_seconds() * 1000)


class HandDispatcher:
    """Looks when :meth:`look` is called: for suites whose app has a runner. Give the runner a lease of days."""

    def __init__(self) -> None:
        self._runner: Looker | None = None

    async def start(self, runner: Looker) -> None:
        """Keep the runner."""
        self._runner = runner

    async def wake(self, at: datetime | None = None) -> None:
        """Nothing: a test looks often enough."""

    async def stop(self) -> None:
        """Look no more."""
        self._runner = None

    async def look(self) -> None:
        """One pass of the runner, and a turn for what it started."""
        assert self._runner is not None, "the app is not started"
        await self._runner.look()
        await asyncio.sleep(0)


@dataclass
class Story:
    """One test's app.

    Attributes:
        app: with the workflows of :func:`workflows`.
        clock: the app's.
        calls: what its steps did, in order.
    """

    app: App[Any]
    clock: Clock
    advance: Callable[[App[Any]], Awaitable[None]]
    calls: list[str] = field(default_factory=lambda: CALLS)

    def __post_init__(self) -> None:
        self.calls.clear()
        FAILURES.clear()

    async def create(self, key: str, params: Any = None, id: str | None = None) -> Instance[Any]:  # noqa: A002
        """An instance of the workflow with this key."""
        return await self.app.workflows[key].create(id=id, params=params)

    async def until(self, instance: Instance[Any], *statuses: Status) -> Status:
        """Advance until the instance has one of these statuses."""
        found = None
        async with asyncio.timeout(PATIENCE_S):
            while found not in statuses:
                await self.advance(self.app)
                found = (await instance.status()).status
        assert found is not None
        return found

    async def waits(self, instance: Instance[Any], *keys: str) -> None:
        """Advance until the instance waits for just these steps, by key."""
        found: set[str] = set()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await self.advance(self.app)
                details = await instance.details()
                found = {each.key for each in details.waiting_for}
                if details.status is Status.WAITING and found == set(keys):
                    return

    async def rest(self) -> None:
        """Give everything that is due many chances to happen that must not."""
        for _ in range(5):
            await self.advance(self.app)

    async def output(self, instance: Instance[Any]) -> Any:
        """What it returned, once it has ended."""
        await self.until(instance, *ENDED)
        return await instance.result(timeout=PATIENCE_S)


ENDED = tuple(each for each in Status if each.terminal)
CALLS: list[str] = []
FAILURES: list[Exception] = []
"""What the next calls of ``fallible`` raise, first to last."""


async def note(text: str) -> str:
    """A step that is seen."""
    CALLS.append(text)
    return text.upper()


def note_in_thread(text: str) -> str:
    """The same, in a thread."""
    CALLS.append(text)
    return text.upper()


async def fallible(text: str) -> str:
    """A step that fails as it is told."""
    CALLS.append(text)
    if FAILURES:
        raise FAILURES.pop(0)
    return text.upper()


async def refuse() -> None:
    """A step that fails for good."""
    CALLS.append("refuse")
    raise NonRetryableError("no", "Refused")


async def when(moment: datetime) -> datetime:
    """A step whose result has a type."""
    return moment


Event = WorkflowEvent[Any]


@workflow(name="straight")
async def straight(event: Event, step: WorkflowStep) -> list[str]:
    """Three steps, one of them in a thread."""
    found = [await step.do("one", note, "one"), await step.do("two", note_in_thread, "two")]
    return [*found, await step.do("one", note, "three")]


@workflow(name="fallible", retry=Retry(max_attempts=3, delay="10 seconds", backoff="exponential"))
async def falling(event: Event, step: WorkflowStep) -> list[str]:
    """A step that may fail between two that do not."""
    first = await step.do("first", note, "first")
    tried = await step.do("tried", fallible, "tried")
    return [first, tried, await step.do("last", note, "last")]


@workflow(name="catching")
async def catching(event: Event, step: WorkflowStep) -> str:
    """Copes with a failure, and then suspends."""
    try:
        await step.do("refuse", refuse)
    except Exception as error:  # noqa: BLE001  # whatever a body catches
        told = str(error)
    else:
        told = "nothing"
    await step.sleep("rest", "1 hour")
    return told


@workflow(name="sleeping")
async def sleeping(event: Event, step: WorkflowStep) -> str:
    """Notes before and after a sleep."""
    await step.do("before", note, "before")
    await step.sleep("rest", event.payload or "1 hour")
    return await step.do("after", note, "after")


@workflow(name="waiting")
async def waiting(event: Event, step: WorkflowStep) -> list[Any]:
    """Takes two events."""
    found = [await step.wait_for_event(name, "word", timeout="1 day") for name in ("one", "two")]
    return [each.payload for each in found]


@workflow(name="patient")
async def patient(event: Event, step: WorkflowStep) -> Any:
    """Waits an hour, with an answer of its own for when nothing comes."""
    found: Any = await step.wait_for_event("word", "word", timeout="1 hour", default=None)
    return "nothing came" if found is None else found.payload


@workflow(name="branching")
async def branching(event: Event, step: WorkflowStep) -> list[Any]:
    """A step, a sleep and a wait at once, and a step after each of two."""

    async def slowly() -> str:
        await step.sleep("rest", "1 hour")
        return await step.do("rested", note, "rested")

    async def word() -> Any:
        found = await step.wait_for_event("word", "word", timeout="1 day")
        return await step.do("heard", note, found.payload)

    return list(await asyncio.gather(step.do("at once", note, "at once"), slowly(), word()))


@workflow(name="cleaning")
async def cleaning(event: Event, step: WorkflowStep) -> str:
    """Cleans up when it is cancelled."""
    try:
        await step.sleep("rest", "1 day")
    finally:
        await step.do("clean", note, "clean")
    return "rested"


@workflow(name="drawing")
async def drawing(event: Event, step: WorkflowStep) -> list[Any]:
    """Draws before and after it was away."""
    first = [step.now().isoformat(), step.random().random(), str(step.uuid4())]
    kept = await step.do("kept", when, step.now())
    await step.sleep("rest", "1 hour")
    return [first, [kept.isoformat(), step.now().isoformat()], step.random().random()]


@workflow(name="continuing")
async def continuing(event: Event, step: WorkflowStep) -> str:
    """Counts down, a run for each number."""
    await step.do("count", note, str(event.payload))
    if event.payload:
        step.continue_as_new(event.payload - 1)
    return f"run {event.run_number}"


def workflows() -> dict[str, Any]:
    """What the suite's apps have, by key."""
    found = (
        straight, falling, catching, sleeping, waiting, patient, branching, cleaning, drawing, continuing
    )  # fmt: skip
    return {each.name.upper(): each for each in found}
