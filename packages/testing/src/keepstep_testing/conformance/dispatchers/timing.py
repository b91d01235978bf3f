"""When a dispatcher has things looked at, whatever is lost, doubled, late or away. All in virtual time."""

from __future__ import annotations

import asyncio
import random
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from keepstep.engine.dispatch import Dispatcher
from keepstep_testing.conformance.dispatchers.agenda import Agenda
from keepstep_testing.conformance.dispatchers.virtual import Time

SLEEPERS = 1_000
AWAY_S = 5.0


class DispatcherSuite:
    """What every dispatcher keeps; a subclass whose name begins with Test says how to make one.

    Attributes:
        heartbeat_s: the longest time between two looks, whatever happens.
        wake_s: how late a look may be that nothing hinders, in seconds.
        again_s: how long after a database that was away for 5 s is back the next look may be.
        jump_s: how far the wall clock of this machine is set forward and back.
    """

    heartbeat_s: ClassVar[float] = 5.0
    wake_s: ClassVar[float] = 0.01
    again_s: ClassVar[float] = 5.0
    jump_s: ClassVar[float] = 3600.0

    @abstractmethod
    def dispatched(self, agenda: Agenda, time: Time) -> AbstractAsyncContextManager[Dispatcher]:
        """A dispatcher that is started for ``agenda``, with everything that it needs; stopped at the end.

        Args:
            agenda: what it wakes; it is a runner to those that look, an app to those that have it ticked.
            time: the test's clocks; the loop's is virtual.
        """

    def test_wake_now(self) -> None:
        """A wake without a time has what is due found at once."""

        async def scene(agenda: Agenda, dispatcher: Dispatcher, time: Time) -> None:
            for _ in range(3):
                await time.after(1.7)
                agenda.add()
                await dispatcher.wake(None)
                await time.after(self.wake_s)
                assert agenda.left == 0

        self._play(scene)

    def test_wake_later(self) -> None:
        """A wake for later has it found then: not after another heartbeat, and an early look changes nothing."""

        async def scene(agenda: Agenda, dispatcher: Dispatcher, time: Time) -> None:
            for in_s in (0.25, 2.0, 0.001, 61.0):
                await dispatcher.wake(agenda.add(in_s))
                await time.after(in_s + self.wake_s)
                assert agenda.left == 0

        self._play(scene)

    def test_an_early_wake_changes_nothing(self) -> None:
        """A look that finds nothing due does not put off what is due soon (D3)."""

        async def scene(agenda: Agenda, dispatcher: Dispatcher, time: Time) -> None:
            for in_s in (0.3, 0.05, 0.9):
                await dispatcher.wake(agenda.add(in_s))
                await time.after(in_s / 2)
                await dispatcher.wake(None)
                await time.after(in_s / 2 + self.wake_s)
                assert agenda.left == 0

        self._play(scene)

    def test_earlier_replaces_later(self) -> None:
        """What is due first is found first, in whichever order the wakes came; the later one is not forgotten."""

        async def scene(agenda: Agenda, dispatcher: Dispatcher, time: Time) -> None:
            for in_s in (9.0, 3.0, 6.0):
                await dispatcher.wake(agenda.add(in_s))
            for _ in range(3):
                await time.after(3.0 + self.wake_s)
            assert sorted(agenda.late_s) == [0, 1, 2]
            assert max(agenda.late_s.values()) <= self.wake_s

        self._play(scene)

    def test_a_lost_wake_is_repaired_by_the_heartbeat(self) -> None:
        """What nobody was told of is found in a heartbeat at the longest."""

        async def scene(agenda: Agenda, _: Dispatcher, time: Time) -> None:
            for in_s in (0.0, self.heartbeat_s / 2):
                agenda.add(in_s)
                await time.after(in_s + self.heartbeat_s + self.wake_s)
                assert agenda.left == 0

        self._play(scene)

    def test_what_fell_due_before_the_start_is_found(self) -> None:
        """A start looks, so that what fell due while no process ran needs no wake."""

        async def scene(agenda: Agenda, _: Dispatcher, time: Time) -> None:
            await time.after(self.wake_s)
            assert agenda.left == 0

        self._play(scene, before=lambda agenda: agenda.add(-60))

    def test_overlapping_wakes_coalesce(self) -> None:
        """One look in flight, one queued: a hundred wakes are no more than that, and what they announced is found."""

        async def scene(agenda: Agenda, dispatcher: Dispatcher, time: Time) -> None:
            await time.after(1.0)
            agenda.look_s = 0.5
            before = len(agenda.looks)
            await dispatcher.wake(None)
            await time.after(0.1)
            assert len(agenda.looks) == before + 1
            agenda.add()
            for _ in range(100):
                await dispatcher.wake(None)
            await time.after(0.4 + 0.5 + self.wake_s)
            assert agenda.left == 0
            assert len(agenda.looks) <= before + 3
            await time.after(5.0)
            assert len(agenda.looks) <= before + 10, "each wake was a look"

        self._play(scene)

    def test_a_stop_during_a_tick_drains(self) -> None:
        """The look in flight ends before the stop does; none begins afterwards, whoever wakes."""

        async def scene(agenda: Agenda, dispatcher: Dispatcher, time: Time) -> None:
            await time.after(1.0)
            agenda.look_s = 0.5
            agenda.add()
            await dispatcher.wake(None)
            await time.after(0.1)
            begun = len(agenda.looks)
            assert agenda.ended == begun - 1
            await dispatcher.stop()
            assert (agenda.ended, agenda.left) == (begun, 0)
            agenda.add()
            await dispatcher.wake(None)
            await time.after(2 * self.heartbeat_s)
            assert (len(agenda.looks), agenda.left) == (begun, 1)

        self._play(scene)

    def test_a_database_that_is_away_for_5_s_and_back(self) -> None:
        """Nothing that was due or fell due meanwhile is lost, nor what falls due later (defect 9)."""

        async def scene(agenda: Agenda, dispatcher: Dispatcher, time: Time) -> None:
            await dispatcher.wake(agenda.add(AWAY_S / 2))
            agenda.away = True
            agenda.add()
            await dispatcher.wake(None)
            await time.after(AWAY_S)
            assert agenda.left == 2
            agenda.away = False
            await time.after(self.again_s)
            assert agenda.left == 0
            await dispatcher.wake(agenda.add(1.0))
            await time.after(1.0 + self.wake_s)
            assert agenda.left == 0

        self._play(scene)

    def test_clock_jumps(self) -> None:
        """This machine's wall clock is set forward, and back: timers go by the database's, a wake still wakes (B5)."""

        async def scene(agenda: Agenda, dispatcher: Dispatcher, time: Time) -> None:
            for jump_s in (self.jump_s, -2 * self.jump_s, self.jump_s):
                await dispatcher.wake(agenda.add(2.0))
                await time.after(1.0)
                time.jump(jump_s)
                await time.after(1.0 + 2 * self.heartbeat_s + self.wake_s)
                assert agenda.left == 0, f"a timer of before a jump of {jump_s} s"
                agenda.add()
                await dispatcher.wake(None)
                await time.after(self.wake_s)
                assert agenda.left == 0, f"a wake after a jump of {jump_s} s"
                agenda.add()
                await time.after(self.heartbeat_s + self.wake_s)
                assert agenda.left == 0, f"a lost wake after a jump of {jump_s} s"

        self._play(scene)

    def test_a_thousand_sleepers_are_woken_within_a_second(self) -> None:
        """Each within a second of its time, and in far fewer looks than there are wakes to be given."""

        async def scene(agenda: Agenda, dispatcher: Dispatcher, time: Time) -> None:
            draw = random.Random(6)  # noqa: S311  # the same ones each time
            for _ in range(SLEEPERS):
                await dispatcher.wake(agenda.add(draw.uniform(0.5, 60)))
            await time.after(61)
            assert (agenda.left, len(agenda.late_s)) == (0, SLEEPERS)
            assert max(agenda.late_s.values()) <= 1.0
            assert len(agenda.looks) <= 2 * SLEEPERS

        self._play(scene)

    def test_start_and_stop_are_idempotent(self) -> None:
        """A second start for the same runner and a second stop change nothing; a stop may be followed by a start."""

        async def scene(agenda: Agenda, dispatcher: Dispatcher, time: Time) -> None:
            await time.after(self.wake_s)
            looks = len(agenda.looks)
            await dispatcher.start(agenda)
            await time.settled()
            assert len(agenda.looks) == looks
            await dispatcher.stop()
            await dispatcher.stop()
            agenda.add()
            await dispatcher.start(agenda)
            await time.after(self.wake_s)
            assert agenda.left == 0

        self._play(scene)

    def test_wakes_before_a_start_and_after_a_stop_do_no_harm(self) -> None:
        """There is nothing to wake, and nothing is raised; the next start finds what they meant."""

        async def scene(agenda: Agenda, dispatcher: Dispatcher, time: Time) -> None:
            await dispatcher.stop()
            await dispatcher.wake(agenda.add())
            await dispatcher.wake(None)
            await dispatcher.start(agenda)
            await time.after(self.wake_s)
            assert agenda.left == 0

        self._play(scene)

    def _play(
        self,
        scene: Callable[[Agenda, Dispatcher, Time], Awaitable[None]],
        *,
        before: Callable[[Agenda], object] = lambda _: None,
    ) -> None:
        """Run a scene on a dispatcher that is started, in virtual time."""
        time = Time()

        async def main() -> None:
            agenda = Agenda(time)
            before(agenda)
            async with self.dispatched(agenda, time) as dispatcher, asyncio.timeout(100_000):
                await scene(agenda, dispatcher, time)

        time.run(main)
