"""Makes a failing scenario small: fewer actors, faults, preemptions and commands, plainer values; the same invariant.

What is shrunk is the record of a run: the faults with the gates that they struck, and the departures from the schedule
without preemptions. Both are names, so that most of them still mean something when something else is gone. Of a run that
still fails the record is taken anew: what did not strike and was not followed any more is gone without a play.

The large pieces come first, as each makes what follows cheaper: everything of a kind, a client, a machine; then what
clients do, the faults and the preemptions, by halves; then the times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, TypeVar

from keepstep_testing.sim.chooser import Deviations
from keepstep_testing.sim.database import Database
from keepstep_testing.sim.lanes import TWINS_DIFFER, play_in_both
from keepstep_testing.sim.scenario import Command, Machine, Scenario
from keepstep_testing.sim.schedule import Result, play

T = TypeVar("T")

FEW = 8
"""Preemptions of which pairs are left out."""
BUDGET_S = 5.0
"""Of the processor's time; what is smallest by then is the answer."""


class Shrinker:
    """Shrinks one failure.

    Args:
        result: what failed.
        database: to play on.
        twin: of the other lane, for a result in which the two differ.
        budget_s: seconds of the processor's time after which no further scenario is played.

    Attributes:
        best: the smallest scenario so far that breaks the same invariant.
        runs: how many scenarios were played.
    """

    def __init__(
        self,
        result: Result,
        database: Database,
        twin: Database | None = None,
        *,
        budget_s: float = BUDGET_S,
    ) -> None:
        assert result.violation is not None
        self._rule = result.violation.rule
        self._database = database
        self._twin = twin if self._rule == TWINS_DIFFER else None
        self._end = time.process_time() + budget_s
        self._passed: set[str] = set()
        self.runs = 0
        self.best = recorded(result)
        self.reproduces = self._fails(self.best)

    def shrink(self) -> Scenario:
        """Shrink until nothing helps any more, or until the budget is spent."""
        if not self.reproduces:
            return self.best
        before = None
        while self.best != before and not self.spent:
            before = self.best
            self._one_by_one(_without_a_kind)
            self._one_by_one(_fewer_actors)
            self._by_halves(_commands, _commanding)
            self._one_by_one(_fewer_ops)
            self._by_halves(lambda each: each.faults, lambda each, left: replace(each, faults=tuple(left)))
            self._by_halves(lambda each: preemptions(each.deviations), _following)
            self._one_by_one(_without_a_pair)
            self._one_by_one(_plainer)
        return self.best

    @property
    def spent(self) -> bool:
        """Whether the budget is."""
        return time.process_time() >= self._end

    def _one_by_one(self, smaller: Callable[[Scenario], Iterator[Scenario]]) -> None:
        """Take each candidate that fails, and go on behind those that do not."""
        at = 0
        while not self.spent and at < len(candidates := list(smaller(self.best))):
            at += not self._fails(candidates[at])

    def _by_halves(
        self, parts: Callable[[Scenario], Sequence[T]], having: Callable[[Scenario, Sequence[T]], Scenario]
    ) -> None:
        """Leave out half of the parts, a quarter …, a single one, wherever it still fails."""
        size = (len(parts(self.best)) + 1) // 2
        while size and not self.spent:
            at = 0
            while at < len(now := parts(self.best)) and not self.spent:
                if not self._fails(having(self.best, [*now[:at], *now[at + size :]])):
                    at += size
            size //= 2

    def _fails(self, scenario: Scenario) -> bool:
        """Whether a scenario breaks the same invariant; then it is the best, as it was played."""
        key = repr(scenario)
        if key in self._passed:
            return False
        self.runs += 1
        result = self.play(scenario)
        if result.violation is None or result.violation.rule != self._rule:
            self._passed.add(key)
            return False
        self.best = recorded(result)
        return True

    def play(self, scenario: Scenario, *, wanted: bool = False) -> Result:
        """Play a scenario as what failed was played: in one lane, or in both."""
        if self._twin is None:
            return play(scenario, self._database, wanted=wanted, digested=wanted)
        return play_in_both(scenario, self._database, self._twin, wanted=wanted)


Preemption = tuple[str, str]
"""What would have gone on, and what was picked instead."""


def recorded(result: Result) -> Scenario:
    """The scenario that repeats a run by its record: what struck, and what was followed."""
    return _following(replace(result.scenario, faults=tuple(result.struck)), preemptions(result.deviations))


def preemptions(deviations: Deviations | None) -> list[Preemption]:
    """Where a run departed from the schedule without preemptions; that something went on at last is none."""
    return [(name, each) for name, picked in (deviations or {}).items() for each in picked if each != name]


def _following(scenario: Scenario, left: Sequence[Preemption]) -> Scenario:
    deviations: Deviations = {}
    for name, picked in left:
        deviations.setdefault(name, []).append(picked)
    return replace(scenario, deviations=deviations)


def _without_a_kind(scenario: Scenario) -> Iterator[Scenario]:
    """Without any preemption, without any fault, with one machine, with one client."""
    if scenario.deviations:
        yield replace(scenario, deviations={})
    if scenario.faults:
        yield replace(scenario, faults=())
    if len(scenario.machines) > 1:
        yield replace(scenario, machines=scenario.machines[:1])
        yield replace(scenario, machines=scenario.machines[:1], deviations={})
    busy = [number for number, client in enumerate(scenario.clients) if client]
    for number in busy if len(busy) > 1 else ():
        kept = [client if at == number else () for at, client in enumerate(scenario.clients)]
        yield replace(scenario, clients=tuple(kept))


def _without_a_pair(scenario: Scenario) -> Iterator[Scenario]:
    """Without two of the last few preemptions: one that delays and one that makes up for it."""
    left = preemptions(scenario.deviations)
    for one, other in combinations(range(len(left)) if len(left) <= FEW else (), 2):
        yield _following(scenario, [each for at, each in enumerate(left) if at not in {one, other}])


def _fewer_actors(scenario: Scenario) -> Iterator[Scenario]:
    for number, client in enumerate(scenario.clients):
        if client:
            yield _with_client(scenario, number, ())
    if len(scenario.machines) > 1:
        yield replace(scenario, machines=scenario.machines[:-1])
    names = {command.instance for client in scenario.clients for command in client}
    for name in sorted(names) if len(names) > 1 else ():
        kept = (tuple(each for each in client if each.instance != name) for client in scenario.clients)
        yield replace(scenario, clients=tuple(kept))


def _commands(scenario: Scenario) -> list[tuple[int, Command]]:
    return [(number, command) for number, client in enumerate(scenario.clients) for command in client]


def _commanding(scenario: Scenario, left: Sequence[tuple[int, Command]]) -> Scenario:
    clients = (
        tuple(command for whose, command in left if whose == number)
        for number in range(len(scenario.clients))
    )
    return replace(scenario, clients=tuple(clients))


def _fewer_ops(scenario: Scenario) -> Iterator[Scenario]:
    for number, client in enumerate(scenario.clients):
        for at, command in enumerate(client):
            if command.verb == "create":
                for ops in _smaller_ops(command.args[0]):
                    changed = replace(command, args=[ops])
                    yield _with_client(scenario, number, (*client[:at], changed, *client[at + 1 :]))


def _smaller_ops(ops: list[Any]) -> Iterator[list[Any]]:
    for at, op in enumerate(ops):
        if len(ops) > 1:
            yield [*ops[:at], *ops[at + 1 :]]
        if op[0] in {"gather", "race"}:
            for branch in op[1:]:
                yield [*ops[:at], *branch, *ops[at + 1 :]]
            for n, branch in enumerate(op[1:], 1):
                for smaller in _smaller_ops(branch):
                    yield [*ops[:at], [*op[:n], smaller, *op[n + 1 :]], *ops[at + 1 :]]
        if op[0] == "try":
            yield [*ops[:at], op[1], *ops[at + 1 :]]
        if op[0] == "do" and op[2]:
            yield [*ops[:at], ["do", op[1], {}], *ops[at + 1 :]]


def _plainer(scenario: Scenario) -> Iterator[Scenario]:
    if scenario.hook_fails:
        yield replace(scenario, hook_fails=0)
    if scenario.chaos_picks > 20:
        yield replace(scenario, chaos_picks=scenario.chaos_picks // 2)
    for at, machine in enumerate(scenario.machines):
        plain = Machine(machine.kind)
        for field in ("host", "skew_ms", "drift_ppm", "cache", "concurrency"):
            if getattr(machine, field) != getattr(plain, field):
                changed: Machine = replace(machine, **{field: getattr(plain, field)})
                yield replace(
                    scenario, machines=(*scenario.machines[:at], changed, *scenario.machines[at + 1 :])
                )
    for number, client in enumerate(scenario.clients):
        for at, command in enumerate(client):
            for changed_command in _plainer_command(command):
                yield _with_client(scenario, number, (*client[:at], changed_command, *client[at + 1 :]))


def _plainer_command(command: Command) -> Iterator[Command]:
    if command.after_ms:
        yield replace(command, after_ms=0)
    if command.via != "client":
        yield replace(command, via="client")


def _with_client(scenario: Scenario, number: int, commands: tuple[Command, ...]) -> Scenario:
    clients = (*scenario.clients[:number], commands, *scenario.clients[number + 1 :])
    return replace(scenario, clients=clients)
