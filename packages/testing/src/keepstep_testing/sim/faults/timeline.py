"""What the database was before: snapshots of the last commits, and the way back to one of them (fault 23).

A database that loses acknowledged commits breaks its promise. What was acknowledged before is excused from then on,
by the moment of the loss; whatever begins after it is held to every rule.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from keepstep_testing.sim.database import Change, Database, Rows
from keepstep_testing.sim.oracle.ghost import Ghost, Memory

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process
    from keepstep_testing.sim.stage import Stage
    from keepstep_testing.sim.store import Transaction

LOST_MAX = 8


class Moment(NamedTuple):
    """The state after one commit: of the database, and of what the oracle keeps of it."""

    rows: Rows
    memory: Memory


class Timeline:
    """Watches commits and keeps the states after the last of them.

    Args:
        database: which.
        ghost: the oracle's; it has seen a commit before this watcher sees it.
    """

    def __init__(self, database: Database, ghost: Ghost) -> None:
        self._database = database
        self._ghost = ghost
        self._moments: deque[Moment] = deque(maxlen=LOST_MAX + 1)
        self._keep()

    def committed(self, transaction: Transaction, changes: Sequence[Change]) -> None:
        """One more state."""
        if changes:
            self._keep()

    def crashed(self, process: Process) -> None:
        """Nothing of the database changes."""

    def go_back(self, commits: int) -> int:
        """Lose so many commits, or all that are remembered; how many were lost."""
        lost = min(commits, len(self._moments) - 1)
        for _ in range(lost):
            self._moments.pop()
        if lost:
            moment = self._moments[-1]
            self._database.restore(moment.rows)
            self._ghost.recall(moment.memory)
        return lost

    def _keep(self) -> None:
        self._moments.append(Moment(self._database.contents(), self._ghost.memory()))


def lose_commits(stage: Stage, commits: int) -> None:
    """The database goes back by so many commits."""
    assert stage.timeline is not None, "no snapshots were kept: the plan has no fault that goes back"
    if stage.timeline.go_back(commits):
        stage.outside.lost = len(stage.outside.effects)
