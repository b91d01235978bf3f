"""One run of a test as data: what was drawn for it and what was done to it. It is what a file keeps and a replay plays.

Places are named by actor, label and occurrence, so that small edits of a workflow do not make a kept run useless.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keepstep.errors import UsageError
from keepstep_testing.mishaps import MISHAPS, SKEW_MS, Case, Watch
from keepstep_testing.settings import wants
from keepstep_testing.sim.chooser import PORTFOLIO, Deviations, Recording, Replay, Strategy, strategy_of
from keepstep_testing.sim.gates import Gate, Option
from keepstep_testing.sim.trace import Line

if TYPE_CHECKING:
    from keepstep_testing.sim.world import World

CHAOS_PICKS = (60, 120, 240)
NTH = (3, 12, 60)
OF_RUN = ("no-memory", "clock-ahead", "clock-behind")
LEAP_MAX_S = 60.0
"""How much time may pass at most while somebody has something to do."""
FEW = 8
"""Departures that are left out one by one."""
SCOPES = ("state", "commit")
FAILURES = Path(".sim_failures")
"""Where failing runs are kept."""
MISHAP = "mishap"
"""What a trace calls the moment at which one strikes."""


@dataclass(frozen=True, slots=True)
class Run:
    """See the module's head.

    Attributes:
        seed: of everything that is drawn while it runs.
        strategy: who picks what happens next; ``straight`` = first come, first served.
        chaos_picks: for so many choices; then nothing is preempted any more.
        mishaps: kind and the how-manieth place that it may strike, from 1.
        cases: what is played instead, when it is a replay: mishaps at named places.
        deviations: likewise: where it departed from first come, first served.
        whole: mishaps of the whole run.
    """

    seed: int = 0
    strategy: str = "straight"
    chaos_picks: int = 0
    mishaps: tuple[tuple[str, int], ...] = ()
    cases: tuple[str, ...] | None = None
    deviations: Deviations | None = None
    whole: tuple[str, ...] = ()

    @property
    def cache(self) -> int:
        """Suspended bodies that are kept."""
        return 0 if "no-memory" in self.whole else 100

    @property
    def skew_ms(self) -> int:
        """By how much the runners' clocks are wrong."""
        return sum(SKEW_MS.get(each, 0) for each in self.whole)

    def to_json(self, test: str, said: str) -> str:
        """As a file keeps it.

        Args:
            test: whose run it is.
            said: how it failed.
        """
        return json.dumps({"test": test, "said": said, **asdict(self)}, indent=1)


def read_run(path: Path) -> tuple[str, Run]:
    """Read a kept run: the test, and the run.

    Raises:
        UsageError: it is no such file.
    """
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return raw["test"], Run(
            seed=raw["seed"],
            cases=tuple(raw["cases"] or ()),
            deviations=raw["deviations"] or {},
            whole=tuple(raw["whole"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no saved run: {error}") from error


def drawn(seed: int) -> Run:
    """Draw a run: a strategy, few mishaps, sometimes no memory or a wrong clock."""
    draw = random.Random(f"run/{seed}")  # noqa: S311  # draws come from a seed
    kinds = [name for name, each in MISHAPS.items() if each.scope in SCOPES and wants(name)]
    wholes = [
        name for name, each in MISHAPS.items() if each.scope == "run" and name in OF_RUN and wants(name)
    ]
    count = draw.choice((0, 1, 1, 2, 2, 3)) if kinds else 0
    return Run(
        seed,
        draw.choice(PORTFOLIO),
        draw.choice(CHAOS_PICKS),
        tuple((draw.choice(kinds), draw.randint(1, draw.choice(NTH))) for _ in range(count)),
        whole=(draw.choice(wholes),) if wholes and draw.random() < 0.3 else (),
    )


class Chaos:
    """A strategy for so many picks; then nothing is preempted any more."""

    def __init__(self, strategy: Strategy, picks: int, leap_s: Callable[[], float]) -> None:
        self._strategy = strategy
        self._left = picks
        self._leap_s = leap_s

    def choose(self, options: Sequence[Option], default: Option | None, *, can_tick: bool) -> Option | None:
        """As the strategy, while it lasts."""
        self._left -= 1
        if self._left < 0:
            return default
        near = (
            can_tick and self._leap_s() <= LEAP_MAX_S
        )  # leases are long here: no process stands still for a year
        return self._strategy.choose(options, default, can_tick=near)


class Plan(Watch):
    """Lets the mishaps of a run strike.

    Attributes:
        struck: what did, as cases.
        fired: by kind.
        labels: kinds of places that were passed.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._waiting = [(kind, [nth]) for kind, nth in run.mishaps] if run.cases is None else []
        self._cases = [Case.of(each) for each in run.cases or ()]
        self.struck: list[str] = []
        self.fired: Counter[str] = Counter(run.whole)
        self.labels: set[str] = set()
        if run.deviations is not None:
            self.chooser: Recording | Replay = Replay(run.deviations)
        else:
            strategy = strategy_of(run.strategy, random.Random(f"strategy/{run.seed}"))  # noqa: S311  # likewise
            self.chooser = Recording(Chaos(strategy, run.chaos_picks, self._leap_s))

    def _leap_s(self) -> float:
        assert self.simulation is not None
        return self.simulation.world.leap_s

    def strike(self, world: World, option: Option) -> bool:
        """Let the first one strike that is due here."""
        if not isinstance(option, Gate) or not option.process.name.startswith("runner"):
            return False
        self.labels.add(option.key.label)
        kind = self._due(option, free=not world.in_transaction)
        if kind is None:
            return False
        self.struck.append(str(Case(kind, str(option.key))))
        self.fired[kind] += 1
        world.trace.add(world.clock.us, option.key.actor, MISHAP, f"{kind} at {option.key.label}")
        sim = self.simulation
        assert sim is not None
        return MISHAPS[kind].act(sim, option)

    def _due(self, gate: Gate, *, free: bool) -> str | None:
        for case in self._cases:
            if case.gate == str(gate.key):
                self._cases.remove(case)
                return case.mishap
        for entry in self._waiting:
            kind, left = entry
            if not MISHAPS[kind].strikes(gate) or (kind == "takeover" and not free):
                continue
            left[0] -= 1
            if left[0] <= 0:
                self._waiting.remove(entry)
                return kind
        return None


@dataclass(slots=True)
class Outcome:
    """How a run went.

    Attributes:
        run: what was played.
        replay: the same, so that it is played again exactly.
        error: what the test raised.
        fired: mishaps by kind.
        labels: kinds of places passed.
        reached: what ``sim.sometimes`` counted.
        trace: what happened, if it was wanted, line by line.
    """

    run: Run
    replay: Run
    error: BaseException | None
    fired: Counter[str] = field(default_factory=Counter)
    labels: set[str] = field(default_factory=set)
    reached: Counter[str] = field(default_factory=Counter)
    trace: tuple[Line, ...] = ()

    @property
    def said(self) -> str:
        """The error in one line: what a smaller run must fail with, too."""
        lines = str(self.error).strip().splitlines()
        return f"{type(self.error).__name__}: {lines[0] if lines else ''}"


def smaller(run: Run) -> list[Run]:
    """Runs to try that have less in them: fewer mishaps, then fewer departures, then nothing of the whole run."""
    cases, deviations = run.cases or (), run.deviations or {}
    found = [replace(run, cases=cases[:n] + cases[n + 1 :]) for n in range(len(cases))]
    if deviations:
        found.append(replace(run, deviations={}))
        names = list(deviations)
        half = len(names) // 2
        kept = [names[:half], names[half:]] if half else []
        if len(names) <= FEW:
            kept += [[each for each in names if each != left] for left in names]
        found += [replace(run, deviations={name: deviations[name] for name in some}) for some in kept]
    return found + [replace(run, whole=()) for _ in run.whole]
