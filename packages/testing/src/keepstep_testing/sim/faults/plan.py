"""The fault plan of one schedule: what strikes when, what has struck, and what is refused for a while."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from keepstep.errors import StoreUnavailableError
from keepstep_testing.sim.connections import refusal
from keepstep_testing.sim.faults.kinds import KINDS, Fault, at_begin, at_database, at_read, refusal_of
from keepstep_testing.sim.gates import Gate, Key, Option

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process
    from keepstep_testing.sim.stage import Stage
    from keepstep_testing.sim.world import World

AT_COMMIT = frozenset(
    {
        "conflict",
        "connection lost",
        "deadlock",
        "error before",
        "lock held",
        "serialization failure",
        "slow commit, applied late",
    }
)
"""Kinds for which transactions stop before COMMIT."""
GOING_BACK = frozenset({"power failure", "fail-over"})
"""Kinds for which the last states of the database are kept."""
POOL_PATIENCE_S = 2.0
"""How long a transaction queues for a connection."""

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
    "contradicting code": ("48", "a body that is not deterministic asks for something else than is recorded"),
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
        goes_back: whether one of them makes the database lose commits.
    """

    def __init__(self, faults: list[Fault] | tuple[Fault, ...]) -> None:
        self._waiting = [(fault, [0]) for fault in faults]
        self._at_commit = any(fault.kind in AT_COMMIT for fault in faults)
        self.goes_back = any(fault.kind in GOING_BACK for fault in faults)
        self._outages: list[tuple[int, str, str]] = []
        self._cuts: list[tuple[int, str | None, bool]] = []
        self._starved: list[tuple[int, str]] = []
        self._queued: set[Key] = set()
        self._unanswered: set[str] = set()
        self.stage: Stage | None = None
        self.struck: list[Fault] = []
        self.fired: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()

    def heal(self) -> None:
        """The chaos is over: nothing strikes any more."""
        self._waiting.clear()
        self._outages.clear()
        self._cuts.clear()
        self._starved.clear()
        self._unanswered.clear()
        self._at_commit = False

    def strike(self, world: World, option: Option) -> bool:
        """Let the first planned fault strike that is due here."""
        if self._cuts and isinstance(option, Gate) and self._cut(world, option):
            return False
        if self._starved and isinstance(option, Gate) and self._queue(world, option):
            return True
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
        """A user's transaction is cut off like any other; or it is done, and its answer is lost."""
        now = process.world.clock.us
        found = [
            answers for until, name, answers in self._cuts if until > now and name in {None, process.name}
        ]
        if found:
            return "after" if all(found) else "before"
        if process.name in self._unanswered:
            self._unanswered.discard(process.name)
            return "after"
        return None

    def outage(self, world: World, seconds: float, code: str, text: str) -> None:
        """Refuse writes for so long."""
        self._outages.append((world.clock.us + int(seconds * 1e6), code, text))

    def cut_off(self, world: World, seconds: float, name: str | None, *, answers: bool = False) -> None:
        """Refuse a process, or all, for so long; ``answers``: what it sends arrives, and no answer comes back."""
        self._cuts.append((world.clock.us + int(seconds * 1e6), name, answers))

    def starve(self, world: World, seconds: float, name: str) -> None:
        """A process has no connection left for so long: it queues for one, and not for ever."""
        self._starved.append((world.clock.us + int(seconds * 1e6), name))

    def leave_unanswered(self, name: str) -> None:
        """The next transaction of a process's user is done, and its answer is lost."""
        self._unanswered.add(name)

    def _cut(self, world: World, gate: Gate) -> bool:
        now = world.clock.us
        self._cuts = [each for each in self._cuts if each[0] > now]
        if not at_database(gate):
            return False
        for _, name, answers in self._cuts:
            if name in {None, gate.process.name} and not (answers and gate.key.label.endswith(":begin")):
                gate.fails = StoreUnavailableError("injected: the database cannot be reached")
                return True
        return False

    def _queue(self, world: World, gate: Gate) -> bool:
        """Whether a transaction has to wait for a connection; who waits too long is told that there is none."""
        now = world.clock.us
        self._starved = [each for each in self._starved if each[0] > now]
        until = max((until for until, name in self._starved if name == gate.process.name), default=0)
        begins = at_begin(gate) or at_read(gate)
        if not begins or until <= now or gate.key in self._queued:
            return False
        self._queued.add(gate.key)
        patience_us = int(POOL_PATIENCE_S * 1e6)
        gate.after_us = min(until, now + patience_us)
        if until > now + patience_us:
            gate.fails = refusal_of("53300", "too many connections")
        return True
