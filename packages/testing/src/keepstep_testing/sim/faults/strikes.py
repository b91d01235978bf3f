"""The faults themselves: for each kind what it does where it strikes. A closed list."""

from __future__ import annotations

import asyncio
from importlib import import_module

from keepstep.errors import StoreConflictError, StoreUnavailableError
from keepstep_testing.sim.connections import refusal
from keepstep_testing.sim.faults.kinds import (
    at_begin,
    at_commit,
    at_message,
    at_read,
    at_renewal,
    at_runner,
    at_server,
    at_start_up,
    at_step,
    at_tick,
    at_written,
    hold,
    kind,
)
from keepstep_testing.sim.gates import Gate, Message
from keepstep_testing.sim.stage import Stage

import_module("keepstep_testing.sim.faults.outside")  # they register their kinds, too
import_module("keepstep_testing.sim.faults.upheavals")

# --- processes

_AWAY = (0.5, 3.0, 12.0)


@kind("crash", "1", "a process crashes at any gate", at_server, _AWAY)
def _crash(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.crash(gate.process, back_after=seconds)
    return True


@kind("crash silently", "1", "a process crashes; nobody can see it but by its lease", at_server, _AWAY)
def _crash_silently(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.crash(gate.process, back_after=seconds, pid_dies=False)
    return True


@kind(
    "crash before the answer",
    "2",
    "a process crashes exactly between COMMIT and its answer",
    at_written,
    _AWAY,
)
def _crash_unanswered(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.crash(gate.process, back_after=seconds)
    return True


@kind("crash at start", "3", "a process crashes while it starts up and rescues", at_start_up, _AWAY)
def _crash_at_start(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.crash(gate.process, back_after=seconds)
    return True


@kind("crash of all", "4", "all runners crash at once", at_server, _AWAY)
def _crash_all(stage: Stage, gate: Gate, seconds: float) -> bool:
    for process in stage.servers():
        stage.crash(process, back_after=seconds)
    return True


@kind("crash and new code", "6", "a process crashes and another version of the code starts", at_server, _AWAY)
def _redeploy(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.crash(gate.process, back_after=seconds, code="newer")
    return True


@kind(
    "crash and other code", "6", "a process crashes; what starts does not know the workflow", at_runner, _AWAY
)
def _deploy_without(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.crash(gate.process, back_after=seconds, code="without")
    return True


@kind("drain", "7", "a process is asked to stop in the middle of its work", at_runner, _AWAY)
def _drain(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.drain(gate.process, back_after=seconds)
    return False


@kind("stall, short", "8", "a process stands still for less than its lease", at_server, (1.0, 3.0))
def _stall_short(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.stall(gate.process, seconds)
    return True


@kind(
    "stall, about a lease", "8", "a process stands still for about its lease", at_server, (4.4, 4.9, 5.0, 5.1)
)
def _stall_lease(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.stall(gate.process, seconds)
    return True


@kind("stall, long", "8", "a process stands still for more than twice its lease", at_server, (11.0, 30.0))
def _stall_long(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.stall(gate.process, seconds)
    return True


@kind("heartbeat stall", "9", "only the heartbeat of a runner stands still", at_renewal, (3.0, 6.0, 12.0))
def _heartbeat(stage: Stage, gate: Gate, seconds: float) -> bool:
    return hold(stage, gate, seconds)


@kind("cancelled step", "10", "a step's own code is cancelled", at_step)
def _cancel_step(stage: Stage, gate: Gate, seconds: float) -> bool:
    gate.fails = asyncio.CancelledError()
    return False


@kind("slow step", "11", "a step takes longer than the lease", at_step, (4.0, 7.0, 15.0))
def _slow_step(stage: Stage, gate: Gate, seconds: float) -> bool:
    return hold(stage, gate, seconds)


@kind("flood of runners", "12", "three more runners start at once", at_server)
def _flood(stage: Stage, gate: Gate, seconds: float) -> bool:
    for _ in range(3):
        stage.add_runner()
    return False


@kind("all but one", "12", "all runners but one go", at_server, (3.0, 12.0))
def _all_but_one(stage: Stage, gate: Gate, seconds: float) -> bool:
    for process in stage.servers():
        if process is not gate.process:
            stage.crash(process, back_after=seconds)
    return False


# --- the store


@kind("conflict", "13", "a transaction is refused for a conflict (SQLITE_BUSY, 40001, 40P01)", at_commit)
def _conflict(stage: Stage, gate: Gate, seconds: float) -> bool:
    gate.fails = refusal("BUSY", "injected: the database is locked")
    return False


@kind("error before", "14", "a transaction fails and nothing of it is applied", at_commit)
def _error_before(stage: Stage, gate: Gate, seconds: float) -> bool:
    gate.fails = refusal("IOERR", "injected: disk I/O error")
    return False


@kind("answer lost", "15", "a COMMIT is applied and its answer is lost", at_written)
def _answer_lost(stage: Stage, gate: Gate, seconds: float) -> bool:
    gate.fails = StoreUnavailableError("injected: the connection broke after COMMIT was sent")
    return False


@kind(
    "slow commit, applied early",
    "16",
    "a COMMIT is applied, and its answer comes late",
    at_written,
    (0.3, 2.0, 6.0),
)
def _slow_early(stage: Stage, gate: Gate, seconds: float) -> bool:
    return hold(stage, gate, seconds)


@kind("slow commit, applied late", "16", "a COMMIT takes long to be applied", at_commit, (0.3, 2.0, 6.0))
def _slow_late(stage: Stage, gate: Gate, seconds: float) -> bool:
    return hold(stage, gate, seconds)


@kind("read lost", "17", "the connection drops while a query is answered", at_read)
def _read_lost(stage: Stage, gate: Gate, seconds: float) -> bool:
    gate.fails = StoreUnavailableError("injected: the connection broke")
    return False


@kind("slow read", "24", "a query's answer comes late, and is old", at_read, (0.3, 2.0, 6.0))
def _slow_read(stage: Stage, gate: Gate, seconds: float) -> bool:
    return hold(stage, gate, seconds)


@kind(
    "lock held",
    "18",
    "a writer holds the lock; others run into SQLITE_BUSY, and out of patience",
    at_commit,
    (0.5, 4.0),
)
def _lock_held(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.world.ignore_lock_until_us = stage.world.clock.us + int(seconds * 1e6)
    return hold(stage, gate, seconds)


@kind("statement timeout", "21", "a transaction is ended by its timeout", at_begin)
def _statement_timeout(stage: Stage, gate: Gate, seconds: float) -> bool:
    gate.fails = StoreConflictError("injected: canceling statement due to statement timeout")
    return False


@kind("disk full", "25", "no transaction can be written for a while: the disk is full", at_server, (1.0, 8.0))
def _disk_full(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.plan.outage(stage.world, seconds, "FULL", "database or disk is full")
    return False


@kind(
    "read-only",
    "25",
    "no transaction can be written for a while: the volume is read-only",
    at_server,
    (1.0, 8.0),
)
def _read_only(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.plan.outage(stage.world, seconds, "READONLY", "attempt to write a readonly database")
    return False


@kind("database away", "39", "nobody reaches the database for a while", at_server, (1.0, 8.0, 20.0))
def _away(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.plan.cut_off(stage.world, seconds, None)
    return False


@kind("partition", "39", "one process does not reach the database for a while", at_server, (1.0, 8.0, 20.0))
def _partition(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.plan.cut_off(stage.world, seconds, gate.process.name)
    return False


# --- time


@kind("clock set", "29", "a machine's clock is set, forward or back", at_server, (-3600.0, -2.0, 2.0, 3600.0))
def _clock_set(stage: Stage, gate: Gate, seconds: float) -> bool:
    gate.process.clock.skew_ms += int(seconds * 1000)
    return False


@kind("database clock set", "29", "the database's clock is set forward", at_server, (0.5, 4.0, 60.0))
def _database_clock_set(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.world.clock.jump_ms += int(seconds * 1000)
    stage.oracle.ghost.excused.add("clock")
    return False


@kind("database clock set back", "29", "the database's clock is set back", at_server, (0.05, 0.5, 4.0))
def _database_clock_set_back(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.world.clock.jump_ms -= int(seconds * 1000)
    stage.oracle.ghost.excused.add("clock")
    return False


# --- messages


@kind("wake lost", "32", "a wake-up is lost", at_message)
def _wake_lost(stage: Stage, message: Message, seconds: float) -> bool:
    stage.world.lose(message)
    return True


@kind("all wakes lost", "32", "every wake-up is lost from now on", at_message)
def _all_wakes_lost(stage: Stage, message: Message, seconds: float) -> bool:
    stage.world.deaf = True
    stage.world.lose(message)
    return True


@kind("wake doubled", "33", "a wake-up comes twice", at_message, (0.0, 0.7))
def _wake_doubled(stage: Stage, message: Message, seconds: float) -> bool:
    stage.world.doubled(message, int(seconds * 1e6))
    return False


@kind("wake delayed", "34", "a wake-up comes late; others overtake it", at_message, (0.2, 2.0, 10.0))
def _wake_delayed(stage: Stage, message: Message, seconds: float) -> bool:
    return hold(stage, message, seconds)


@kind("spurious wake", "36", "a wake-up comes that nobody sent", at_server)
def _spurious(stage: Stage, gate: Gate, seconds: float) -> bool:
    for process in stage.servers():
        if process.on_hint is not None:
            stage.world.send(process, "hint", process.on_hint)
    return False


@kind("tick lost", "37", "an HTTP tick is lost", at_tick)
def _tick_lost(stage: Stage, message: Message, seconds: float) -> bool:
    stage.world.lose(message)
    return True


@kind("tick doubled", "37", "an HTTP tick comes twice", at_tick, (0.0, 0.7))
def _tick_doubled(stage: Stage, message: Message, seconds: float) -> bool:
    stage.world.doubled(message, int(seconds * 1e6))
    return False


@kind("tick late", "37", "an HTTP tick comes late", at_tick, (0.7, 8.0))
def _tick_late(stage: Stage, message: Message, seconds: float) -> bool:
    return hold(stage, message, seconds)
