"""Strategies: which parked gate, message or moment is next. A portfolio, because none finds everything alone.

Each strategy records where it departed from the schedule without preemptions: a sparse list by the names of gates,
which replays and shrinks, and survives small edits of the code.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Protocol

from keepstep_testing.sim.gates import CLOCK, Gate, Key, Option

Deviations = dict[str, list[str]]
"""By the name of what would have gone on: what was picked instead, in order."""


class Strategy(Protocol):
    """Picks among options; ``None`` is the clock."""

    def choose(self, options: Sequence[Option], default: Option | None, *, can_tick: bool) -> Option | None:
        """One of the options, or None for the clock if it ``can_tick``."""
        ...


class Recording:
    """A strategy, with a record of its departures.

    Args:
        strategy: which.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._departures: dict[Key, list[Key]] = {}

    @property
    def deviations(self) -> Deviations:
        """The departures so far, by name."""
        return {str(key): list(map(str, picked)) for key, picked in self._departures.items()}

    def pick(self, options: Sequence[Option], default: Option | None, *, can_tick: bool) -> Option | None:
        """Ask the strategy, and note when it does not go on without preemption."""
        if default is None:
            return None
        chosen = self._strategy.choose(options, default, can_tick=can_tick)
        if chosen is default and default.key not in self._departures:
            return chosen
        self._departures.setdefault(default.key, []).append(CLOCK if chosen is None else chosen.key)
        return chosen


class Replay:
    """Follows recorded departures; where what was picked is not there, it goes on without preemption.

    Args:
        deviations: as recorded.

    Attributes:
        deviations: those that were followed.
    """

    def __init__(self, deviations: Deviations) -> None:
        self._left = {name: list(picked) for name, picked in deviations.items()}
        self.deviations: Deviations = {}

    def pick(self, options: Sequence[Option], default: Option | None, *, can_tick: bool) -> Option | None:
        """The recorded choice, or the default."""
        if default is None:
            return None
        left = self._left.get(_name(default))
        if not left:
            return default
        wanted = left.pop(0)
        if wanted == str(CLOCK):
            chosen = None if can_tick else default
        else:
            chosen = next((each for each in options if _name(each) == wanted), default)
        if chosen is not default:
            self.deviations.setdefault(_name(default), []).append(wanted)
        return chosen


def _name(option: Option | None) -> str:
    return str(CLOCK if option is None else option.key)


class Uniform:
    """Any option with equal chance; the clock with a weight of its own."""

    def __init__(self, draws: random.Random, clock_weight: float) -> None:
        self._draws = draws
        self._weight = clock_weight

    def choose(self, options: Sequence[Option], default: Option | None, *, can_tick: bool) -> Option | None:
        """One of the options."""
        count = len(options)
        at = self._draws.random() * (count + self._weight if can_tick else count)
        return options[int(at)] if at < count else None


class Priorities:
    """PCT: actors have random priorities, which change at a few random moments; the clock runs in bursts."""

    def __init__(self, draws: random.Random, depth: int = 6, length: int = 150) -> None:
        self._draws = draws
        self._priority: dict[str, float] = {}
        self._changes = {draws.randrange(length) for _ in range(depth - 1)}
        self._bursts = {draws.randrange(length): draws.randint(1, 12) for _ in range(depth)}
        self._burst = 0
        self._count = 0

    def choose(self, options: Sequence[Option], default: Option | None, *, can_tick: bool) -> Option | None:
        """The option of the actor with the highest priority."""
        self._count += 1
        self._burst = self._bursts.get(self._count, self._burst)
        if self._burst and can_tick:
            self._burst -= 1
            return None
        best = max(options, key=lambda each: self._of(each.key.actor))
        if self._count in self._changes:
            self._priority[best.key.actor] = -self._draws.random()
        return best

    def _of(self, actor: str) -> float:
        if actor not in self._priority:
            self._priority[actor] = self._draws.random()
        return self._priority[actor]


class PartialOrder:
    """POS: each option gets a random priority when it appears; what conflicts with the chosen one draws anew."""

    def __init__(self, draws: random.Random, clock_weight: float) -> None:
        self._draws = draws
        self._weight = clock_weight
        self._priority: dict[Key, float] = {}

    def choose(self, options: Sequence[Option], default: Option | None, *, can_tick: bool) -> Option | None:
        """The option with the highest priority."""
        draws, priority = self._draws, self._priority
        for each in options:
            if each.key not in priority:
                priority[each.key] = draws.random()
        if can_tick and draws.random() < self._weight / (self._weight + len(options)):
            return None
        best = max(options, key=lambda each: priority[each.key])
        for each in options:
            if each is not best and _conflict(each, best):
                priority[each.key] = draws.random()
        return best


class Boundaries:
    """Preempts at commits and their answers mostly, where engines break; elsewhere it goes on."""

    def __init__(self, draws: random.Random, clock_weight: float) -> None:
        self._draws = draws
        self._weight = clock_weight

    def choose(self, options: Sequence[Option], default: Option | None, *, can_tick: bool) -> Option | None:
        """The default, unless it is at a boundary."""
        draws = self._draws
        at_boundary = isinstance(default, Gate) and default.key.label in _BOUNDARY_LABELS
        if draws.random() >= (0.6 if at_boundary else 0.05):
            return default
        others = [each for each in options if each is not default]
        if can_tick and draws.random() * (len(others) + self._weight) < self._weight:
            return None
        return draws.choice(others) if others else default


_BOUNDARY_LABELS = frozenset(
    {"commit:begin", "commit:committed", "claim:committed", "tick:begin", "step", "user:begin"}
)


def _conflict(one: Option, other: Option) -> bool:
    """Whether two options touch the database."""
    return ":" in one.key.label and ":" in other.key.label


class Straight:
    """No preemption at all: for exhaustive faults, and calm runs."""

    def choose(self, options: Sequence[Option], default: Option | None, *, can_tick: bool) -> Option | None:
        """The default."""
        return default


def strategy_of(name: str, draws: random.Random) -> Strategy:
    """A strategy by its name, as the plan of a schedule has it."""
    made: dict[str, Any] = {
        "random-0.25": lambda: Uniform(draws, 0.25),
        "random-1": lambda: Uniform(draws, 1),
        "random-3": lambda: Uniform(draws, 3),
        "pct": lambda: Priorities(draws),
        "pos": lambda: PartialOrder(draws, 1),
        "boundary": lambda: Boundaries(draws, 1),
        "straight": Straight,
    }
    return made[name]()


PORTFOLIO = ("random-0.25", "random-1", "random-3", "pct", "pos", "boundary")
