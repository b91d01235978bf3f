"""The fault plan of one schedule: what strikes when, what has struck, and what is refused for a while."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from keepstep.errors import StoreUnavailableError
from keepstep_testing.sim.connections import refusal
from keepstep_testing.sim.faults.kinds import KINDS, Fault
from keepstep_testing.sim.gates import Gate, Option

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process
    from keepstep_testing.sim.stage import Stage
    from keepstep_testing.sim.world import World

AT_COMMIT = frozenset({"conflict", "error before", "slow commit, applied late", "lock held"})
"""Kinds for which transactions stop before COMMIT."""

OF_WORKLOAD = {
    "skew": ("27", "a machine's clock is wrong all the time"),
    "drift": ("28", "a machine's clock runs too fast or too slow"),
    "clock race": ("30", "time passes while work could be done"),
    "message overtaken": ("35", "a wake-up overtakes an earlier one"),
    "duplicate create": ("42", "an instance is created again"),
    "duplicate event": ("42", "an event is sent again with its id"),
    "event early": ("43", "an event is sent before anything waits for it"),
    "event late": ("43", "an event is sent to a run that has ended"),
    "cancel": ("44", "a run is cancelled"),
    "terminate": ("44", "a run is terminated"),
    "pause": ("44", "a run is paused"),
    "resume": ("44", "a run is resumed"),
    "restart": ("44", "a run is restarted"),
    "oversize": ("45", "a payload is too large, or cannot be encoded"),
    "poison step": ("46", "a step kills its process, each time"),
    "burst": ("47", "many instances at once"),
    "failing step": ("–", "attempts of a step fail"),
    "hanging step": ("–", "an attempt of a step hangs until its timeout"),
    "receiver fails": ("38", "the receiver of a hook answers 5xx"),
    "no cache": ("–", "bodies are replayed at every wake (A6)"),
    "optimistic ticks": ("41", "a second coordinator without a lease works on the same runs (B9)"),
}
"""What a scenario does without a planned fault, by name: number and title. Counted alike."""


class FaultPlan:
    """The faults of one schedule.

    Args:
        faults: planned.

    Attributes:
        struck: those that struck, with the gates' names.
        fired: how often each kind did.
        pairs: kinds by the label that they struck.
    """

    def __init__(self, faults: list[Fault] | tuple[Fault, ...]) -> None:
        self._waiting = [(fault, [0]) for fault in faults]
        self._at_commit = any(fault.kind in AT_COMMIT for fault in faults)
        self._outages: list[tuple[int, str, str]] = []
        self._cuts: list[tuple[int, str | None]] = []
        self.stage: Stage | None = None
        self.struck: list[Fault] = []
        self.fired: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.healed = False

    def heal(self) -> None:
        """The chaos is over: nothing strikes any more."""
        self.healed = True
        self._waiting.clear()
        self._outages.clear()
        self._cuts.clear()
        self._at_commit = False

    def strike(self, world: World, option: Option) -> bool:
        """Let the first planned fault strike that is due here."""
        if self._cuts and isinstance(option, Gate) and self._cut(world, option):
            return False
        for entry in self._waiting:
            fault, seen = entry
            kind = KINDS[fault.kind]
            if not kind.may_strike(option):
                continue
            seen[0] += 1
            due = seen[0] == fault.nth if fault.gate is None else str(option.key) == fault.gate
            if due:
                self._waiting.remove(entry)
                self.struck.append(replace(fault, gate=str(option.key)))
                self.fired[fault.kind] += 1
                self.pairs[fault.kind, option.key.label] += 1
                world.trace.add(world.clock.us, option.key.actor, option.key.label, f"FAULT {fault.kind}")
                assert self.stage is not None
                return kind.act(self.stage, option, fault.seconds)
        return False

    def before_commit(self, process: Process, label: str) -> bool:
        """Whether to stop before COMMIT; while writes are refused, it is refused there."""
        if self._outages:
            now = process.world.clock.us
            self._outages = [each for each in self._outages if each[0] > now]
            if self._outages:
                _, code, text = self._outages[0]
                raise refusal(code, f"injected: {text}")
        return self._at_commit

    def user_trouble(self, process: Process) -> str | None:
        """A user's transaction is cut off like any other."""
        now = process.world.clock.us
        if any(until > now and name in {None, process.name} for until, name in self._cuts):
            return "before"
        return None

    def outage(self, world: World, seconds: float, code: str, text: str) -> None:
        """Refuse writes for so long."""
        self._outages.append((world.clock.us + int(seconds * 1e6), code, text))

    def cut_off(self, world: World, seconds: float, name: str | None) -> None:
        """Refuse a process, or all, for so long."""
        self._cuts.append((world.clock.us + int(seconds * 1e6), name))

    def _cut(self, world: World, gate: Gate) -> bool:
        now = world.clock.us
        self._cuts = [each for each in self._cuts if each[0] > now]
        if gate.key.label.endswith((":begin", ":committed")) and not gate.key.label.startswith("thread"):
            if any(name in {None, gate.process.name} for _, name in self._cuts):
                gate.fails = StoreUnavailableError("injected: the database cannot be reached")
                return True
        return False
