"""A scenario: everything that one schedule is made of, as values that JSON holds; and how one is drawn.

Drawn are the workload, the fault plan and the strategy's parameters, not the single choices (simulation.md). The source
of draws is small, so that a seeded ``random.Random`` (campaigns) and Hypothesis (tests) both serve.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

from keepstep_testing.sim.chooser import PORTFOLIO, Deviations
from keepstep_testing.sim.faults.kinds import KINDS, Fault

T = TypeVar("T")


class Draws(Protocol):
    """Where a scenario's parameters come from."""

    def integer(self, low: int, high: int) -> int:
        """An integer, both ends included."""
        ...

    def pick(self, among: Sequence[T]) -> T:
        """One of some values."""
        ...


class Seeded:
    """Draws from a seed."""

    def __init__(self, seed: int, *, calm: bool = False) -> None:
        self._random = random.Random(seed)
        self.calm = calm

    def integer(self, low: int, high: int) -> int:
        """An integer, both ends included."""
        return self._random.randint(low, high)

    def pick(self, among: Sequence[T]) -> T:
        """One of some values."""
        return among[int(self._random.random() * len(among))]


@dataclass(frozen=True, slots=True)
class Command:
    """One thing that a client does.

    Attributes:
        after_ms: how long after the one before.
        verb: of the client's verbs.
        instance: at which instance.
        args: of the verb.
        via: in a process of its own, or in the first runner's.
    """

    after_ms: int
    verb: str
    instance: str
    args: list[Any] = field(default_factory=list)
    via: str = "client"


@dataclass(frozen=True, slots=True)
class Machine:
    """One process that serves.

    Attributes:
        kind: ``runner`` or ``ticker``.
        host: processes of one host see one another die.
        skew_ms: its wall clock.
        drift_ppm: its clocks' speed.
        cache: suspended bodies that it keeps.
        concurrency: runs that it holds at most.
    """

    kind: str = "runner"
    host: str = "host-1"
    skew_ms: int = 0
    drift_ppm: int = 0
    cache: int = 100
    concurrency: int = 100


@dataclass(frozen=True, slots=True)
class Scenario:
    """One schedule's parameters.

    Attributes:
        seed: of what is drawn while it runs: ids, jitter, the strategy's choices.
        machines: that serve.
        clients: each a list of commands, one after the other.
        faults: planned.
        strategy: of ``PORTFOLIO``, or ``straight``.
        deviations: follow these instead of a strategy.
        chaos_picks: how long the chaos lasts at most.
        calm: no faults and no preemptions: quality is judged, too.
        hook_fails: so many deliveries of each hook fail.
        warm: the machines have started and looked before the chaos begins.
    """

    seed: int
    machines: tuple[Machine, ...]
    clients: tuple[tuple[Command, ...], ...]
    faults: tuple[Fault, ...] = ()
    strategy: str = "random-1"
    deviations: Deviations | None = None
    chaos_picks: int = 220
    calm: bool = False
    hook_fails: int = 0
    warm: bool = False

    def to_json(self) -> str:
        """As text; :func:`of_json` reads it."""
        return json.dumps(asdict(self), indent=1)


def of_json(text: str) -> Scenario:
    """Read a scenario."""
    raw = json.loads(text)
    return Scenario(
        seed=raw["seed"],
        machines=tuple(Machine(**each) for each in raw["machines"]),
        clients=tuple(tuple(Command(**each) for each in client) for client in raw["clients"]),
        faults=tuple(Fault(**each) for each in raw["faults"]),
        strategy=raw["strategy"],
        deviations=raw["deviations"],
        chaos_picks=raw["chaos_picks"],
        calm=raw["calm"],
        hook_fails=raw["hook_fails"],
        warm=raw.get("warm", False),
    )


# --- drawing

_INSTANCES = (*[1] * 9, *[2] * 4, 3, 3, 6)
CHAOS = (40, 80, 120, 200)
"""How many choices the chaos has at most."""
EVENT_TYPES = ("go", "word")


def drawn(seed: int, draws: Draws | None = None, *, calm: bool = False) -> Scenario:
    """Draw a scenario.

    Args:
        seed: of its run; and of the draws, unless they are given.
        draws: where parameters come from.
        calm: without faults and preemptions.
    """
    draw = draws or Seeded(seed, calm=calm)
    ids = [f"i{n}" for n in range(1, draw.pick(_INSTANCES) + 1)]
    if calm:
        return Scenario(
            seed, (Machine(),), _clients(draw, ids, calm=True), strategy="straight", calm=True, warm=True
        )
    machines = _machines(draw)
    return Scenario(
        seed,
        machines,
        _clients(draw, ids, calm=False),
        _faults(draw),
        draw.pick(PORTFOLIO),
        chaos_picks=draw.pick(CHAOS),
        hook_fails=draw.pick((0, 0, 0, 1, 2)),
        warm=draw.integer(1, 4) > 1,
    )


def _machines(draw: Draws) -> tuple[Machine, ...]:
    return tuple(
        Machine(
            kind="ticker" if number and draw.integer(1, 5) == 1 else "runner",
            host=draw.pick(("host-1", "host-1", "host-2")),
            skew_ms=draw.pick((0, 0, 0, -86_400_000, -700, 900, 7_000, 86_400_000)),
            drift_ppm=draw.pick((0, 0, 0, -20_000, 400, 20_000)),
            cache=draw.pick((0, 1, 100, 100)),
            concurrency=draw.pick((1, 100, 100)),
        )
        for number in range(draw.pick((1, 2, 2, 2, 3)))
    )


def _faults(draw: Draws) -> tuple[Fault, ...]:
    """A swarm: few kinds in each schedule, so that each gets room."""
    names = list(KINDS)
    swarm = [draw.pick(names) for _ in range(draw.integer(1, 4))]
    found: list[Fault] = []
    for _ in range(draw.pick((0, 1, 1, 2, 2, 3, 4))):
        kind = draw.pick(swarm)
        nth = draw.integer(1, draw.pick((3, 12, 60)))
        found.append(Fault(kind, nth, draw.pick(KINDS[kind].seconds)))
    return tuple(found)


def _clients(draw: Draws, ids: Sequence[str], *, calm: bool) -> tuple[tuple[Command, ...], ...]:
    first: list[Command] = []
    with_events = draw.integer(1, 3) == 1
    for each in ids:
        via = draw.pick(("client", "r1"))
        first.append(Command(draw.pick((0, 0, 400, 2_500)), "create", each, [_program(draw)], via))
    verbs = ("event",) if calm or with_events else _VERBS
    second = [_command(draw, draw.pick(ids), verbs) for _ in range(draw.integer(0, 4))]
    if not calm and draw.integer(1, 6) == 1:
        first.append(Command(draw.pick((0, 800)), "create", draw.pick(ids), [_program(draw)]))
    return (tuple(first), tuple(second))


_VERBS = (
    "event",
    "event",
    "event",
    "cancel",
    "terminate",
    "pause",
    "resume",
    "restart",
    "retry",
    "status",
    "oversize",
)


def _command(draw: Draws, instance: str, verbs: Sequence[str]) -> Command:
    verb = draw.pick(verbs)
    args: list[Any] = []
    if verb == "event":
        number = draw.integer(1, 3)
        args = [draw.pick(EVENT_TYPES), number, draw.pick((None, None, f"e{number}"))]
    return Command(draw.pick((0, 0, 0, 300, 1_000, 3_000)), verb, instance, args, draw.pick(("client", "r1")))


def _program(draw: Draws) -> list[Any]:
    theme, counter = draw.pick(_THEMES), [0]
    ops = [_op(draw, theme, counter, 0) for _ in range(draw.integer(1, 3))]
    if draw.integer(1, 12) == 1:
        ops.append(["again", [_op(draw, theme, counter, 0)]])
    return ops


_ALL = ("do", "do", "do", "sleep", "wait", "gather", "try", "race", "own", "hook", "log")
_EVENTS = ("wait", "wait", "do", "gather")
_THEMES = (_ALL, _ALL, _EVENTS, ("do", "gather", "race"), ("do", "sleep", "own", "hook"))
"""A swarm of workloads: each has few kinds of ops, so that each gets room."""


def _op(draw: Draws, theme: Sequence[str], counter: list[int], depth: int) -> list[Any]:
    counter[0] += 1
    name = f"s{counter[0]}"
    kind = draw.pick(theme)
    if depth >= 2 and kind in {"gather", "race", "try"}:
        kind = "do"
    match kind:
        case "sleep":
            return ["sleep", name, draw.pick((0, 10, 1_000, 3_000))]
        case "wait":
            return ["wait", name, draw.pick(EVENT_TYPES), draw.pick((1_000, 3_000, 10_000))]
        case "gather" | "race":
            branches = [
                [_op(draw, theme, counter, depth + 1) for _ in range(draw.integer(1, 2))] for _ in range(2)
            ]
            return [kind, *branches]
        case "try":
            return ["try", ["do", name, _how(draw, never=True)]]
        case "own" | "hook":
            return [kind, name]
        case "log":
            return ["log", name]
        case _:
            return ["do", name, _how(draw)]


def _spares(draw: Draws) -> bool:
    """Whether nothing of this scenario may kill a process."""
    return bool(getattr(draw, "calm", False))


def _how(draw: Draws, *, never: bool = False) -> dict[str, Any]:
    how: dict[str, Any] = {}
    match draw.integer(1, 10):
        case 1:
            how["fails"] = draw.integer(1, 4)
        case 2:
            how["takes"] = draw.pick((200, 1_000, 2_000, 7_000))
        case 3:
            how["thread"] = True
        case 4:
            how["hangs"] = 1
        case 5:
            how["intent"] = True
        case 6 if not _spares(draw) and draw.integer(1, 4) == 1:
            how["poison"] = True
        case _:
            pass
    if never and draw.integer(1, 3) > 1:
        how["never"] = True
    return how
