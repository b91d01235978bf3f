"""What holds for every workflow without an assertion, checked at each commit and at each attempt.

The rules are the simulation's own; these are those that are true of any workflow.
"""

from __future__ import annotations

from collections.abc import Sequence

from keepstep_testing.sim.database import Change
from keepstep_testing.sim.oracle import rules
from keepstep_testing.sim.oracle.ghost import Commit
from keepstep_testing.sim.oracle.oracle import Oracle
from keepstep_testing.sim.store import Transaction

NUMBERS = ("12", "19", "21", "24")
"""Results are final; events are consumed once and in order; no timer is early. Attempts: no recorded step runs again."""

_CHECKED = [rules.RULES[number] for number in NUMBERS]


class Referee(Oracle):
    """See the module's head."""

    def committed(self, transaction: Transaction, changes: Sequence[Change]) -> None:
        """Look at what a commit changed."""
        if not changes:
            return
        commit = Commit(
            transaction.process, transaction.label, transaction.boundaries, changes, self.world.clock.now_ms()
        )
        touched = commit.tables
        for rule in _CHECKED:
            if self.violation is None and touched & rule.tables:
                for offence in rule.check(self.ghost, commit):
                    self.violation = rules.Violation(rule.number, offence)
                    break
        self.ghost.take(commit)
