"""Attempts of steps: where they run, how they end, and what follows (A4, B8, C2-C6)."""

import asyncio
import contextvars
import threading
from typing import ClassVar

import pytest

from keepstep import (
    NonRetryableError,
    Retry,
    RunnerOptions,
    StepContext,
    StepFailedError,
    WorkflowEvent,
    WorkflowStep,
    workflow,
)
from keepstep.store import tables

REQUEST = contextvars.ContextVar("request", default="none")
ONE_TRY = Retry(max_attempts=1)


@workflow(name="colours")
async def colours(event: WorkflowEvent[None], step: WorkflowStep) -> list[object]:
    """A sync and an async step that need each other to end."""
    return list(await asyncio.gather(step.do("sync", Meeting.in_thread), step.do("async", Meeting.on_loop)))


class Meeting:
    """Two callbacks that can only end side by side."""

    arrived = threading.Event()
    left: asyncio.Event

    @staticmethod
    def in_thread() -> bool:
        """Wait for the other one in a thread."""
        assert Meeting.arrived.wait(10)
        return threading.current_thread() is not threading.main_thread()

    @staticmethod
    async def on_loop() -> bool:
        """Let the other one go on the host's loop."""
        Meeting.arrived.set()
        return threading.current_thread() is threading.main_thread()


async def test_sync_steps_run_in_threads_and_block_nobody(lite):
    """A4: a sync callback that waits for an async one of the same run gets what it waits for."""
    Meeting.arrived.clear()
    node = await lite.started(colours)
    instance = await node.workflows.colours.create("i")
    assert await instance.result(timeout=15) == [True, True]


async def seen_async() -> str:
    """The variable, on the loop."""
    return REQUEST.get()


def seen_sync() -> str:
    """The variable, in a thread."""
    return REQUEST.get()


@workflow(name="seeing")
async def seeing(event: WorkflowEvent[None], step: WorkflowStep) -> list[str]:
    """What steps see of context variables."""
    return [await step.do("a", seen_async), await step.do("b", seen_sync)]


async def test_steps_see_the_context_in_which_the_runner_started(lite):
    """A4: context variables of the start are carried in; those of a request that creates or wakes a run are not."""
    REQUEST.set("started")
    node = await lite.started(seeing)
    REQUEST.set("a request of somebody's")
    made = [await node.workflows.seeing.create(f"i{n}") for n in range(3)]
    assert [await each.result(timeout=10) for each in made] == [["started", "started"]] * 3


class Unprintable(Exception):  # noqa: N818
    """An error whose text cannot be made."""

    def __str__(self) -> str:
        raise ValueError("no text")


class Stopped(BaseException):
    """An error that is no ``Exception``."""


def raises(name: str) -> None:
    """Raise in a thread."""
    raise {
        "StopIteration": StopIteration(),
        "SystemExit": SystemExit(2),
        "KeyboardInterrupt": KeyboardInterrupt(),
        "Stopped": Stopped("enough"),
        "Unprintable": Unprintable(),
        "CancelledError": asyncio.CancelledError(),
        "ValueError": ValueError("\x00\ud800"),
    }[name]


async def raises_async(name: str) -> None:
    """Raise on the loop."""
    raises(name)


@workflow(name="raising", retry=ONE_TRY)
async def raising(event: WorkflowEvent[list[str]], step: WorkflowStep) -> str:
    """A step that raises what it is told to."""
    colour, name = event.payload
    try:
        await step.do("a", raises if colour == "sync" else raises_async, name)
    except StepFailedError as error:
        return error.name
    return "nothing"


@pytest.mark.parametrize(
    ("colour", "name", "recorded"),
    [
        ("sync", "StopIteration", "RuntimeError"),
        ("sync", "SystemExit", "RuntimeError"),
        ("sync", "KeyboardInterrupt", "RuntimeError"),
        ("sync", "Stopped", "Stopped"),
        ("sync", "Unprintable", "Unprintable"),
        ("sync", "CancelledError", "CancelledError"),
        ("sync", "ValueError", "ValueError"),
        ("async", "StopIteration", "RuntimeError"),
        ("async", "Stopped", "Stopped"),
        ("async", "Unprintable", "Unprintable"),
        ("async", "CancelledError", "CancelledError"),
        ("async", "ValueError", "ValueError"),
    ],
)
async def test_whatever_a_callback_raises_is_recorded(lite, colour, name, recorded):
    """C4, C5: no exception of a callback hangs its run, ends the loop or is lost."""
    node = await lite.started(raising)
    instance = await node.workflows.raising.create("i", params=[colour, name])
    assert await instance.result(timeout=10) == recorded
    assert node.held == []


@workflow(name="stubborn", retry=Retry(max_attempts=4, delay="2 minutes", backoff="constant"))
async def stubborn(event: WorkflowEvent[None], step: WorkflowStep) -> list[object]:
    """A step that fails twice."""
    return await step.do("a", Trying.run)


class Trying:
    """What a step that is tried again saw."""

    keys: ClassVar[list[str]] = []

    @classmethod
    async def run(cls, context: StepContext) -> list[object]:
        """Fail twice."""
        cls.keys.append(context.idempotency_key)
        if context.attempt < 3:
            raise ConnectionError(f"attempt {context.attempt}")
        return [context.attempt]


def test_retries_are_durable(virtually):
    """C4, B8: a failed attempt is a row with its next instant; another process goes on with it, under one key."""
    Trying.keys.clear()

    async def main(fleet):
        start = fleet.clock.now_ms()
        first = await fleet.started(stubborn)
        await first.workflows.stubborn.create("i")
        await fleet.until(lambda: fleet.rows(tables.run_step))
        (row,) = fleet.rows(tables.run_step)
        assert (row.status, row.attempt, row.seq) == ("retrying", 1, None)
        assert row.due_at - start == 120_000
        assert first.held == [], "nobody holds a run that rests"
        await first.crash()
        second = await fleet.started(stubborn)
        instance = await second.workflows.stubborn.get("i")
        assert await instance.result() == [3]
        assert fleet.clock.now_ms() - start == pytest.approx(240_000, abs=100)
        assert Trying.keys == ["stubborn/i/1/do:a"] * 3
        (row,) = fleet.rows(tables.run_step)
        assert (row.status, row.attempt, row.seq) == ("completed", 3, 1)

    virtually(main)


@workflow(name="hanging")
async def hanging(event: WorkflowEvent[None], step: WorkflowStep) -> list[object]:
    """An async step that hangs at first."""
    retry = Retry(max_attempts=2, delay="1 second")
    return await step.do("a", Hanging.run, retry=retry, timeout="30 seconds")


class Hanging:
    """A callback that hangs in its first attempt."""

    ended: ClassVar[list[str]] = []

    @classmethod
    async def run(cls, context: StepContext) -> list[object]:
        """Hang once."""
        if context.attempt == 1:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                cls.ended.append("cancelled")
                raise
        return [context.attempt]

    @staticmethod
    async def for_ever() -> None:
        """Hang."""
        await asyncio.get_running_loop().create_future()


def test_an_async_attempt_is_cancelled_at_its_timeout(virtually):
    """C6: the callback is cancelled and awaited, the attempt failed with StepTimeoutError, and C4 applies."""
    Hanging.ended.clear()

    async def main(fleet):
        node = await fleet.started(hanging)
        start = fleet.clock.now_ms()
        instance = await node.workflows.hanging.create("i")
        assert await instance.result() == [2]
        assert Hanging.ended == ["cancelled"]
        assert fleet.clock.now_ms() - start == pytest.approx(31_000, abs=100)

    virtually(main)


@workflow(name="late")
async def late(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """A sync step that takes longer than it may."""
    retry = Retry(max_attempts=2, delay="1ms", backoff="constant")
    return await step.do("a", lambda: Late.run("do"), retry=retry, timeout="50ms")


class Late:
    """A callback in a thread that the test lets go."""

    go = threading.Event()
    calls: ClassVar[list[str]] = []
    returned = False

    @classmethod
    def run(cls, kind: str) -> str:
        """Hang in the first call."""
        cls.calls.append(kind)
        if len(cls.calls) == 1:
            assert cls.go.wait(10)
            cls.returned = True
            return "late"
        return "in time"


async def test_a_late_thread_is_not_waited_for(lite):
    """C6: a thread cannot be cancelled; its attempt fails in time and its late result changes nothing."""
    Late.go.clear()
    Late.calls.clear()
    node = await lite.started(late)
    instance = await node.workflows.late.create("i")
    assert await instance.result(timeout=10) == "in time"
    Late.go.set()
    (row,) = lite.rows(tables.run_step)
    assert (row.result, row.attempt) == ('"in time"', 2)


@workflow(name="late_write", retry=ONE_TRY, timeout="50ms")
async def late_write(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """A sync transaction that takes longer than it may."""
    try:
        return await step.transaction("a", lambda _session: Late.run("transaction"))
    except StepFailedError as error:
        return error.name


async def test_a_late_transaction_does_not_commit(fleet):
    """C6, C8: a sync ``step.transaction`` has a timeout too, and what comes after it is rolled back."""
    Late.go.clear()
    Late.calls.clear()
    node = await fleet.started(late_write)
    instance = await node.workflows.late_write.create("i")
    waiting = asyncio.ensure_future(instance.result(timeout=20))
    await fleet.until(lambda: Late.calls)
    loop = asyncio.get_running_loop()
    timer = loop.call_later(
        0.3, Late.go.set
    )  # well after the timeout; on SQLite it keeps others from writing
    assert await waiting == "StepTimeoutError"
    timer.cancel()
    Late.go.set()
    (row,) = fleet.rows(tables.run_step)
    assert (row.status, row.result) == ("failed", None)


@workflow(name="late_beside", retry=Retry(max_attempts=2, delay="1 hour"), timeout="50ms")
async def late_beside(event: WorkflowEvent[None], step: WorkflowStep) -> None:
    """A transaction that takes longer than it may, beside a step that keeps the run in its runner's hands."""
    beside = step.do("beside", Hanging.for_ever, timeout="1 hour")
    await asyncio.gather(step.transaction("a", lambda _session: Late.run("transaction")), beside)


async def test_a_late_transaction_loses_to_its_timeout(postgres_database, fleet_of):
    """C6, C8: once the attempt has failed its thread cannot commit any more, though the run is still held."""
    Late.go.clear()
    Late.calls.clear()
    Late.returned = False
    fleet = fleet_of(postgres_database)
    node = await fleet.started(late_beside, options=RunnerOptions(drain="10ms"))
    await node.workflows.late_beside.create("i")
    await fleet.until(lambda: fleet.rows(tables.run_step))
    Late.go.set()
    await fleet.until(lambda: Late.returned)
    await fleet.passing(0.1)
    assert [row.status for row in fleet.rows(tables.run_step)] == ["retrying"]
    assert node.held == ["i"]


@workflow(name="ended")
async def ended(event: WorkflowEvent[None], step: WorkflowStep) -> list[object]:
    """A step that ends at once, and is asked for twice by a body that catches its error."""
    found: list[object] = []
    for _ in range(2):
        try:
            await step.do("a", Final.run)
        except StepFailedError as error:
            found += [error.name, error.attempts]
    await step.sleep("rest", "3 minutes")
    return found


class Final:
    """A callback that cannot succeed."""

    calls = 0

    @classmethod
    async def run(cls) -> None:
        """Raise."""
        cls.calls += 1
        raise NonRetryableError("never", name="Refused")


def test_a_final_failure_is_recorded_once(virtually):
    """C2, C5, defect 12: NonRetryableError ends the step at once, and no replay executes it again."""
    Final.calls = 0

    async def main(fleet):
        node = await fleet.started(ended, options=RunnerOptions(cache=0))
        instance = await node.workflows.ended.create("i")
        assert await instance.result() == ["Refused", 1, "Refused", 1]
        assert Final.calls == 2, "two steps of one name, each once"

    virtually(main)


class Journalled:
    """A step with an intent, whose process dies in the middle."""

    calls: ClassVar[list[str]] = []
    began: asyncio.Event
    intents: ClassVar[list[str]] = []

    @classmethod
    async def charge(cls, context: StepContext) -> str:
        """Begin, and never end."""
        cls.calls.append(f"charge {context.attempt} {context.idempotency_key}")
        cls.began.set()
        await asyncio.get_running_loop().create_future()
        return "charged"

    @classmethod
    async def look(cls, context: StepContext) -> str:
        """Find out what became of it; fails at first."""
        cls.calls.append(f"look {context.attempt} {context.idempotency_key}")
        if len(cls.calls) == 2:
            raise ConnectionError("not now")
        return "found"


@workflow(name="journalled", retry=Retry(max_attempts=5, delay="1 second"))
async def journalled(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """Charge with an intent."""
    return await step.do("charge", Journalled.charge, journal_intent=True, reconcile=Journalled.look)


def test_an_interrupted_intent_is_reconciled(virtually):
    """B8: the intent is durable before the callback starts; after a crash ``reconcile`` is called until it ends."""
    Journalled.calls.clear()

    async def main(fleet):
        Journalled.began = asyncio.Event()
        first = await fleet.started(journalled)
        await first.workflows.journalled.create("i")
        await Journalled.began.wait()
        (row,) = fleet.rows(tables.run_step)
        assert (row.status, row.attempt) == ("intent", 1)
        await first.crash()
        second = await fleet.started(journalled, options=None)
        instance = await second.workflows.journalled.get("i")
        assert await instance.result() == "found"
        key = "journalled/i/1/do:charge"
        assert Journalled.calls == [f"charge 1 {key}", f"look 1 {key}", f"look 2 {key}"]

    virtually(main)
