"""Bodies that are not deterministic: a toss decides which step comes next, and each replay tosses again (fault 48, E10).

No engine can see the toss. What it must see is that what the body asks for contradicts what is recorded: then nothing
more is done, and the run rests until code that fits is deployed. Here the code fits once the chaos is over: from then
on a toss falls as the records say.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keepstep_testing.sim.oracle.ghost import Ghost


class Coins:
    """The tosses of one schedule.

    Attributes:
        honest: whether tosses fall as the records say.
        flips: tosses that contradicted a record.
    """

    def __init__(self) -> None:
        self.begin(None, "")

    def begin(self, ghost: Ghost | None, seed: int | str) -> None:
        """A new schedule, on what this oracle sees."""
        self._ghost = ghost
        self._draws = random.Random(f"{seed}/coins")
        self._contradicted: dict[int, Any] = {}
        self.honest = False
        self.flips = 0

    def toss(self, instance_id: str, run_number: int, name: str) -> bool:
        """Heads, a step, or tails, a sleep of the same name; called by a body."""
        recorded = self.recorded(instance_id, run_number, name)
        if self.honest:
            return recorded is not False
        fallen = self._draws.random() < 0.5  # a fair coin
        if recorded is not None and fallen != recorded and not self._is_stored(instance_id, run_number, name):
            self.flips += 1
            loop = asyncio.get_running_loop()
            self._contradicted[id(loop)] = (loop, f"{'do' if recorded else 'sleep'}:{name}")
        return fallen

    def _is_stored(self, instance_id: str, run_number: int, name: str) -> bool:
        """Whether both sides of a coin are stored, as one of them was waited for earlier: then neither contradicts."""
        keys = {f"do:{name}", f"sleep:{name}"}
        return keys <= self._steps(instance_id, run_number).keys()

    def recorded(self, instance_id: str, run_number: int, name: str) -> bool | None:
        """How the toss fell that is recorded; None = nothing is."""
        return _fallen(self._steps(instance_id, run_number), name)

    def _steps(self, instance_id: str, run_number: int) -> dict[str, Any]:
        assert self._ghost is not None
        for run in self._ghost.runs.values():
            if (run.instance_id, run.run_number) == (instance_id, run_number):
                return self._ghost.steps[run.id]
        return {}

    def contradicted(self, body: Any) -> str | None:
        """The record's key that a toss in this body contradicted, or None."""
        _, key = self._contradicted.get(
            id(body._loop), (None, None)
        )  # it is the engine's, and has no other name
        return key


def _fallen(steps: dict[str, Any], name: str) -> bool | None:
    for key, fallen in ((f"do:{name}", True), (f"sleep:{name}", False)):
        row = steps.get(key)
        if row is not None and row.seq is not None:
            return fallen
    return None


COINS = Coins()
"""Bodies know no process and no world, so that they have to find it here."""
