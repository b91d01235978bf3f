"""Dropping a body: quietly, without its awaits, and with its memory (A5, A6)."""

import asyncio
import gc
import sys
import tracemalloc
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from keepstep.authoring.definition import WorkflowDefinition, workflow
from keepstep.authoring.events import WorkflowEvent
from keepstep.authoring.step import WorkflowStep
from keepstep.loop.body import Body
from keepstep.model.limits import Limits
from tests.support.bodies import Drive, fresh_run

Event = WorkflowEvent[Any]
SAID: list[str] = []


async def plain(*args: Any) -> Any:
    """A step's callback; the loop never calls it."""


class Held:
    """Something that a body's variables hold."""


def holds(held: Held) -> None:
    """Keep what a body made in sight, weakly."""
    KEPT.append(weakref.ref(held))


KEPT: list[weakref.ref[Held]] = []


async def waits_for_a_step(event: Event, step: WorkflowStep) -> None:
    """The plainest body."""
    held = Held()
    holds(held)
    await step.do("a", plain)


async def waits_in_finally(event: Event, step: WorkflowStep) -> None:
    """Cleanup that awaits steps, timers and events."""
    held = Held()
    holds(held)
    try:
        await step.do("a", plain)
    finally:
        SAID.append("finally")
        await step.do("cleanup", plain)
        SAID.append("beyond an await")


async def catches_everything(event: Event, step: WorkflowStep) -> None:
    """An except that swallows what it can, more than once."""
    held = Held()
    holds(held)
    for _ in range(5):
        try:
            await step.do("a", plain)
        except BaseException:  # noqa: BLE001 - what a body might do
            await asyncio.sleep(5)


async def fails_in_cleanup(event: Event, step: WorkflowStep) -> None:
    """Cleanup that raises."""
    held = Held()
    holds(held)
    try:
        await step.do("a", plain)
    finally:
        raise ValueError("cleanup failed")


async def has_branches(event: Event, step: WorkflowStep) -> None:
    """Groups, gather, timeouts and queues."""
    held = Held()
    holds(held)
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def branch(name: str) -> None:
        kept = held
        async with asyncio.timeout(60):
            await step.do(name, plain, kept)

    async with asyncio.TaskGroup() as group:
        group.create_task(branch("a"))
        group.create_task(queue.get())
        await asyncio.wait_for(asyncio.gather(branch("b"), branch("c"), step.sleep("s", "1h")), 5)


async def starts_tasks_in_cleanup(event: Event, step: WorkflowStep) -> None:
    """Cleanup that schedules."""
    held = Held()
    holds(held)
    try:
        await step.do("a", plain)
    finally:
        task = asyncio.create_task(plain())
        asyncio.get_running_loop().call_soon(SAID.append, "called")
        task.add_done_callback(lambda _: SAID.append("called back"))
        await asyncio.gather(task, step.do("b", plain))


async def holds_unawaited(event: Event, step: WorkflowStep) -> None:
    """Coroutines that it meant to await later."""
    held = Held()
    holds(held)
    later = [step.do("b", plain, held), plain()]
    last = plain()

    async def inner() -> None:
        await step.do("a", plain)
        await last

    await inner()
    await asyncio.gather(*later)


async def is_in_a_generator(event: Event, step: WorkflowStep) -> None:
    """An async generator that waits."""
    held = Held()
    holds(held)

    async def numbers() -> AsyncIterator[Any]:
        try:
            yield held
            yield await step.do("a", plain)
        finally:
            SAID.append("generator")

    async for _ in numbers():
        pass


BODIES = [
    waits_for_a_step,
    waits_in_finally,
    catches_everything,
    fails_in_cleanup,
    has_branches,
    starts_tasks_in_cleanup,
    holds_unawaited,
    is_in_a_generator,
]


def definition(fn: Callable[..., Any]) -> WorkflowDefinition[Any, Any]:
    """The body as a workflow."""
    return workflow(name="probe")(fn)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Any warning, and anything unraisable, fails the test; without the garbage collector's help."""
    KEPT.clear()
    SAID.clear()
    unraisable: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda args: unraisable.append(args.exc_value)
    gc.collect()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
        assert unraisable == []
    finally:
        gc.enable()
        sys.unraisablehook = hook


@pytest.mark.parametrize("fn", BODIES)
@pytest.mark.parametrize("how", ["closed", "dropped", "in a host task"])
def test_dropped_body_goes_quietly_and_at_once(
    fn: Callable[..., Any], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A5: no await of a dropped body runs, nothing is warned about, and no circle keeps its memory."""

    def drop() -> None:
        drive = Drive(definition(fn))
        assert drive.outcome is None
        assert KEPT[0]() is not None
        if how != "dropped":
            drive.body.close()
            drive.body.close()

    if how == "in a host task":

        async def main() -> None:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            drop()
            assert (asyncio.get_running_loop(), asyncio.current_task()) == (loop, task)
            assert asyncio.all_tasks() == {task}
            await asyncio.sleep(0)

        asyncio.run(main())
    else:
        drop()
    assert KEPT[0]() is None
    assert "beyond an await" not in SAID
    assert not [said for said in SAID if said.startswith("called")]
    assert caplog.records == []


@pytest.mark.parametrize("fn", BODIES)
def test_drop_opens_and_resolves_nothing(fn: Callable[..., Any]) -> None:
    """A5: cleanup code of a dropped body may ask for steps, and nobody hears of it."""
    drive = Drive(definition(fn))
    records = list(drive.records)
    drive.body.close()
    assert drive.open == []
    assert drive.records == records


def test_finished_body_goes_too() -> None:
    """A6: a body that has ended holds nothing once it is closed, also when branches were left."""

    async def leaves_branches(event: Event, step: WorkflowStep) -> None:
        held = Held()
        holds(held)

        async def branch() -> None:
            await step.do("left", plain, held)

        tasks = [asyncio.create_task(branch())]
        await step.do("a", plain)
        assert tasks

    drive = Drive(definition(leaves_branches))
    drive.finish("do:a")
    drive.body.close()
    del drive
    assert KEPT[0]() is None


def test_failed_body_goes_too() -> None:
    """A6: an exception that ended a body does not keep its variables once it is closed."""

    async def fails(event: Event, step: WorkflowStep) -> None:
        held = Held()
        holds(held)
        await step.do("a", plain)
        raise ValueError("no")

    drive = Drive(definition(fails))
    drive.finish("do:a")
    assert isinstance(drive.body.failure, ValueError)
    drive.body.close()
    assert drive.body.failure is None
    assert KEPT[0]() is None


def test_body_that_cannot_be_made_says_why() -> None:
    """H: an error in making a body is that error alone."""
    with pytest.raises(AttributeError):
        Body(None, fresh_run(definition(plain_body)), [], Limits())  # type: ignore[arg-type]


async def plain_body(event: Event, step: WorkflowStep) -> None:
    """Does nothing."""


def test_parked_body_is_small() -> None:
    """A6: a body that waits for an event takes less than 4 KiB, its own variables aside."""

    async def waits(event: Event, step: WorkflowStep) -> None:
        await step.do("charge", plain)
        await step.wait_for_event("approval", "approval")

    probe = definition(waits)

    limits = Limits()

    def park() -> Body:
        drive = Drive(probe, limits=limits)
        drive.finish("do:charge", "ok")
        return drive.body

    park()
    tracemalloc.start()
    try:
        bodies = [park() for _ in range(500)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / len(bodies) < 4096
    assert bodies[0].size < 4096
