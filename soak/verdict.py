"""What is said after a fault: everything that is wrong, and how much was repeated."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from soak.checker import (
    ALWAYS,
    AT_REST,
    ENDED,
    Expected,
    broken,
    read_effects,
    repeats,
    wrong_effects,
    wrong_outcomes,
)
from soak.processes import Fleet, until
from soak.rows import count, rows

LIVE = "SELECT count(*) FROM keepstep_task"
RUNNERS = "SELECT count(*) FROM keepstep_runner"


@dataclass
class Verdict:
    """What a fault left behind.

    Attributes:
        wrong: what breaks an invariant or a model; nothing of it may ever be.
        runs: instances that ended as their models say, if nothing is wrong.
        effects: how many effects took place.
        repeated: how many of them were repetitions of steps in flight (B8).
        pids: the processes in which they did.
    """

    wrong: list[str] = field(default_factory=list)
    runs: int = 0
    effects: int = 0
    repeated: int = 0
    pids: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        """Whether all is well."""
        return not self.wrong

    def __str__(self) -> str:
        return "\n".join(self.wrong) or f"{self.runs} runs, {self.effects} effects, {self.repeated} repeated"


async def all_ended(database: str, seconds: float = 60) -> float:
    """Wait until no run lives; how long that took."""
    return await until(lambda: count(database, LIVE) == 0, "all runs have ended", seconds)


async def verdict(runners: Fleet, expected: Expected, stood_still: Collection[int] = ()) -> Verdict:
    """Wait for all runs and until those who died have been taken over, judge, end the runners, judge what they leave.

    Args:
        runners: on the database to judge.
        expected: what was asked of them.
        stood_still: processes that were stopped for a while.
    """
    database = runners.database
    try:
        await all_ended(database)
        await until(lambda: count(database, RUNNERS) <= len(runners.alive), "who died has been taken over")
    except TimeoutError as error:
        return Verdict([str(error), *stuck(database), *broken(database, *ALWAYS), *runners.complaints()])
    wrong = broken(database, *ALWAYS, *AT_REST)
    runners.end()
    wrong += broken(database, *ALWAYS, *AT_REST, *ENDED) + wrong_outcomes(database, expected)
    effects = read_effects(runners.effects)
    wrong += wrong_effects(effects, expected, stood_still) + runners.complaints()
    return Verdict(
        wrong,
        len(expected.instances),
        len(effects),
        repeats(effects).total(),
        frozenset(each.pid for each in effects),
    )


def stuck(database: str) -> list[str]:
    """The runs that live, for a report."""
    with_task = (
        "SELECT r.instance_id, r.status, t.priority, t.run_at, t.owner, t.fence, t.wake_seq, t.takeovers"
        " FROM keepstep_run r JOIN keepstep_task t ON t.run_id = r.id ORDER BY r.id"
    )
    return [f"stuck: {row}" for row in rows(database, with_task)[:20]]
