"""Scenarios with a focus: little else than one kind of trouble, so that its races come in one schedule of ten, not of a thousand.

``scenario.py`` draws everything beside everything. Each focus here takes a few verbs, ops and faults that meet in one
place of the engine, and has them meet often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keepstep_testing.sim.chooser import PORTFOLIO
from keepstep_testing.sim.faults.kinds import KINDS, Fault
from keepstep_testing.sim.scenario import CHAOS, Command, Draws, Machine, Scenario, Seeded

Does = tuple[str, list[Any]]
"""A verb of the client and its arguments."""

Fleet = tuple[str, ...]
"""Kinds of machines."""

Focus = Callable[[Draws], tuple[list[Any], list[Command], Sequence[str]]]
"""From draws to a program, what the second client does, and the faults that belong to it."""

SELDOM = frozenset(
    {"slow hook", "hook unanswered", "user's answer lost", "tick late", "tick doubled", "tick lost"}
)
"""Kinds that find few gates in a schedule."""
SOON = (0, 0, 10, 50, 200, 1_000)
CRASHES = ("crash", "crash silently", "crash before the answer", "stall, long", "stall, about a lease")
ANSWERS = (
    "answer lost",
    "answer lost",
    "error before",
    "conflict",
    "slow commit, applied early",
    "read lost",
)
DELAYS = ("slow commit, applied late", "slow commit, applied early", "slow read", "wake doubled")


def focused(seed: int) -> Scenario:
    """Draw a scenario of one focus.

    Args:
        seed: of its run and of the draws.
    """
    draw = Seeded(seed)
    focus = draw.pick(FOCUSES)
    program, second, kinds = focus(draw)
    first = [Command(0, "create", "i1", [program], draw.pick(("client", "r1")))]
    if draw.integer(1, 3) == 1:
        first.append(Command(0, "create", "i2", [program], draw.pick(("client", "r1"))))
    return Scenario(
        seed,
        _machines(draw, FLEETS.get(focus, ANY_FLEET), DRIFTS.get(focus, (0,))),
        (tuple(first), tuple(second)),
        tuple(_fault(draw, draw.pick(kinds)) for _ in range(draw.pick((0, 1, 1, 2, 3)))),
        draw.pick(PORTFOLIO),
        chaos_picks=draw.pick(CHAOS),
        warm=draw.integer(1, 4) > 1,
    )


def _machines(draw: Draws, fleets: Sequence[Fleet], drifts: Sequence[int]) -> tuple[Machine, ...]:
    return tuple(
        Machine(
            kind=kind,
            host=f"host-{draw.integer(1, 2)}",
            drift_ppm=draw.pick(drifts),
            cache=draw.pick((0, 100)),
            concurrency=draw.pick((1, 100)),
        )
        for kind in draw.pick(fleets)
    )


def _fault(draw: Draws, kind: str) -> Fault:
    last = 2 if kind in SELDOM else draw.pick((3, 12, 40))
    return Fault(kind, draw.integer(1, last), draw.pick(KINDS[kind].seconds))


def _client(draw: Draws, count: int, make: Callable[[], Does]) -> list[Command]:
    return [Command(draw.pick(SOON), *_at(make()), draw.pick(("client", "r1"))) for _ in range(count)]


def _at(what: Does) -> tuple[str, str, list[Any]]:
    verb, args = what
    return verb, "i1", args


def _event(draw: Draws) -> Does:
    number = draw.integer(1, 3)
    return "event", ["go", number, draw.pick((None, None, f"e{number}"))]


def _wait(draw: Draws, name: str) -> list[Any]:
    return ["wait", name, "go", draw.pick((1_000, 3_000, 10_000, 60_000))]


def wakes(draw: Draws) -> tuple[list[Any], list[Command], Sequence[str]]:
    """Events come while the run goes to sleep (B6, D4, D5)."""
    waits = [_wait(draw, f"s{number}") for number in range(1, draw.integer(2, 4))]
    program: list[Any] = draw.pick(
        (
            waits,
            [["gather", *([each] for each in waits)]],
            [["do", "s9", {}], *waits],
            [*waits, ["again", waits]],
        )
    )
    return program, _client(draw, draw.integer(2, 6), lambda: _event(draw)), (*DELAYS, *ANSWERS, *CRASHES)


def failures(draw: Draws) -> tuple[list[Any], list[Command], Sequence[str]]:
    """Steps fail for good, and are opened again (C2, C4, E6)."""
    program: list[Any] = [
        ["do", "s1", {}],
        ["try", ["do", "s2", {"never": True}]],
        ["do", "s3", draw.pick(({"never": True}, {"fails": 4}, {"fails": 2}))],
    ]
    verbs: list[Does] = [("retry", []), ("retry", []), ("restart", []), ("cancel", []), _event(draw)]
    return program, _client(draw, draw.integer(2, 6), lambda: draw.pick(verbs)), (*CRASHES, *DELAYS)


def pauses(draw: Draws) -> tuple[list[Any], list[Command], Sequence[str]]:
    """Pause, resume, cancel and terminate beside steps and timers (E3 to E5, E7)."""
    chain = [["do", f"s{number}", {"takes": draw.pick((0, 200, 700))}] for number in range(6, 10)]
    beside = draw.pick(([["sleep", "s3", draw.pick((10, 1_000, 3_000))]], chain, chain))
    program: list[Any] = [
        ["gather", [["do", "s1", {"takes": draw.pick((200, 4_000, 7_000))}], ["do", "s2", {}]], beside],
        _wait(draw, "s4"),
        ["do", "s5", {"takes": draw.pick((200, 2_000))}],
    ]
    verbs: list[Does] = [
        *[("pause", []), ("resume", [])] * 3,
        ("cancel", []),
        ("terminate", []),
        _event(draw),
    ]
    first = Command(draw.pick((200, 500, 1_500, 3_000)), draw.pick(("pause", "pause", "cancel")), "i1")
    second = [first, *_client(draw, draw.integer(1, 6), lambda: draw.pick(verbs))]
    return program, second, (*DELAYS, *CRASHES, "drain")


def lives(draw: Draws) -> tuple[list[Any], list[Command], Sequence[str]]:
    """One run after the other: restarts and continuations, with events on their way (C10, E6)."""
    program: list[Any] = [
        _wait(draw, "s1"),
        ["do", "s2", {"takes": draw.pick((0, 200))}],
        ["again", [_wait(draw, "s1"), ["do", "s2", {}]]],
    ]
    verbs: list[Does] = [
        ("restart", []),
        ("cancel", []),
        *[_event(draw)] * 3,
        _event(draw),
        ("terminate", []),
    ]
    return program, _client(draw, draw.integer(2, 6), lambda: draw.pick(verbs)), (*DELAYS, *ANSWERS)


def deaths(draw: Draws) -> tuple[list[Any], list[Command], Sequence[str]]:
    """Processes die in the middle of steps with intents, failures and transactions (B7, B8, C4, C8)."""
    op: Callable[[str], list[Any]] = lambda name: draw.pick(  # noqa: E731  # one expression, used below
        (
            ["do", name, {"intent": True, "takes": 200}],
            ["do", name, {"intent": True, "fails": 1}],
            ["do", name, {"fails": draw.integer(1, 3)}],
            ["do", name, {"poison": True}],
            ["own", name],
            ["hook", name],
        )
    )
    return [op("s1"), op("s2"), op("s3")], _client(draw, draw.integer(0, 2), lambda: _event(draw)), CRASHES


def answers(draw: Draws) -> tuple[list[Any], list[Command], Sequence[str]]:
    """Answers of the database are lost: was it done or not? (C5)."""
    program: list[Any] = [
        ["do", "s1", {}],
        ["own", "s2"],
        ["sleep", "s3", 10],
        _wait(draw, "s4"),
        ["do", "s5", {}],
    ]
    verbs: list[Does] = [_event(draw), _event(draw), ("create", [program]), ("pause", []), ("resume", [])]
    return program, _client(draw, draw.integer(2, 5), lambda: draw.pick(verbs)), ANSWERS


def ticks(draw: Draws) -> tuple[list[Any], list[Command], Sequence[str]]:
    """Serverless hosts tick the same runs, beside one another and beside a runner (B9)."""
    op: Callable[[str], list[Any]] = lambda name: draw.pick(  # noqa: E731  # one expression, used below
        (
            *[["do", name, {"takes": draw.pick((0, 200, 700, 2_000))}]] * 4,
            ["do", name, {"intent": True}],
            ["own", name],
            _wait(draw, name),
        )
    )
    program = [op(f"s{number}") for number in range(1, 6)]
    return program, _client(draw, draw.integer(0, 2), lambda: _event(draw)), TICKS


def doubts(draw: Draws) -> tuple[list[Any], list[Command], Sequence[str]]:
    """Transactions of the user's own, hooks and batches, whose answers are lost (C5, C8, E2, F1)."""
    op: Callable[[str], list[Any]] = lambda name: draw.pick(  # noqa: E731  # one expression, used below
        (["own", name], ["own", name], ["hook", name], ["sleep", name, 10], _wait(draw, name))
    )
    batch: Does = ("batch", [[f"b{number}" for number in range(1, draw.integer(2, 4))], [["do", "s1", {}]]])
    program = [op("s1"), op("s2"), op("s3"), op("s4")]
    second = _client(draw, draw.integer(0, 4), lambda: _event(draw))
    second.insert(draw.integer(0, len(second)), Command(draw.pick(SOON), *_at(batch)))
    return (
        program,
        second,
        ("user's answer lost", "user's answer lost", "hook unanswered", "slow hook", *ANSWERS),
    )


def clocks(draw: Draws) -> tuple[list[Any], list[Command], Sequence[str]]:
    """Clocks run at speeds of their own and are set, while runs go from hand to hand (A3, B5, D2, D3)."""
    program: list[Any] = [
        ["do", "s1", {}],
        ["sleep", "s2", draw.pick((10, 1_000))],
        _wait(draw, "s3"),
        ["do", "s4", {"fails": draw.pick((0, 1))}],
        _wait(draw, "s5"),
        ["sleep", "s6", 1_000],
    ]
    verbs: list[Does] = [_event(draw), _event(draw), ("pause", []), ("resume", []), ("resume", [])]
    kinds = (
        "database clock set back",
        "database clock set back",
        "database clock set",
        "clock set",
        *CRASHES,
    )
    return program, _client(draw, draw.integer(1, 5), lambda: draw.pick(verbs)), kinds


def tosses(draw: Draws) -> tuple[list[Any], list[Command], Sequence[str]]:
    """Bodies that are not deterministic, replayed (E10)."""
    program: list[Any] = [
        ["coin", "s1"],
        _wait(draw, "s2"),
        ["coin", "s3"],
        ["do", "s4", {}],
        ["sleep", "s5", 10],
    ]
    verbs: list[Does] = [_event(draw), _event(draw), ("pause", []), ("resume", []), ("cancel", [])]
    return program, _client(draw, draw.integer(0, 4), lambda: draw.pick(verbs)), (*CRASHES, "drain", *DELAYS)


def upheavals(draw: Draws) -> tuple[list[Any], list[Command], Sequence[str]]:
    """Whole fleets and databases are struck: commits lost, migrations torn, code exchanged, timers that stand still."""
    program: list[Any] = [
        ["do", "s1", {}],
        ["own", "s2"],
        _wait(draw, "s3"),
        ["hook", "s4"],
        ["sleep", "s5", 1_000],
    ]
    verbs: list[Does] = [
        _event(draw),
        _event(draw),
        ("cancel", []),
        ("restart", []),
        ("pause", []),
        ("resume", []),
    ]
    return program, _client(draw, draw.integer(1, 5), lambda: draw.pick(verbs)), UPHEAVALS


TICKS = (
    *("slow commit, applied early",) * 6,
    *("stall, long",) * 2,
    "tick lost",
    "tick doubled",
    "tick late",
    "tick cut off",
    "partition",
    "answer lost",
    "slow read",
)
UPHEAVALS = (
    "power failure",
    "power failure",
    "torn migration",
    "crash of all",
    "all but one",
    "flood of runners",
    "crash and new code",
    "crash and other code",
    "crash and same pid",
    "dispatcher pause",
    "pool used up",
    "partition, one way",
    "drain",
)
FOCUSES: Sequence[Focus] = (
    wakes,
    failures,
    pauses,
    lives,
    deaths,
    answers,
    ticks,
    doubts,
    clocks,
    tosses,
    upheavals,
)
"""What is looked at closely."""
ANY_FLEET: Sequence[Fleet] = (
    ("runner",),
    ("runner", "runner"),
    ("runner", "runner"),
    ("runner", "runner", "runner"),
    ("runner", "ticker"),
)
FLEETS: Mapping[Focus, Sequence[Fleet]] = {
    ticks: (("ticker", "ticker"), ("ticker", "ticker", "ticker"), ("runner", "ticker", "ticker")),
    clocks: (("runner", "runner"), ("runner", "runner", "runner"), ("ticker", "ticker")),
}
"""Machines of those for which not any will do."""
DRIFTS: Mapping[Focus, Sequence[int]] = {clocks: (0, 400, 20_000, -20_000)}
"""Likewise the speeds of their clocks."""
