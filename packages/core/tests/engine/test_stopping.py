"""A stop ends, and says what it waited for: whatever the database, a dispatcher or a step's callback does. Virtual time."""

import asyncio
import logging
from contextlib import suppress
from typing import ClassVar

import pytest

from keepstep import App, RunnerOptions, WorkflowEvent, WorkflowStep, workflow
from keepstep.engine import stopping
from keepstep.engine.stopping import LAST_S, STUCK_S, Stopping

GRACE_S = 2.0


async def count(number: int) -> int:
    """A step."""
    return number + 1


class Outside:
    """What ends the callbacks that cannot be ended."""

    over: ClassVar[asyncio.Event]


@pytest.fixture(autouse=True)
def _not_over():
    Outside.over = asyncio.Event()


async def stubborn() -> None:
    """Go on, cancelled or not, until the test is over."""
    while not Outside.over.is_set():
        with suppress(asyncio.CancelledError):
            await Outside.over.wait()


async def ignore_cancellation(number: int) -> int:
    """A callback as it should not be."""
    await stubborn()
    return number


@workflow(name="counting")
async def counting(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """One step."""
    return await step.do("count", count, event.payload)


@workflow(name="ignoring")
async def ignoring(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """One step that cannot be cancelled."""
    return await step.do("ignore", ignore_cancellation, event.payload)


async def never() -> None:
    """Wait for what never comes."""
    await asyncio.get_running_loop().create_future()


async def at_once(ended):
    """An end as it should be."""
    ended.append(True)


def engine_tasks():
    """What the engine has running."""
    return [each.get_name() for each in asyncio.all_tasks() if each.get_name().startswith("keepstep")]


def test_a_part_that_never_ends_is_given_up_with_a_word_on_where_it_waits(virtually, caplog):
    """The others end all the same, each with a little time of its own, and all of them within a bound."""

    async def main(fleet):
        loop, ended = asyncio.get_running_loop(), []
        began, stop = loop.time(), Stopping(GRACE_S)
        await stop.part("the first", never)
        assert loop.time() == began + GRACE_S + STUCK_S
        await stop.part("the second", never)
        await stop.part("the third", lambda: at_once(ended))
        assert loop.time() == began + GRACE_S + STUCK_S + LAST_S
        assert ended == [True]
        assert engine_tasks() == []

    virtually(main)
    first, second = (each.getMessage() for each in caplog.records)
    assert first == "a stop goes on without the end of the first, after 32 s: keepstep-stop in never"
    assert "without the end of the second, after 33 s" in second


def test_a_part_that_cannot_be_cancelled_either_is_left_behind(virtually):
    """Even then the stop ends."""

    async def main(fleet):
        loop = asyncio.get_running_loop()
        began = loop.time()
        await Stopping(GRACE_S).part("the first", stubborn)
        assert loop.time() == began + GRACE_S + STUCK_S + LAST_S
        Outside.over.set()

    virtually(main)


def test_what_a_part_raises_reaches_who_stops(virtually):
    """It is no other way of ending."""

    async def fail():
        raise ZeroDivisionError

    async def main(fleet):
        with pytest.raises(ZeroDivisionError):
            await Stopping(GRACE_S).part("the first", fail)

    virtually(main)


def test_who_stops_and_is_cancelled_cancels_the_part(virtually):
    """And hears of it when that has ended."""

    async def main(fleet):
        stop = asyncio.create_task(Stopping(GRACE_S).part("the first", never))
        await fleet.passing(1)
        stop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stop
        assert engine_tasks() == []

    virtually(main)


@pytest.mark.parametrize(("label", "part"), [("release", "the runner"), ("next_due", "the dispatcher")])
def test_a_database_that_never_answers_ends_no_stop_but_no_stop_waits_for_it(virtually, caplog, label, part):
    """A look or a release in flight is given up; the lease is held no more, and nothing of the runner goes on (B4)."""

    async def main(fleet):
        node = await fleet.started(counting)
        silent = asyncio.Event()

        async def before(asked):
            if asked == label:
                silent.set()
                await never()

        node.tap.before = before
        stop = Stopping(GRACE_S)
        if label == "next_due":
            await silent.wait()
        dispatcher, node.engine.dispatcher = node.engine.dispatcher, None
        await stop.part("the dispatcher", dispatcher.stop)
        await stop.part("the runner", node.engine.stop)
        await stop.part("the connections", node.engine.close)
        assert silent.is_set()
        assert not node.runner.lease.held
        assert engine_tasks() == []
        node.tap.before = None
        await node.start()
        await node.workflows.counting.create("i", params=1)
        assert await node.workflows.counting.instance("i").result(timeout="1 minute") == 2

    virtually(main)
    (told,) = caplog.records
    assert f"without the end of {part}" in told.getMessage()
    assert "before > never" in told.getMessage()


def test_a_runner_that_is_given_up_before_it_drains_renews_its_lease_no_more(virtually):
    """It ends by itself, and others take over what this runner had (B2, B4)."""

    async def main(fleet):
        node = await fleet.started(counting, dispatch=False)
        silent = asyncio.Event()

        async def before(asked):
            if asked == "next_due":
                silent.set()
                await never()

        node.tap.before = before
        look = asyncio.create_task(node.runner.look())
        await silent.wait()
        await Stopping(GRACE_S).part("the runner", node.engine.stop)  # it waits for the look
        assert not node.runner.lease.held
        assert engine_tasks() == []
        look.cancel()

    virtually(main)


def test_a_callback_that_ignores_its_cancellation_is_named_and_left(virtually, caplog):
    """It cannot be ended from outside (C6); the run is given back, and a stop says why its process may not end."""

    async def main(fleet):
        node = await fleet.started(ignoring, options=RunnerOptions(drain="1 second"))
        await node.workflows.ignoring.create("i", params=1)
        await fleet.until(
            lambda: any("ignore_cancellation" in stopping.where(each) for each in asyncio.all_tasks())
        )
        await node.stop()
        assert fleet.execute("SELECT owner FROM keepstep_task") == [(None,)]
        Outside.over.set()

    virtually(main)
    (told,) = [each for each in caplog.records if each.name == "keepstep.engine.runner"]
    assert told.levelno == logging.WARNING
    assert "1 callbacks go on although they were cancelled" in told.getMessage()
    assert "> ignore_cancellation" in told.getMessage()


class NeverStops:
    """A dispatcher that does not come to an end."""

    async def start(self, runner):
        """Do nothing."""

    async def wake(self, at=None):
        """Do nothing."""

    async def stop(self):
        """Wait."""
        await never()


async def test_an_app_gives_up_each_of_its_parts(tmp_path, caplog, monkeypatch):
    """`App.stop` ends, and a start may follow."""
    monkeypatch.setattr(stopping, "STUCK_S", 0.0)
    monkeypatch.setattr(stopping, "LAST_S", 0.1)
    app = App(
        f"sqlite:///{tmp_path}/a.db",
        workflows={"COUNTING": counting},
        dispatcher=NeverStops(),
        runner=RunnerOptions(drain="0 seconds"),
    )
    await app.start()
    await app.stop()
    assert app.home is None
    assert "without the end of the dispatcher" in caplog.records[0].getMessage()
    assert "NeverStops.stop > never" in caplog.records[0].getMessage()
    await app.start()
    await app.stop()
