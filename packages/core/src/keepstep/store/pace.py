"""When a commit is slow enough to leave the loop's thread: a moving average with hysteresis. Pure: it is told times.

A flush of 0.2 ms is cheaper inline than any hand-over; one of 5 ms would stop every run of the process meanwhile. Only
commits made on the loop's thread are measured, as one made beside a busy loop mostly waits for the interpreter. So
while commits are handed over, every 32nd is still made inline: it may tell that the disk is fast again.
"""

from __future__ import annotations

PROBE_EVERY = 32
_WEIGHT = 0.1


class CommitPace:
    """Decides for each commit whether it is handed to the writer thread.

    Args:
        slow_ms: from this average on commits are handed over, below half of it no longer.
    """

    __slots__ = ("_average_ms", "_handed", "_slow_ms", "_until_probe")

    def __init__(self, slow_ms: float) -> None:
        self._slow_ms = slow_ms
        self._average_ms = 0.0
        self._handed = slow_ms <= 0
        self._until_probe = PROBE_EVERY

    def hand_over(self) -> bool:
        """Whether the next commit leaves the loop's thread; :meth:`inline_took` follows when it does not."""
        if not self._handed:
            return False
        self._until_probe -= 1
        if self._until_probe:
            return True
        self._until_probe = PROBE_EVERY
        return False

    def inline_took(self, took_ms: float) -> None:
        """Count a commit made inline. One outlier (a checkpoint) does not change the pace by itself."""
        self._average_ms += (min(took_ms, 4 * self._slow_ms) - self._average_ms) * _WEIGHT
        if self._handed:
            self._handed = self._average_ms >= self._slow_ms / 2
        else:
            self._handed = self._average_ms >= self._slow_ms
