"""What happens to a user's process in a test: a closed list, each with where it may strike and what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from keepstep.errors import StoreConflictError, StoreUnavailableError, UsageError
from keepstep_testing.sim.gates import Gate, Option

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process
    from keepstep_testing.sim.world import World
    from keepstep_testing.simulation import Simulation

Scope = Literal["state", "commit", "run"]
"""Once for each state that differs in what is durable or done outside · at each commit · for a whole run."""

WRITES = frozenset({"commit", "claim", "user", "register", "rescue"})


@dataclass(frozen=True, slots=True)
class Mishap:
    """One kind.

    Attributes:
        name: in cases and options.
        title: what happens, for readers: after "when".
        scope: how often it is tried.
        strikes: where it may.
        act: what it does; True when the process must not go on from there.
    """

    name: str
    title: str
    scope: Scope
    strikes: Callable[[Gate], bool]
    act: Callable[[Simulation, Gate], bool]


def _anywhere(gate: Gate) -> bool:  # noqa: ARG001  # the shape of all of them
    return True


def _committed(gate: Gate) -> bool:
    label, _, point = gate.key.label.rpartition(":")
    return point == "committed" and label in WRITES


def _committing(gate: Gate) -> bool:
    return gate.key.label in {"commit:begin", "claim:begin"}


def _crash(sim: Simulation, gate: Gate) -> bool:
    sim.fleet.crash(gate.process)
    return True


def _usurp(sim: Simulation, gate: Gate) -> bool:
    sim.fleet.usurp(gate.process)
    return True


def _drain(sim: Simulation, gate: Gate) -> bool:
    sim.fleet.drain(gate.process)
    return False


def _lose_answer(sim: Simulation, gate: Gate) -> bool:  # noqa: ARG001
    gate.fails = StoreUnavailableError("simulated: the connection broke after COMMIT was sent")
    return False


def _refuse(sim: Simulation, gate: Gate) -> bool:  # noqa: ARG001
    gate.fails = StoreConflictError("simulated: the transaction lost against another one")
    return False


def _nothing(sim: Simulation, gate: Gate) -> bool:  # noqa: ARG001
    return False


MISHAPS = {
    each.name: each
    for each in (
        Mishap("crash", "the process dies, and another one continues", "state", _anywhere, _crash),
        Mishap(
            "takeover",
            "the process stands still until another one has taken over, and then wakes up",
            "state",
            _anywhere,
            _usurp,
        ),
        Mishap(
            "drain",
            "the process is stopped in an orderly way, as at a deployment",
            "state",
            _anywhere,
            _drain,
        ),
        Mishap(
            "answer-lost", "the commit is applied, and its answer is lost", "commit", _committed, _lose_answer
        ),
        Mishap(
            "refused", "the database refuses the commit, as after a conflict", "commit", _committing, _refuse
        ),
        Mishap("no-memory", "every wake replays the body from the start", "run", _anywhere, _nothing),
        Mishap(
            "sent-twice", "the client gets no answer, and sends its event again", "run", _anywhere, _nothing
        ),
        Mishap("clock-ahead", "the clocks of the processes are a day ahead", "run", _anywhere, _nothing),
        Mishap("clock-behind", "the clocks of the processes are a day behind", "run", _anywhere, _nothing),
    )
}

DAY_MS = 86_400_000
SKEW_MS = {"clock-ahead": DAY_MS, "clock-behind": -DAY_MS}


@dataclass(frozen=True, slots=True)
class Case:
    """One mishap at one place: ``crash at runner-1 commit:begin#3``, or ``no-memory``.

    Attributes:
        mishap: its name.
        gate: the name of the place; None when it is of the whole run.
    """

    mishap: str
    gate: str | None = None

    def __str__(self) -> str:
        return self.mishap if self.gate is None else f"{self.mishap} at {self.gate}"

    @staticmethod
    def of(text: str) -> Case:
        """Read a case.

        Raises:
            UsageError: there is no such mishap.
        """
        name, _, gate = text.partition(" at ")
        if name not in MISHAPS:
            raise UsageError(f"{text!r} is no case: a case begins with one of {', '.join(MISHAPS)}")
        if (MISHAPS[name].scope == "run") is not (not gate):
            raise UsageError(
                f"{text!r} is no case: {name!r} "
                + ("takes no place" if gate else "needs a place, like 'crash at runner-1 commit:begin#3'")
            )
        return Case(name, gate or None)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run passes: a gate of a runner, and what was durable and done by then."""

    key: str
    label: str
    commits: int
    calls: int
    free: bool
    """No transaction was open."""


class Watch:
    """Lets nothing strike, and notes the places that a run passes."""

    def __init__(self) -> None:
        self.simulation: Simulation | None = None
        self.places: list[tuple[Place, tuple[str, ...]]] = []

    def strike(self, world: World, option: Option) -> bool:
        """Note the place."""
        if isinstance(option, Gate) and option.process.name.startswith("runner"):
            sim = self.simulation
            assert sim is not None
            calls = sum(len(each.calls) for each in sim.effects.values())
            place = Place(str(option.key), option.key.label, sim.ghost.seen, calls, not world.in_transaction)
            self.places.append((place, tuple(name for name, each in MISHAPS.items() if each.strikes(option))))
        return False

    def before_commit(self, process: Process, label: str) -> bool:  # noqa: ARG002
        """Transactions do not stop there."""
        return False

    def user_trouble(self, process: Process) -> str | None:  # noqa: ARG002
        """None."""
        return None

    def cases(self) -> list[Case]:
        """What to try: each mishap where it makes a difference."""
        found = [Case(each.name) for each in MISHAPS.values() if each.scope == "run"]
        tried: set[tuple[str, int, int]] = set()
        for place, names in self.places:
            for name in names:
                scope = MISHAPS[name].scope
                state = (name, place.commits, place.calls)
                if scope == "run" or (name == "takeover" and not place.free):
                    continue
                if scope == "commit" or state not in tried:
                    tried.add(state)
                    found.append(Case(name, place.key))
        return found


class Strike(Watch):
    """Lets one mishap strike at one place."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        self.struck = False
        self.open_steps: list[str] = []
        self.recorded: list[str] = []
        self.label = ""

    def strike(self, world: World, option: Option) -> bool:  # noqa: ARG002
        """Strike at the place, once."""
        if self.struck or self.case.gate is None or not isinstance(option, Gate):
            return False
        if str(option.key) != self.case.gate:
            return False
        self.struck = True
        sim = self.simulation
        assert sim is not None
        self.label = option.key.label
        self.recorded, self.open_steps = sim.standing()
        return MISHAPS[self.case.mishap].act(sim, option)
