"""The oracle: sits at every commit and every probe, keeps the ghost, asks the rules."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from keepstep.engine.probe import probes
from keepstep_testing.sim.database import Change
from keepstep_testing.sim.oracle import conduct, leases, replay, rules, steps
from keepstep_testing.sim.oracle.ghost import Commit, Ghost
from keepstep_testing.sim.process import PROCESS
from keepstep_testing.sim.store import Transaction

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process
    from keepstep_testing.sim.world import World

for module in (  # each registers its rules
    "keepstep_testing.sim.oracle.conduct",
    "keepstep_testing.sim.oracle.endings",
    "keepstep_testing.sim.oracle.leases",
    "keepstep_testing.sim.oracle.linear",
    "keepstep_testing.sim.oracle.outbox",
    "keepstep_testing.sim.oracle.parked",
    "keepstep_testing.sim.oracle.replay",
    "keepstep_testing.sim.oracle.rows",
    "keepstep_testing.sim.oracle.steps",
):
    import_module(module)
rules.sealed()

AT_ATTEMPTS = {
    "5": "A step starts only in the hands of whoever claimed its run last",
    "6b": "A runner that drains leaves nothing owned",
    "13": "A recorded step never runs again",
    "17c": "A retry starts no earlier than it is due by the database's clock",
    "34b": "What a runner has dropped starts nothing",
    "E3c": "No step starts once its runner knows that a pause was asked for",
    "34c": "Nothing starts of a run of which its runner knows that it is cancelled",
    "A7": "A step starts only when everything that it depends on is durable",
    "B8": "A step with an intent starts only when its intent is stored",
    "B4": "A step starts only while its runner's lease lasts",
}
"""What is checked when an attempt begins, and when a runner has given its lease back."""

BETWEEN_RUNS = {
    "43": "A seed has equal answers, traces, commits and rows in both lanes: dicts and SQLite",
    "45": "Two runs of a seed have equal traces and equal databases",
    "A6": "Cache size 0 and unlimited give equal histories for one seed",
}
"""What campaigns check of some of their seeds."""


class Oracle:
    """Watches one world.

    Args:
        world: which.

    Attributes:
        ghost: what it has seen.
        violation: the first offence; the world ends with it, whoever swallows the exception.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.ghost = Ghost()
        self.violation: rules.Violation | None = None
        self.sometimes: Counter[str] = Counter()
        self._in_hands: dict[Process, list[int]] = {}
        world.watchers.append(self)

    def install(self) -> None:
        """Listen to the engine's probes."""
        probes.on_probe = self.probed
        probes.on_sometimes = self.seen

    @staticmethod
    def uninstall() -> None:
        """Listen no more."""
        probes.on_probe = probes.on_sometimes = None

    def committed(self, transaction: Transaction, changes: Sequence[Change]) -> None:
        """Look at what a commit changed, or what a tick has read."""
        if transaction.label == "due":  # what a body is made of is read later than that, if it is read anew
            self.ghost.looked[asyncio.current_task()] = self.ghost.seen
        if changes:
            self._judge(transaction, changes)
        if transaction.label == "release" and self.violation is None:
            self.violation = leases.on_release(self.ghost, transaction.process)

    def _judge(self, transaction: Transaction, changes: Sequence[Change]) -> None:
        commit = Commit(
            transaction.process, transaction.label, transaction.boundaries, changes, self.world.clock.now_ms()
        )
        if self.violation is None:
            try:
                rules.on_commit(commit, self.ghost)
            except rules.Violation as violation:
                self.violation = violation
        self.ghost.take(commit)

    def crashed(self, process: Process) -> None:
        """A process is gone, and what it held and executed with it."""
        for execution in self._in_hands.pop(process, ()):
            self.ghost.held.pop(execution, None)

    def probed(self, label: str, facts: dict[str, Any]) -> None:
        """The engine passed a probe."""
        react = getattr(self, f"_on_{label}", None)
        if react is not None:
            react(**facts)

    def seen(self, name: str, condition: bool) -> None:  # the probe's own signature
        """A state that campaigns must reach."""
        self.sometimes[name] += condition

    def _on_held(self, execution: Any) -> None:
        ghost = self.ghost
        process = PROCESS.get()
        number = 0
        for runner in ghost.held_by(process):
            number = max(number, ghost.claimed.get((execution.run.id, execution.fence, runner), 0))
        ghost.held[id(execution)] = (execution, number, process)
        self._in_hands.setdefault(process, []).append(id(execution))

    def _on_planned(self, execution: Any, boundary: Any) -> None:
        held = self.ghost.held.get(id(execution))
        if held is not None:
            self.ghost.planned[id(boundary)] = (boundary, held[1])
            replay.on_planned(self.ghost, execution, boundary)

    def _on_committing(self, boundaries: Any) -> None:
        PROCESS.get().carry(boundaries)

    def _on_writing(self, execution: Any, boundary: Any) -> None:
        self._on_planned(execution, boundary)
        PROCESS.get().carry_user(boundary)

    def _on_attempt(self, execution: Any, key: str, number: int, *, optimistic: bool = False) -> None:
        process = PROCESS.get()
        if self.violation is None:
            try:
                replay.on_attempt(self.ghost, execution, key, optimistic=optimistic)
                conduct.on_attempt(self.ghost, execution, key, optimistic=optimistic)
                steps.on_attempt(
                    self.ghost,
                    process,
                    self.world.clock.now_ms(),
                    execution=execution,
                    key=key,
                    number=number,
                    optimistic=optimistic,
                )
            except rules.Violation as violation:
                self.violation = violation
