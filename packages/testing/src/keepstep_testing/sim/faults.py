"""The faults: a closed list of kinds, each with what it may strike and what it does; and the plan of one schedule.

A planned fault strikes at the n-th gate that it may strike. What it struck is recorded by name, for replays.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from keepstep.errors import StoreUnavailableError
from keepstep_testing.sim.gates import Gate, Message, Option

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process
    from keepstep_testing.sim.stage import Stage
    from keepstep_testing.sim.world import World

LEASE_S = 5.0
"""The lease of simulated runners: stalls are measured by it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault.

    Attributes:
        kind: of ``KINDS``.
        nth: strikes at the n-th gate that this kind may strike, from 1.
        seconds: how long what it does lasts, or after how long what it took comes back.
        gate: the name of the gate that it struck; a replay strikes there.
    """

    kind: str
    nth: int
    seconds: float
    gate: str | None = None


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A kind of fault.

    Attributes:
        name: in plans and tables.
        number: in simulation.md's list.
        title: for readers.
        may_strike: whether it can strike an option.
        act: what it does; True when the option must not be opened now.
        seconds: what ``Fault.seconds`` is drawn from.
    """

    name: str
    number: str
    title: str
    may_strike: Callable[[Option], bool]
    act: Callable[[Stage, Any, float], bool]
    seconds: tuple[float, ...] = (0.0,)


KINDS: dict[str, FaultKind] = {}


def _kind(
    name: str, number: str, title: str, may_strike: Callable[[Option], bool], seconds: tuple[float, ...] = (0.0,)
) -> Callable[[Callable[[Stage, Any, float], bool]], Callable[[Stage, Any, float], bool]]:
    def registered(act: Callable[[Stage, Any, float], bool]) -> Callable[[Stage, Any, float], bool]:
        KINDS[name] = FaultKind(name, number, title, may_strike, act, seconds)
        return act

    return registered


# --- what may be struck

READS = frozenset(
    {"load", "next_due", "look_held", "reread", "neighbours", "first_due_hooks", "due", "check schema version"}
)


def _runner(option: Option) -> bool:
    return isinstance(option, Gate) and option.process.name.startswith("r")


def _server(option: Option) -> bool:
    return isinstance(option, Gate) and option.process.name[0] in "rt"


def _written(option: Option) -> bool:
    label, _, point = option.key.label.rpartition(":")
    return isinstance(option, Gate) and point == "committed" and label not in READS


def _read(option: Option) -> bool:
    label, _, point = option.key.label.rpartition(":")
    return isinstance(option, Gate) and point == "committed" and label in READS


def _commit(option: Option) -> bool:
    return isinstance(option, Gate) and option.key.label.endswith(":commit")


def _begin(option: Option) -> bool:
    return isinstance(option, Gate) and option.key.label.endswith(":begin") and option.key.label != "thread:begin"


def _start_up(option: Option) -> bool:
    return isinstance(option, Gate) and option.key.label.partition(":")[0] in {"register", "rescue", "neighbours"}


def _step(option: Option) -> bool:
    return isinstance(option, Gate) and option.key.label == "step"


def _renewal(option: Option) -> bool:
    return isinstance(option, Gate) and option.key.label == "renew:begin"


def _message(option: Option) -> bool:
    return isinstance(option, Message) and option.key.label in {"wake", "hint"}


def _tick(option: Option) -> bool:
    return isinstance(option, Message) and option.key.label == "tick"


def _anything(option: Option) -> bool:
    return _server(option)


# --- processes

_AWAY = (0.5, 3.0, 12.0)


@_kind("crash", "1", "a process crashes at any gate", _server, _AWAY)
def _crash(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.crash(gate.process, back_after=seconds)
    return True


@_kind("crash silently", "1", "a process crashes; nobody can see it but by its lease", _server, _AWAY)
def _crash_silently(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.crash(gate.process, back_after=seconds, pid_dies=False)
    return True


@_kind("crash before the answer", "2", "a process crashes exactly between COMMIT and its answer", _written, _AWAY)
def _crash_unanswered(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.crash(gate.process, back_after=seconds)
    return True


@_kind("crash at start", "3", "a process crashes while it starts up and rescues", _start_up, _AWAY)
def _crash_at_start(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.crash(gate.process, back_after=seconds)
    return True


@_kind("crash of all", "4", "all runners crash at once", _server, _AWAY)
def _crash_all(stage: Stage, gate: Gate, seconds: float) -> bool:  # noqa: ARG001
    for process in stage.servers():
        stage.crash(process, back_after=seconds)
    return True


@_kind("crash and new code", "6", "a process crashes and another version of the code starts", _server, _AWAY)
def _redeploy(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.crash(gate.process, back_after=seconds, code="newer")
    return True


@_kind("crash and other code", "6", "a process crashes; what starts does not know the workflow", _runner, _AWAY)
def _deploy_without(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.crash(gate.process, back_after=seconds, code="without")
    return True


@_kind("drain", "7", "a process is asked to stop in the middle of its work", _runner, _AWAY)
def _drain(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.drain(gate.process, back_after=seconds)
    return False


@_kind("stall, short", "8", "a process stands still for less than its lease", _server, (1.0, 3.0))
def _stall_short(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.stall(gate.process, seconds)
    return True


@_kind("stall, about a lease", "8", "a process stands still for about its lease", _server, (4.4, 4.9, 5.0, 5.1))
def _stall_lease(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.stall(gate.process, seconds)
    return True


@_kind("stall, long", "8", "a process stands still for more than twice its lease", _server, (11.0, 30.0))
def _stall_long(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.stall(gate.process, seconds)
    return True


@_kind("heartbeat stall", "9", "only the heartbeat of a runner stands still", _renewal, (3.0, 6.0, 12.0))
def _heartbeat(stage: Stage, gate: Gate, seconds: float) -> bool:
    return _hold(stage, gate, seconds)


@_kind("cancelled step", "10", "a step's own code is cancelled", _step)
def _cancel_step(stage: Stage, gate: Gate, seconds: float) -> bool:  # noqa: ARG001
    gate.fails = asyncio.CancelledError()
    return False


@_kind("slow step", "11", "a step takes longer than the lease", _step, (4.0, 7.0, 15.0))
def _slow_step(stage: Stage, gate: Gate, seconds: float) -> bool:
    return _hold(stage, gate, seconds)


@_kind("flood of runners", "12", "three more runners start at once", _server)
def _flood(stage: Stage, gate: Gate, seconds: float) -> bool:  # noqa: ARG001
    for _ in range(3):
        stage.add_runner()
    return False


@_kind("all but one", "12", "all runners but one go", _server, (3.0, 12.0))
def _all_but_one(stage: Stage, gate: Gate, seconds: float) -> bool:
    for process in stage.servers():
        if process is not gate.process:
            stage.crash(process, back_after=seconds)
    return False


# --- the store


@_kind("conflict", "13", "a transaction is refused for a conflict (SQLITE_BUSY, 40001, 40P01)", _commit)
def _conflict(stage: Stage, gate: Gate, seconds: float) -> bool:  # noqa: ARG001
    gate.fails = _sqlite_error("injected: the database is locked", sqlite3.SQLITE_BUSY)
    return False


@_kind("error before", "14", "a transaction fails and nothing of it is applied", _commit)
def _error_before(stage: Stage, gate: Gate, seconds: float) -> bool:  # noqa: ARG001
    gate.fails = _sqlite_error("injected: disk I/O error", sqlite3.SQLITE_IOERR)
    return False


@_kind("answer lost", "15", "a COMMIT is applied and its answer is lost", _written)
def _answer_lost(stage: Stage, gate: Gate, seconds: float) -> bool:  # noqa: ARG001
    gate.fails = StoreUnavailableError("injected: the connection broke after COMMIT was sent")
    return False


@_kind("slow commit, applied early", "16", "a COMMIT is applied, and its answer comes late", _written, (0.3, 2.0, 6.0))
def _slow_early(stage: Stage, gate: Gate, seconds: float) -> bool:
    return _hold(stage, gate, seconds)


@_kind("slow commit, applied late", "16", "a COMMIT takes long to be applied", _commit, (0.3, 2.0, 6.0))
def _slow_late(stage: Stage, gate: Gate, seconds: float) -> bool:
    return _hold(stage, gate, seconds)


@_kind("read lost", "17", "the connection drops while a query is answered", _read)
def _read_lost(stage: Stage, gate: Gate, seconds: float) -> bool:  # noqa: ARG001
    gate.fails = StoreUnavailableError("injected: the connection broke")
    return False


@_kind("slow read", "24", "a query's answer comes late, and is old", _read, (0.3, 2.0, 6.0))
def _slow_read(stage: Stage, gate: Gate, seconds: float) -> bool:
    return _hold(stage, gate, seconds)


@_kind("lock held", "18", "a writer holds the lock; others run into SQLITE_BUSY, and out of patience", _commit, (0.5, 4.0))
def _lock_held(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.world.ignore_lock_until_us = stage.world.clock.us + int(seconds * 1e6)
    return _hold(stage, gate, seconds)


@_kind("statement timeout", "21", "a transaction is ended by its timeout", _begin)
def _statement_timeout(stage: Stage, gate: Gate, seconds: float) -> bool:  # noqa: ARG001
    from keepstep.errors import StoreConflictError

    gate.fails = StoreConflictError("injected: canceling statement due to statement timeout")
    return False


@_kind("disk full", "25", "no transaction can be written for a while: the disk is full", _server, (1.0, 8.0))
def _disk_full(stage: Stage, gate: Gate, seconds: float) -> bool:  # noqa: ARG001
    stage.plan.outage(stage.world, seconds, sqlite3.SQLITE_FULL, "database or disk is full")
    return False


@_kind("read-only", "25", "no transaction can be written for a while: the volume is read-only", _server, (1.0, 8.0))
def _read_only(stage: Stage, gate: Gate, seconds: float) -> bool:  # noqa: ARG001
    stage.plan.outage(stage.world, seconds, sqlite3.SQLITE_READONLY, "attempt to write a readonly database")
    return False


@_kind("database away", "39", "nobody reaches the database for a while", _server, (1.0, 8.0, 20.0))
def _away(stage: Stage, gate: Gate, seconds: float) -> bool:  # noqa: ARG001
    stage.plan.cut_off(stage.world, seconds, None)
    return False


@_kind("partition", "39", "one process does not reach the database for a while", _server, (1.0, 8.0, 20.0))
def _partition(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.plan.cut_off(stage.world, seconds, gate.process.name)
    return False


# --- time


@_kind("clock set", "29", "a machine's clock is set, forward or back", _server, (-3600.0, -2.0, 2.0, 3600.0))
def _clock_set(stage: Stage, gate: Gate, seconds: float) -> bool:  # noqa: ARG001
    gate.process.clock.skew_ms += int(seconds * 1000)
    return False


@_kind("database clock set", "29", "the database's clock is set forward", _server, (0.5, 4.0, 60.0))
def _database_clock_set(stage: Stage, gate: Gate, seconds: float) -> bool:  # noqa: ARG001
    stage.world.clock.jump_ms += int(seconds * 1000)
    stage.oracle.ghost.excused.add("clock")
    return False


# --- messages


@_kind("wake lost", "32", "a wake-up is lost", _message)
def _wake_lost(stage: Stage, message: Message, seconds: float) -> bool:  # noqa: ARG001
    stage.world.lose(message)
    return True


@_kind("all wakes lost", "32", "every wake-up is lost from now on", _message)
def _all_wakes_lost(stage: Stage, message: Message, seconds: float) -> bool:  # noqa: ARG001
    stage.world.deaf = True
    stage.world.lose(message)
    return True


@_kind("wake doubled", "33", "a wake-up comes twice", _message, (0.0, 0.7))
def _wake_doubled(stage: Stage, message: Message, seconds: float) -> bool:
    stage.world.doubled(message, int(seconds * 1e6))
    return False


@_kind("wake delayed", "34", "a wake-up comes late; others overtake it", _message, (0.2, 2.0, 10.0))
def _wake_delayed(stage: Stage, message: Message, seconds: float) -> bool:
    message.after_us = stage.world.clock.us + int(seconds * 1e6)
    return True


@_kind("spurious wake", "36", "a wake-up comes that nobody sent", _server)
def _spurious(stage: Stage, gate: Gate, seconds: float) -> bool:  # noqa: ARG001
    for process in stage.servers():
        if process.on_hint is not None:
            stage.world.send(process, "hint", process.on_hint)
    return False


@_kind("tick lost", "37", "an HTTP tick is lost", _tick)
def _tick_lost(stage: Stage, message: Message, seconds: float) -> bool:  # noqa: ARG001
    stage.world.lose(message)
    return True


@_kind("tick doubled", "37", "an HTTP tick comes twice", _tick, (0.0, 0.7))
def _tick_doubled(stage: Stage, message: Message, seconds: float) -> bool:
    stage.world.doubled(message, int(seconds * 1e6))
    return False


@_kind("tick late", "37", "an HTTP tick comes late", _tick, (0.7, 8.0))
def _tick_late(stage: Stage, message: Message, seconds: float) -> bool:
    message.after_us = stage.world.clock.us + int(seconds * 1e6)
    return True


def _hold(stage: Stage, gate: Gate, seconds: float) -> bool:
    gate.after_us = stage.world.clock.us + int(seconds * 1e6)
    return True


def _sqlite_error(text: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


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
    "non-determinism": ("48", "the code contradicts what is recorded"),
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
        self._outages: list[tuple[int, int, str]] = []
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
                raise _sqlite_error(f"injected: {text}", code)
        return self._at_commit

    def user_trouble(self, process: Process) -> str | None:
        """A user's transaction is cut off like any other."""
        now = process.world.clock.us
        if any(until > now and name in {None, process.name} for until, name in self._cuts):
            return "before"
        return None

    def outage(self, world: World, seconds: float, code: int, text: str) -> None:
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
