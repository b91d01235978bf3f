"""Virtual time: the world's true time, and what the clocks of its machines make of it. Nothing here decides."""

from __future__ import annotations

EPOCH_MS = 1_800_000_000_000
"""What the world's clock shows at its beginning, milliseconds UTC."""


class WorldClock:
    """True time, which is the database's time too (B5).

    Attributes:
        us: microseconds since the world began. Only the world moves it.
        jump_ms: by how much the database's clock was set forward.
    """

    __slots__ = ("jump_ms", "us")

    def __init__(self) -> None:
        self.us = 0
        self.jump_ms = 0

    def now_ms(self) -> int:
        """The database's clock, milliseconds UTC."""
        return EPOCH_MS + self.us // 1000 + self.jump_ms

    def monotonic(self) -> float:
        """Seconds since the world began."""
        return self.us / 1_000_000


class ProcessClock:
    """A machine's clock: it shows another time, and may run at another speed.

    Args:
        world: true time.
        skew_ms: added to the wall clock; the world may change it, as NTP does.
        drift_ppm: how many microseconds a second it gains.
    """

    __slots__ = ("_born_us", "_rate", "_world", "skew_ms")

    def __init__(self, world: WorldClock, skew_ms: int = 0, drift_ppm: int = 0) -> None:
        self._world = world
        self._born_us = world.us
        self._rate = 1 + drift_ppm / 1_000_000
        self.skew_ms = skew_ms

    def monotonic(self) -> float:
        """Seconds since the process began, by its own clock."""
        return (self._world.us - self._born_us) * self._rate / 1_000_000

    def now_ms(self) -> int:
        """Wall clock, milliseconds UTC."""
        return EPOCH_MS + self.skew_ms + (self._born_us + int(self.monotonic() * 1_000_000)) // 1000

    def due_us(self, monotonic: float) -> int:
        """The world's time at which this clock's :meth:`monotonic` will have reached a value."""
        due = self._born_us + int(monotonic * 1_000_000 / self._rate)
        while (due - self._born_us) * self._rate / 1_000_000 < monotonic:
            due += 1
        return due
