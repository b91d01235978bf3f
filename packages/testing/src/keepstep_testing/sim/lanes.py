"""Lanes: databases to play schedules on, and the comparison of two of them (invariant 43).

A scenario that is played in two lanes must be told the same by both: what clients are answered, the trace, the rows that
each commit changes, and those that are left. Where they differ either the engine's SQL does not do what it promises, or the dict lane's answers do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from keepstep_testing.sim.database import Change, Database
from keepstep_testing.sim.dicts.lane import DictLane
from keepstep_testing.sim.oracle.rules import Violation
from keepstep_testing.sim.play import USER_TABLE
from keepstep_testing.sim.scenario import Scenario
from keepstep_testing.sim.schedule import Result, play

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process
    from keepstep_testing.sim.store import Transaction

TWINS_DIFFER = "43"
"""The number of the invariant that this file checks."""

LANES: Mapping[str, Callable[[], Database]] = {
    "sqlite": lambda: Database(user_tables=[USER_TABLE]),
    "dict": lambda: DictLane(user_tables=[USER_TABLE]),
}
"""By name, what makes a lane's database. The first one is the engine's own."""


def twin_of(lane: str) -> str:
    """The lane that a lane is compared with."""
    return next(each for each in LANES if each != lane)


class History:
    """What each commit of a schedule changed; a watcher of the world's.

    Attributes:
        commits: whose, its label, and the changes.
    """

    def __init__(self) -> None:
        self.commits: list[tuple[str, str, Sequence[Change]]] = []

    def committed(self, transaction: Transaction, changes: Sequence[Change]) -> None:
        """One more."""
        if changes:
            self.commits.append((transaction.process.name, transaction.label, changes))

    def crashed(self, process: Process) -> None:
        """That changes nothing."""


def play_in_both(scenario: Scenario, lane: Database, twin: Database, *, wanted: bool = False) -> Result:
    """Play a scenario in two lanes: the first one's result, with their first difference as its violation.

    Args:
        scenario: what to play.
        lane: its result is returned, and a violation that it has of its own goes first.
        twin: what it is compared with.
        wanted: keep the lines of the trace.
    """
    history, others = History(), History()
    result = play(scenario, lane, wanted=wanted, watcher=history)
    if result.violation is not None:
        return result
    rows = lane.contents()
    other = play(scenario, twin, watcher=others)
    if other.violation is not None:
        found = f"only one of them breaks {other.violation}"
    elif result.trace.digest != other.trace.digest:
        found = _of_traces(scenario, lane, twin)
    else:
        found = (
            _of_answers(result.answers, other.answers)
            or _of_commits(history.commits, others.commits)
            or _of_rows(rows, twin.contents())
        )
    if found is not None:
        result.violation = Violation(TWINS_DIFFER, f"two lanes differ, seed {scenario.seed}: {found}")
    return result


def _of_traces(scenario: Scenario, lane: Database, twin: Database) -> str:
    """The first choice that differs; both are played again, as lines are kept only where they are wanted."""
    lines, others = (play(scenario, each, wanted=True).trace.lines for each in (lane, twin))
    for number, (line, other) in enumerate(zip_longest(lines, others), 1):
        if line is None or other is None or line[:-1] != other[:-1]:
            return f"choice {number} is {_told(line)}, in the other {_told(other)}"
    return "their traces do, but not when they are played again"


def _of_answers(answers: Sequence[Any], others: Sequence[Any]) -> str | None:
    for mine, other in zip_longest(answers, others):
        if mine != other:
            return f"a client is answered {mine}, in the other {other}"
    return None


def _of_commits(commits: Sequence[Any], others: Sequence[Any]) -> str | None:
    """The first commit that does not change the same rows alike, in whatever order."""
    for number, (mine, other) in enumerate(zip_longest(commits, others, fillvalue=("nobody", "", ())), 1):
        if mine == other:
            continue
        who, label, changes = mine
        for change, twin in zip_longest(sorted(changes, key=repr), sorted(other[2], key=repr)):
            if change != twin:
                return f"commit {number} ({who} {label}) has {_told(change)}, in the other {_told(twin)}"
    return None


def _of_rows(rows: Mapping[str, Sequence[Any]], others: Mapping[str, Sequence[Any]]) -> str | None:
    for table, mine in rows.items():
        for row, other in zip_longest(mine, others[table]):
            if row != other:
                return f"a row of {table} is {_told(row)}, in the other {_told(other)}"
    return None


def _told(values: Sequence[Any] | None) -> str:
    return "none" if values is None else repr(tuple(values))
