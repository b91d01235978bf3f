"""What a dispatcher under test wakes: a list of things that fall due, in place of a runner and an app.

It keeps both faces: ``look`` for a dispatcher in the process, ``tick`` for one that has the app called. Neither does
more than note which things were found, and when; a thing is found when somebody looks at or after its time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from keepstep import TickResult
from keepstep.errors import StoreUnavailableError
from keepstep_testing.conformance.dispatchers.virtual import Time

AWAY_LOOK_S = 0.5
"""After so long a runner asks to look again while its database is away."""


class Agenda:
    """Things that fall due.

    Args:
        time: of the test; the database's time is the true one.

    Attributes:
        away: whether the database is away.
        look_s: how long a look takes.
        late_s: how late each thing that was found was found, by its number.
        looks: when looks began, in seconds since the beginning.
        ended: how many looks have ended.
    """

    workflows: tuple[str, ...] = ("agenda",)
    workflow_names: tuple[str, ...] = ("agenda",)

    def __init__(self, time: Time) -> None:
        self._time = time
        self._due: dict[int, int] = {}
        self._looking = False
        self.away = False
        self.look_s = 0.0
        self.late_s: dict[int, float] = {}
        self.looks: list[float] = []
        self.ended = 0

    def add(self, in_s: float = 0.0) -> datetime:
        """Have one more thing fall due in so many seconds, and tell nobody; its instant, to give to a wake."""
        due_ms = self._time.true_ms() + round(in_s * 1000)
        self._due[len(self._due) + len(self.late_s)] = due_ms
        return _instant(due_ms)

    @property
    def left(self) -> int:
        """How many things have not been found yet."""
        return len(self._due)

    async def look(self) -> float | None:
        """A runner's pass."""
        due_ms = await self._look()
        if due_ms is None:
            return AWAY_LOOK_S if self.away else None
        return max(0.0, (due_ms - self._time.true_ms()) / 1000)

    async def tick(
        self, max_instances: int | None = None, *, workflows: Collection[str] | None = None
    ) -> TickResult:
        """An app's tick."""
        assert workflows is None or "agenda" in workflows, "a tick of another shard"
        before = len(self.late_s)
        due_ms = await self._look(max_instances)
        self._check()
        found = len(self.late_s) - before
        return TickResult(found, None if due_ms is None else _instant(max(due_ms, self._time.true_ms())))

    async def next_due(self, workflows: Collection[str]) -> datetime | None:
        """When the next thing falls due."""
        self._check()
        return _instant(min(self._due.values())) if workflows and self._due else None

    async def listen(self, on_hint: Callable[[], None]) -> None:
        """Hints never come: what a dispatcher does without them is what is tested."""

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailableError("the database is away")

    async def _look(self, most: int | None = None) -> int | None:
        """Find what is due; when the next thing is."""
        assert not self._looking, "two looks at the same time"
        self._looking = True
        try:
            self.looks.append(self._time.passed_s)
            if self.look_s:
                await self._time.after(self.look_s)
            if self.away:
                return None
            now_ms = self._time.true_ms()
            due = sorted((at, number) for number, at in self._due.items() if at <= now_ms)
            for at, number in due[:most]:
                del self._due[number]
                self.late_s[number] = (now_ms - at) / 1000
            return min(self._due.values(), default=None)
        finally:
            self._looking = False
            self.ended += 1


def _instant(at_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
