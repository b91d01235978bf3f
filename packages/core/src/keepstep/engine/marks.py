"""Where each workflow's queue begins, as far as this process knows: what stood before was claimed (B2).

PostgreSQL keeps the index entries of claimed tasks until they are vacuumed, and anybody's old snapshot can hold that up
for hours. Meanwhile each look at a queue walks over all of them. A mark lets looks begin behind them. A task may still
come to stand before a mark: one that a host's long transaction created, or that somebody gave back. So marks serve
only while looks are slow, leave a second of slack, and every few seconds a look takes in everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from keepstep.store.claims import Claimed, Since

SLOW_S = 0.010
"""A look for what is due next that takes longer walks over tens of thousands of dead entries; a usual one takes 1 ms."""
WHOLE_LOOK_S = 2.0
SLACK_MS = 1_000


class Marks:
    """The marks of one process.

    Args:
        served: whether the database needs them; SQLite has no dead entries.
        now: seconds that never go back.
    """

    def __init__(self, served: bool, now: Callable[[], float]) -> None:
        self._served = served
        self._now = now
        self._marks: dict[tuple[str, int], int] = {}
        self._slow = False
        self._whole_at = -math.inf

    def since(self) -> Since | None:
        """From when on to look, by workflow and priority; None = at everything."""
        return self._marks if self._slow and self._now() < self._whole_at else None

    @property
    def whole_look_in(self) -> float | None:
        """Seconds until a look must take in everything, where it does not in any case."""
        return max(0.0, self._whole_at - self._now()) if self._slow else None

    def took(self, claimed: Iterable[Claimed]) -> None:
        """These were claimed: the next look may begin at the last of them."""
        if self._served:
            for task, _ in claimed:
                key, mark = (task.workflow, task.priority), (task.run_at or 0) - SLACK_MS
                self._marks[key] = max(mark, self._marks.get(key, mark))

    def looked(self, seconds: float) -> None:
        """A look at everything took so long."""
        self._slow = self._served and seconds > SLOW_S
        self._whole_at = self._now() + WHOLE_LOOK_S

    def forget(self) -> None:
        """Tasks were freed: look at everything."""
        self._whole_at = -math.inf
