"""Faults of the database as a whole: what was committed is lost, half a fleet meets an older schema, a pool is used up."""

from __future__ import annotations

from keepstep.errors import StoreUnavailableError
from keepstep_testing.sim.faults.kinds import (
    at_commit,
    at_database,
    at_quiet,
    at_quiet_written,
    at_server,
    at_thread,
    kind,
    refusal_of,
)
from keepstep_testing.sim.faults.timeline import lose_commits
from keepstep_testing.sim.gates import Gate
from keepstep_testing.sim.stage import Stage

OLDER = "0001"
"""A revision before the one that today's code needs."""
_AWAY = (0.5, 3.0, 12.0)
_LOST = {0.5: 1, 3.0: 3, 12.0: 8}
"""How many commits a power failure loses, by how long the machines are away."""


@kind(
    "crash and same pid", "5", "a process crashes and starts again under its name and pid", at_server, _AWAY
)
def _same_pid(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.crash(gate.process, back_after=seconds, pid_dies=False, pid=gate.process.pid)
    return True


@kind("connection lost", "17", "a connection drops between two statements of a transaction", at_commit)
def _connection_lost(stage: Stage, gate: Gate, seconds: float) -> bool:
    gate.fails = refusal_of("08006", "connection failure")
    return False


@kind("serialization failure", "19", "a server refuses a transaction: SQLSTATE 40001", at_commit)
def _serialization_failure(stage: Stage, gate: Gate, seconds: float) -> bool:
    gate.fails = refusal_of("40001", "could not serialize access")
    return False


@kind("deadlock", "20", "a server ends a transaction as a deadlock's victim: SQLSTATE 40P01", at_commit)
def _deadlock(stage: Stage, gate: Gate, seconds: float) -> bool:
    gate.fails = refusal_of("40P01", "deadlock detected")
    return False


@kind("user's answer lost", "15", "a user's transaction is applied and its answer is lost", at_thread)
def _users_answer_lost(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.plan.leave_unanswered(gate.process.name)
    return False


@kind(
    "pool used up",
    "22",
    "a process has no connection left: it queues for one, and not for ever",
    at_server,
    (1.0, 4.0, 12.0),
)
def _pool_used_up(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.plan.starve(stage.world, seconds, gate.process.name)
    return False


@kind(
    "power failure",
    "23",
    "all machines stop, and the last commits are lost although they were acknowledged",
    at_quiet_written,
    _AWAY,
)
def _power_failure(stage: Stage, gate: Gate, seconds: float) -> bool:
    for process in stage.servers():
        stage.crash(process, back_after=seconds)
    for waiting in stage.world.gates():
        if at_database(waiting) or at_commit(waiting):
            waiting.fails = StoreUnavailableError("injected: the server is gone")
    lose_commits(stage, _LOST[seconds])
    return True


@kind(
    "torn migration",
    "26",
    "half the fleet starts with code that needs a newer schema, before it is migrated",
    at_quiet,
    (2.0, 8.0),
)
def _torn_migration(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.tear_schema(OLDER, seconds)
    for process in [gate.process, *stage.servers()[::2]]:
        stage.crash(process, back_after=0.5)
    return True


@kind(
    "partition, one way",
    "39",
    "what a process sends reaches the database, and no answer comes back for a while",
    at_server,
    (1.0, 8.0, 20.0),
)
def _one_way(stage: Stage, gate: Gate, seconds: float) -> bool:
    stage.plan.cut_off(stage.world, seconds, gate.process.name, answers=True)
    return False
