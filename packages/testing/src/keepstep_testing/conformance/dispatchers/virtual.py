"""Virtual time for dispatchers: a loop whose clock jumps to the next timer, and a wall clock that follows or jumps.

Only what does no real I/O can live on it: a dispatcher, its timers, a bridge made of functions.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import time_machine

BEGUN_AT = datetime(2030, 1, 1, tzinfo=UTC)


class Time:
    """The time of a test, on its clocks.

    The loop's clock is monotonic; the true time goes with it, and is the database's and other machines'. The wall clock
    is this machine's, which :meth:`jump` sets forward or back.
    """

    def __init__(self) -> None:
        self.passed_s = 0.0
        self._jumped_s = 0.0
        self._wall: Any = None

    def true_ms(self) -> int:
        """The true time, milliseconds UTC."""
        return round(BEGUN_AT.timestamp() * 1000) + int(self.passed_s * 1000 + 1e-6)

    async def after(self, seconds: float) -> None:
        """Let so much time pass."""
        loop = asyncio.get_running_loop()
        passed: asyncio.Future[None] = loop.create_future()
        loop.call_later(seconds, passed.set_result, None)
        await passed

    async def settled(self) -> None:
        """Let everything that is ready run, without any time passing."""
        for _ in range(50):
            await asyncio.sleep(0)

    def jump(self, seconds: float) -> None:
        """Set this machine's wall clock forward, or back."""
        self._jumped_s += seconds
        self._show()

    def pass_by(self, seconds: float) -> None:
        """Let time pass on all clocks; the loop calls it."""
        self.passed_s += seconds
        self._show()

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine to its end on these clocks."""
        with (
            time_machine.travel(BEGUN_AT, tick=False) as self._wall,
            asyncio.Runner(loop_factory=lambda: VirtualLoop(self)) as runner,
        ):
            runner.run(main())

    def _show(self) -> None:
        self._wall.move_to(BEGUN_AT + timedelta(seconds=self.passed_s + self._jumped_s))


class JumpingSelector(selectors.SelectSelector):
    """Never waits: a wait for a timer moves the clock, a wait for nothing is a dead end."""

    def __init__(self, time: Time) -> None:
        super().__init__()
        self._time = time

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Move the clock to the next timer."""
        if timeout is None:
            raise RuntimeError("nothing would ever happen: the test waits for what nobody does")
        if timeout > 0:
            self._time.pass_by(timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Reads its time from the clock that its selector moves."""

    def __init__(self, time: Time) -> None:
        self._virtual = time
        super().__init__(JumpingSelector(time))

    def time(self) -> float:
        """The time since the beginning, seconds."""
        return self._virtual.passed_s
