"""PollingDispatcher: level-triggered, coalescing, polling underneath (dispatchers.md). All in virtual time."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from keepstep.errors import InvalidDurationError, UsageError
from keepstep_node import PollingDispatcher

LATER = datetime(2030, 1, 1, tzinfo=UTC)


class RecordingLooker:
    """Records when it is asked to look, and answers what the test says."""

    def __init__(self, answers=(), always=None, took=0.0, deaf=0) -> None:
        self.answers = list(answers)
        self.always = always
        self.took = took
        self.deaf = deaf
        self.begun_at = asyncio.get_running_loop().time()
        self.looks: list[float] = []
        self.listens = 0
        self.hint: Callable[[], None] | None = None
        self.looking = 0
        self.finished = 0

    async def look(self):
        """Note the time, and answer."""
        self.looking += 1
        assert self.looking == 1, "two looks at the same time"
        try:
            self.looks.append(self.now())
            if self.took:
                await after(self.took)
            answer = self.answers.pop(0) if self.answers else self.always
            if isinstance(answer, Exception):
                raise answer
            self.finished += 1
            return answer
        finally:
            self.looking -= 1

    async def listen(self, on_hint):
        """Keep the callback, or fail as often as told."""
        self.listens += 1
        if self.listens <= self.deaf:
            raise ConnectionError("nobody is there")
        self.hint = on_hint

    def now(self) -> float:
        """Seconds since the test began."""
        return round(asyncio.get_running_loop().time() - self.begun_at, 6)


async def after(seconds: float) -> None:
    """Let virtual time pass."""
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    loop.call_later(seconds, passed.set_result, None)
    await passed


async def settled() -> None:
    """Let everything that is ready run, without any time passing."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_the_first_look_is_at_start(run_virtually):
    """A start looks at once: what fell due while no process ran is found."""

    async def main():
        looker, dispatcher = RecordingLooker(), PollingDispatcher()
        await dispatcher.start(looker)
        await settled()
        assert looker.looks == [0.0]
        await dispatcher.stop()

    run_virtually(main())


def test_the_poll_backs_off_while_nothing_is_due(run_virtually):
    """Idle polls double from the interval to idle_max and stay there."""

    async def main():
        looker, dispatcher = RecordingLooker(), PollingDispatcher()
        await dispatcher.start(looker)
        await after(22)
        assert looker.looks == [0.0, 1.0, 3.0, 7.0, 12.0, 17.0]
        await dispatcher.stop()

    run_virtually(main())


def test_a_wake_looks_at_once_and_ends_the_back_off(run_virtually):
    """A wake costs no waiting, and work makes the poll short again."""

    async def main():
        looker, dispatcher = RecordingLooker(), PollingDispatcher()
        await dispatcher.start(looker)
        await after(8)
        await dispatcher.wake()
        await settled()
        assert looker.looks == [0.0, 1.0, 3.0, 7.0, 8.0]
        await after(3.5)
        assert looker.looks[5:] == [9.0, 11.0]
        await dispatcher.stop()

    run_virtually(main())


def test_a_wake_for_later_is_a_wake(run_virtually):
    """A wake says "no later than": the look's answer, not the wake, says when the next look is."""

    async def main():
        looker, dispatcher = RecordingLooker(answers=[None, 0.4]), PollingDispatcher()
        await dispatcher.start(looker)
        await settled()
        await dispatcher.wake(LATER)
        await after(0.5)
        assert looker.looks == [0.0, 0.0, 0.4]
        await dispatcher.stop()

    run_virtually(main())


def test_the_next_due_time_is_kept_to_the_millisecond(run_virtually):
    """What the look knows to be due is looked at then, not at the next poll."""

    async def main():
        looker, dispatcher = RecordingLooker(answers=[0.25, 0.001]), PollingDispatcher()
        await dispatcher.start(looker)
        await after(0.9)
        assert looker.looks == [0.0, 0.25, 0.251]
        await dispatcher.stop()

    run_virtually(main())


def test_a_distant_due_time_does_not_stop_the_poll(run_virtually):
    """The poll goes on below a due time that is far: it is the safety net."""

    async def main():
        looker, dispatcher = RecordingLooker(always=3600.0), PollingDispatcher()
        await dispatcher.start(looker)
        await after(8)
        assert looker.looks == [0.0, 1.0, 3.0, 7.0]
        await dispatcher.stop()

    run_virtually(main())


def test_more_work_is_looked_at_at_once_and_lets_others_run(run_virtually):
    """An answer of 0 means that more is due now; the loop is not starved meanwhile."""

    async def main():
        looker, dispatcher = RecordingLooker(answers=[0.0, 0.0, -1.0]), PollingDispatcher()
        await dispatcher.start(looker)
        await settled()
        assert looker.looks == [0.0] * 4
        await dispatcher.stop()

    run_virtually(main())


def test_wakes_during_a_look_make_one_more(run_virtually):
    """One look in flight, one queued: a hundred wakes are one, and none is lost."""

    async def main():
        looker, dispatcher = RecordingLooker(took=0.5), PollingDispatcher()
        await dispatcher.start(looker)
        await after(0.1)
        for _ in range(100):
            await dispatcher.wake()
        await after(1.2)
        assert looker.looks == [0.0, 0.5]
        await dispatcher.stop()

    run_virtually(main())


def test_hints_of_other_processes_wake(run_virtually):
    """What the store hears from other processes counts like a wake."""

    async def main():
        looker, dispatcher = RecordingLooker(), PollingDispatcher()
        await dispatcher.start(looker)
        await after(0.3)
        assert looker.hint is not None
        looker.hint()
        await settled()
        assert looker.looks == [0.0, 0.3]
        await dispatcher.stop()

    run_virtually(main())


def test_listening_is_tried_again(run_virtually, caplog):
    """A process that cannot hear polls, and tries to listen again."""

    async def main():
        looker, dispatcher = RecordingLooker(deaf=2), PollingDispatcher()
        await dispatcher.start(looker)
        await after(10)
        assert looker.listens == 3
        assert looker.hint is not None
        await dispatcher.stop()

    with caplog.at_level(logging.ERROR, "keepstep.dispatcher"):
        run_virtually(main())
    assert len(caplog.records) == 2


def test_a_look_that_raises_is_tried_again_with_backoff(run_virtually, caplog):
    """A defect in a look is logged and never ends the loop: runs would be stranded (defect 9)."""

    async def main():
        boom = RuntimeError("boom")
        looker, dispatcher = RecordingLooker(answers=[boom] * 5), PollingDispatcher()
        await dispatcher.start(looker)
        await after(18)
        assert looker.looks == [0.0, 1.0, 3.0, 7.0, 12.0, 17.0]
        assert looker.finished == 1
        await dispatcher.stop()

    with caplog.at_level(logging.ERROR, "keepstep.dispatcher"):
        run_virtually(main())
    assert len(caplog.records) == 5


def test_stop_lets_the_look_in_flight_end(run_virtually):
    """A drain: the look in flight ends, no other begins."""

    async def main():
        looker, dispatcher = RecordingLooker(took=0.5, always=0.0), PollingDispatcher()
        await dispatcher.start(looker)
        await after(0.1)
        await dispatcher.stop()
        assert looker.now() == 0.5
        assert (looker.looks, looker.finished) == ([0.0], 1)
        await after(10)
        assert looker.looks == [0.0]

    run_virtually(main())


def test_start_and_stop_are_idempotent(run_virtually):
    """A second start or stop changes nothing; a start after a stop looks again."""

    async def main():
        looker, dispatcher = RecordingLooker(), PollingDispatcher()
        await dispatcher.stop()
        await dispatcher.start(looker)
        await dispatcher.start(looker)
        await settled()
        assert looker.looks == [0.0]
        await dispatcher.stop()
        await dispatcher.stop()
        await dispatcher.wake()
        await settled()
        assert looker.looks == [0.0]
        await dispatcher.start(looker)
        await settled()
        assert looker.looks == [0.0, 0.0]
        await dispatcher.stop()

    run_virtually(main())


def test_one_dispatcher_serves_one_app(run_virtually):
    """A dispatcher that is shared by two apps is refused with what to do."""

    async def main():
        dispatcher = PollingDispatcher()
        await dispatcher.start(RecordingLooker())
        with pytest.raises(UsageError, match="give each app its own"):
            await dispatcher.start(RecordingLooker())
        await dispatcher.stop()

    run_virtually(main())


@pytest.mark.parametrize(("interval", "idle_max"), [("0 seconds", "1 second"), ("2 seconds", "1 second")])
def test_intervals_that_make_no_sense_are_refused(interval, idle_max):
    """The interval is longer than nothing and at most idle_max."""
    with pytest.raises(UsageError, match="interval must be"):
        PollingDispatcher(interval=interval, idle_max=idle_max)


def test_a_bare_number_is_no_interval():
    """Durations carry their unit (D1)."""
    with pytest.raises(InvalidDurationError):
        PollingDispatcher(interval=1)  # type: ignore[arg-type]
