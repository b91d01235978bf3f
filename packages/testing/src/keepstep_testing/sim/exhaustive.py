"""Everything, where it is cheap: each kind of fault at each gate without preemption, and all small preemptions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

from keepstep_testing.sim.database import Database
from keepstep_testing.sim.faults.kinds import KINDS, Fault
from keepstep_testing.sim.gates import CLOCK
from keepstep_testing.sim.scenario import Command, Machine, Scenario
from keepstep_testing.sim.schedule import Result, play

PROGRAM: list[Any] = [
    ["do", "a", {"fails": 1}],
    ["sleep", "s", 1_000],
    ["gather", [["do", "b", {}]], [["hook", "h"]]],
    ["wait", "w", "go", 3_000],
    ["own", "o"],
]
"""Some of everything, short."""


def plain(seed: int, machines: int = 2) -> Scenario:
    """A scenario without faults and preemptions."""
    create = (Command(0, "create", "i1", [PROGRAM]),)
    send = (Command(2_000, "event", "i1", ["go", 1, "e1"]),)
    return Scenario(seed, (Machine(),) * machines, (create, send), strategy="straight", chaos_picks=400)


def every_fault_at_every_gate(seed: int, database: Database) -> Iterator[Result]:
    """Play each kind of fault at each gate that it may strike: its n-th, for n = 1, 2, 3 … until it strikes no more."""
    base = plain(seed)
    for kind in KINDS.values():
        for seconds in (kind.seconds[0], kind.seconds[-1]) if len(kind.seconds) > 1 else kind.seconds:
            nth = 0
            struck = True
            while struck:
                nth += 1
                result = play(
                    replace(base, faults=(Fault(kind.name, nth, seconds),)), database, digested=False
                )
                struck = bool(result.struck)
                if struck:
                    yield result


def up_to_two_preemptions(seed: int, database: Database) -> Iterator[Result]:
    """Play the plain schedule with one departure and with each pair of departures towards the clock or another actor."""
    base = plain(seed)
    first = play(base, database, wanted=True)
    yield first
    points = _points(first)
    for count in (1, 2):
        for chosen in combinations(points[:40], count):
            deviations = {point: [str(CLOCK)] for point in chosen}
            yield play(replace(base, deviations=deviations), database, digested=False)


def _points(result: Result) -> list[str]:
    """The gates that the schedule opened, by name, in order, those at which something may come between."""
    seen: dict[tuple[str, str], int] = {}
    found: list[str] = []
    for _, actor, label, *_ in result.trace.lines:
        if ":" not in label and label not in {"step", "hook"}:
            continue
        seen[actor, label] = seen.get((actor, label), 0) + 1
        found.append(f"{actor} {label}#{seen[actor, label]}")
    return found
