"""A campaign: many seeds, what they found, how far they reached."""

from __future__ import annotations

from collections import Counter

from keepstep_testing.sim.database import Database
from keepstep_testing.sim.faults import KINDS, OF_WORKLOAD
from keepstep_testing.sim.play import USER_TABLE
from keepstep_testing.sim.scenario import drawn
from keepstep_testing.sim.schedule import Result, play

TWICE = 20
"""The first seeds run twice: equal traces and databases, or the harness is broken."""
CALM_EVERY = 10
"""Each so many-th seed is a calm run."""


class Campaign:
    """See the module's head.

    Attributes:
        failures: results with a violation.
        fired: faults by kind.
    """

    def __init__(self) -> None:
        self.database = Database(user_tables=[USER_TABLE])
        self.failures: list[Result] = []
        self.played = 0
        self.picks = 0
        self.fired: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.gates: Counter[str] = Counter()
        self.transitions: Counter[tuple[str, str]] = Counter()
        self.unequal: list[int] = []

    @property
    def failed(self) -> bool:
        """Whether anything was found."""
        return bool(self.failures or self.unequal)

    def play_seed(self, seed: int) -> Result:
        """Play one seed; the first ones twice."""
        scenario = drawn(seed, calm=seed % CALM_EVERY == 0)
        result = play(scenario, self.database)
        if self.played < TWICE and play(scenario, self.database).digest != result.digest:
            self.unequal.append(seed)
        self.played += 1
        self.picks += result.picks
        self.fired += result.fired
        self.pairs += result.pairs
        self.gates += result.gates
        self.transitions += result.transitions
        if result.violation is not None:
            self.failures.append(result)
        return result

    def report(self, seconds: float, *, trace: bool = False) -> str:
        """What was found and reached, as text."""
        lines: list[str] = []
        for result in self.failures[:10]:
            lines += [f"seed {result.scenario.seed}: {result.violation}"]
            if trace:
                again = play(result.scenario, self.database, wanted=True)
                lines += [again.trace.text(200)]
        lines += [f"seed {seed}: two runs differ" for seed in self.unequal]
        lines += [
            f"{self.played} schedules in {seconds:.1f} s: {self.played / seconds:.1f}/s, "
            f"{self.picks / max(1, self.played):.0f} choices each; {len(self.failures)} failed",
            f"gates: {len(self.gates)}; gate × fault: {len(self.pairs)}; "
            f"changes of status: {', '.join(f'{a}→{b} {n}' for (a, b), n in sorted(self.transitions.items()))}",
        ]
        for kind in [*KINDS, *OF_WORKLOAD]:
            lines.append(f"  {self.fired[kind]:7}  {kind}")
        return "\n".join([*lines, ""])
