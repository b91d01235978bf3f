"""Faults beside the database: hosts' timers, requests that are cut off, receivers of hooks that answer late or not at all."""

from __future__ import annotations

import asyncio

from keepstep_testing.sim.faults.kinds import at_hook, at_runner, at_ticking, hold, kind
from keepstep_testing.sim.gates import Gate
from keepstep_testing.sim.stage import Stage


@kind("tick cut off", "37", "a serverless host ends a tick in the middle, at its time limit", at_ticking)
def _tick_cut_off(stage: Stage, gate: Gate, seconds: float) -> bool:
    gate.fails = asyncio.CancelledError()
    return False


@kind("hook unanswered", "38", "a hook's receiver does its part, and its answer is lost", at_hook)
def _hook_unanswered(stage: Stage, gate: Gate, seconds: float) -> bool:
    gate.fails = TimeoutError("injected: 504")
    return False


@kind(
    "slow hook", "38", "a hook's receiver takes longer than the delivery's lease", at_hook, (4.0, 7.0, 30.0)
)
def _slow_hook(stage: Stage, gate: Gate, seconds: float) -> bool:
    return hold(stage, gate, seconds)


@kind(
    "dispatcher pause",
    "40",
    "a host's timers stand still; then one look stands for all that were missed",
    at_runner,
    (2.0, 8.0, 30.0),
)
def _dispatcher_pause(stage: Stage, gate: Gate, seconds: float) -> bool:
    gate.process.dispatch_paused_until_us = stage.world.clock.us + int(seconds * 1e6)
    return False
