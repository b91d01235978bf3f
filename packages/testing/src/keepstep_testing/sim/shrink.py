"""Makes a failing scenario small: fewer commands, faults, machines and preemptions, plainer values; the same invariant.

What is shrunk is the record of a run: the faults with the gates that they struck, and the departures from the schedule
without preemptions. Both are names, so that most of them still mean something when something else is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from keepstep_testing.sim.chooser import Deviations
from keepstep_testing.sim.database import Database
from keepstep_testing.sim.lanes import TWINS_DIFFER, play_in_both
from keepstep_testing.sim.scenario import Command, Machine, Scenario
from keepstep_testing.sim.schedule import Result, play

RUNS_MAX = 600


class Shrinker:
    """Shrinks one failure.

    Args:
        result: what failed.
        database: to play on.
        twin: of the other lane, for a result in which the two differ.

    Attributes:
        best: the smallest scenario so far that breaks the same invariant.
        runs: how many scenarios were played.
    """

    def __init__(self, result: Result, database: Database, twin: Database | None = None) -> None:
        assert result.violation is not None
        self._rule = result.violation.rule
        self._database = database
        self._twin = twin if self._rule == TWINS_DIFFER else None
        self.runs = 0
        self.best = recorded(result)
        self.reproduces = self._fails(self.best)

    def shrink(self) -> Scenario:
        """Shrink until nothing helps any more, or for ``RUNS_MAX`` runs."""
        if not self.reproduces:
            return replace(self.best, faults=self.best.faults)
        again = True
        while again and self.runs < RUNS_MAX:
            again = False
            for smaller in (
                _fewer_commands,
                _fewer_ops,
                _fewer_faults,
                _fewer_machines,
                _straighter,
                _plainer,
            ):
                again |= self._pass(smaller)
        return self.best

    def _pass(self, smaller: Callable[[Scenario], Iterator[Scenario]]) -> bool:
        improved, found = False, True
        while found and self.runs < RUNS_MAX:
            found = False
            for candidate in smaller(self.best):
                if self._fails(candidate):
                    self.best, improved, found = candidate, True, True
                    break
                if self.runs >= RUNS_MAX:
                    break
        return improved

    def _fails(self, scenario: Scenario) -> bool:
        self.runs += 1
        violation = self.play(scenario).violation
        return violation is not None and violation.rule == self._rule

    def play(self, scenario: Scenario, *, wanted: bool = False) -> Result:
        """Play a scenario as what failed was played: in one lane, or in both."""
        if self._twin is None:
            return play(scenario, self._database, wanted=wanted)
        return play_in_both(scenario, self._database, self._twin, wanted=wanted)


def recorded(result: Result) -> Scenario:
    """The scenario that repeats a run by its record."""
    return replace(result.scenario, faults=tuple(result.struck), deviations=dict(result.deviations))


def _fewer_commands(scenario: Scenario) -> Iterator[Scenario]:
    for number, client in enumerate(scenario.clients):
        if client:
            yield _with_client(scenario, number, ())
        for at in range(len(client)):
            yield _with_client(scenario, number, (*client[:at], *client[at + 1 :]))


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


def _fewer_faults(scenario: Scenario) -> Iterator[Scenario]:
    for at in range(len(scenario.faults)):
        yield replace(scenario, faults=(*scenario.faults[:at], *scenario.faults[at + 1 :]))


def _fewer_machines(scenario: Scenario) -> Iterator[Scenario]:
    if len(scenario.machines) > 1:
        yield replace(scenario, machines=scenario.machines[:-1])


def _straighter(scenario: Scenario) -> Iterator[Scenario]:
    """Without any departure, without half of them, a quarter …, without a single one."""
    names = list(scenario.deviations or {})
    size = len(names)
    while size:
        for start in range(0, len(names), size):
            gone = set(names[start : start + size])
            left: Deviations = {k: v for k, v in (scenario.deviations or {}).items() if k not in gone}
            yield replace(scenario, deviations=left)
        size //= 2
    for name in names:
        picked = (scenario.deviations or {})[name]
        if len(picked) > 1:
            yield replace(scenario, deviations={**(scenario.deviations or {}), name: picked[:-1]})


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
