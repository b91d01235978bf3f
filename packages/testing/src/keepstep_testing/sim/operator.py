"""Who helps along in the fair phase what only somebody outside can help: runs that are paused, or wait for long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from keepstep import App
from keepstep_testing.sim.oracle.ghost import Ghost
from keepstep_testing.sim.play import CODES
from keepstep_testing.sim.scenario import Command

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process
    from keepstep_testing.sim.stage import Stage

LONG_WAIT_MS = 3_000
"""The operator waits no longer for a wait to end by itself."""


async def help_along(stage: Stage, operator: Process) -> None:
    """Resume what is paused, and send what is waited for for long: time in which nothing happens costs most."""
    ghost = stage.oracle.ghost
    while True:
        late = stage.world.clock.now_ms() + LONG_WAIT_MS
        commands = [each for run in ghost.live() for each in _missing(ghost, run, late)]
        for command in commands:
            operator.app = operator.app or App(operator.surroundings, dispatcher=None, **CODES["current"])
            await stage.act(operator.app, command)
        await asyncio.sleep(1 if commands else 20)


def _missing(ghost: Ghost, run: Any, late: int) -> list[Command]:
    """What a run lacks: a resume, or the events of waits whose deadline is after ``late``."""
    if run.status == "paused" or run.pause_requested:
        return [Command(0, "resume", run.instance_id)]
    return [
        Command(0, "event", run.instance_id, [row.event_type, 0, None])
        for row in ghost.steps[run.id].values()
        if row.status == "waiting"
        and row.event_type is not None
        and (row.due_at is None or row.due_at > late)
    ]
