"""Fresh ids and the limits, for callers in any thread: verbs are made where they are called."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from keepstep.model.ids import ID_DRAW_BITS, KeySource, new_instance_id
from keepstep.model.limits import Limits


class Mint:
    """Makes run keys and instance ids.

    Args:
        limits: C10.
        now: wall-clock milliseconds.
        bits: ``bits(n)`` returns ``n`` random bits.
    """

    def __init__(self, limits: Limits, now: Callable[[], int], bits: Callable[[int], int]) -> None:
        self.limits = limits
        self._now = now
        self._bits = bits
        self._keys = KeySource(now, bits)
        self._guard = Lock()

    def run_id(self) -> int:
        """A key for a new run."""
        with self._guard:
            return self._keys.next()

    def instance_id(self) -> str:
        """An id for an instance that was created without one (E2)."""
        return new_instance_id(self._now(), self._bits(ID_DRAW_BITS))
