"""A campaign: many seeds, what they found, how far they reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from keepstep_testing.sim.database import Database
from keepstep_testing.sim.faults import strikes as _  # noqa: F401  # registers the kinds
from keepstep_testing.sim.faults.kinds import KINDS
from keepstep_testing.sim.faults.plan import OF_WORKLOAD
from keepstep_testing.sim.focus import focused
from keepstep_testing.sim.lanes import LANES, play_in_both, twin_of
from keepstep_testing.sim.oracle.rows import MOVES
from keepstep_testing.sim.oracle.rules import Violation
from keepstep_testing.sim.scenario import Scenario, drawn
from keepstep_testing.sim.schedule import Result, play

TWICE = 20
"""The first seeds run twice: equal traces and databases, or the harness is broken."""
COMPARED = 20
"""The first seeds run in both lanes, unless a campaign is told another number (43)."""
CALM_EVERY = 10
"""Each so many-th seed is a calm run."""
FOCUSED_EVERY = 2
"""Each so many-th seed looks closely at one kind of trouble."""
UNDISTURBED = 20_000
"""Choices within which a calm run ends by itself, without an operator who ends its waits."""
ENOUGH = 2_000
"""A campaign of so many schedules in which a kind of fault never struck has failed."""


def with_cache(scenario: Scenario, bodies: int) -> Scenario:
    """The same scenario on machines that keep so many suspended bodies, and left alone until everything has ended."""
    machines = tuple(replace(each, cache=bodies) for each in scenario.machines)
    return replace(scenario, machines=machines, chaos_picks=UNDISTURBED)


class Campaign:
    """See the module's head.

    Args:
        lane: of :data:`~keepstep_testing.sim.lanes.LANES`, by name.
        compared: how many of the first seeds run in the other lane, too.

    Attributes:
        lane: likewise.
        database: the lane's.
        failures: results with a violation.
        played: schedules.
        fired: faults by kind.
        pairs: faults by kind and label of the gate.
        gates: gates opened, by label.
        transitions: changes of status.
        unequal: seeds whose two runs differ.
        last: the last result.
    """

    def __init__(self, lane: str = "sqlite", compared: int = COMPARED) -> None:
        self.lane = lane
        self.database = LANES[lane]()
        self._compared = compared
        self.failures: list[Result] = []
        self.played = 0
        self.picks = 0
        self.fired: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.gates: Counter[str] = Counter()
        self.transitions: Counter[tuple[str, str]] = Counter()
        self.unequal: list[int] = []
        self.last: Result

    @cached_property
    def twin(self) -> Database:
        """The database of the lane that this one is compared with."""
        return LANES[twin_of(self.lane)]()

    @property
    def never_struck(self) -> list[str]:
        """Kinds of faults that never did."""
        return [kind for kind in [*KINDS, *OF_WORKLOAD] if not self.fired[kind]]

    @property
    def failed(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.failures or self.unequal or (self.played >= ENOUGH and self.never_struck))

    def play_seed(self, seed: int) -> Result:
        """Play one seed; the first ones twice, and in both lanes."""
        scenario = focused(seed) if seed % FOCUSED_EVERY == 1 else drawn(seed, calm=seed % CALM_EVERY == 0)
        twice = self.played < TWICE
        if self.played < self._compared:
            result = play_in_both(scenario, self.database, self.twin)
        else:
            result = play(scenario, self.database, digested=twice)
        if twice and play(scenario, self.database).digest != result.digest:
            self.unequal.append(seed)
        if scenario.calm and self._depends_on_cache(scenario):
            result.violation = Violation("A6", "without a cache the same seed leaves another history behind")
        self.last = result
        self.played += 1
        self.picks += result.picks
        self.fired.update(result.fired)
        self.pairs.update(result.pairs)
        self.gates.update(result.gates)
        self.transitions.update(result.transitions)
        if result.violation is not None:
            self.failures.append(result)
        return result

    def _depends_on_cache(self, scenario: Scenario) -> bool:
        with_none, with_all = (play(with_cache(scenario, each), self.database).history for each in (0, 1_000))
        return with_none != with_all

    def report(self, seconds: float) -> str:
        """What was found and reached, as text."""
        return "\n".join([*self._found(), *self._reached(seconds), *self._faults(), ""])

    def _found(self) -> Iterator[str]:
        for result in self.failures[:10]:
            yield f"seed {result.scenario.seed}: {result.violation}"
            yield f"    make sim SEED={result.scenario.seed} N=1 FLAGS='--trace --lane {self.lane}'"
        for seed in self.unequal:
            yield f"seed {seed}: two runs of it differ: the harness is broken, or the engine asks the real world"
        if self.played >= ENOUGH:
            yield from (f"never struck: {kind}" for kind in self.never_struck)

    def _reached(self, seconds: float) -> Iterator[str]:
        known = {(old, new) for old, news in MOVES.items() for new in news}
        walked = {each for each in self.transitions if each[0] != "-"}
        pairs = {kind: len({label for each, label in self.pairs if each == kind}) for kind in KINDS}
        yield (
            f"{self.played} schedules on {self.lane} in {seconds:.1f} s, {self.played / max(seconds, 0.001):.1f}/s,"
            f" {self.picks / max(1, self.played):.0f} choices and"
            f" {self.gates.total() / max(1, self.played):.0f} gates each; {len(self.failures)} failed"
        )
        yield (
            f"{len(self.gates)} kinds of gates, {sum(pairs.values())} pairs of gate and fault,"
            f" {len(walked & known)} of {len(known)} changes of status"
        )
        yield f"{min(self.played, self._compared)} compared with {twin_of(self.lane)}"
        missing = sorted(f"{old}→{new}" for old, new in known - walked)
        if missing:
            yield f"not walked: {', '.join(missing)}"

    def _faults(self) -> Iterator[str]:
        for kind in KINDS.values():
            labels = len({label for each, label in self.pairs if each == kind.name})
            yield f"{self.fired[kind.name]:8}  {kind.number:>3}  {kind.name} (at {labels} kinds of gates)"
        for name, (number, _title) in OF_WORKLOAD.items():
            yield f"{self.fired[name]:8}  {number:>3}  {name}"
