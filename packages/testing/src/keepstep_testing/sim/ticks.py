"""A serverless host: each tick is a request of somebody's clock (B9); it holds no lease between two of them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from keepstep import App, RunnerOptions
from keepstep.errors import StoreConflictError, StoreUnavailableError
from keepstep_testing.sim.faults.kinds import LEASE_S
from keepstep_testing.sim.play import CODES
from keepstep_testing.sim.scenario import Machine

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process

EVERY_S = 1.0
AT_ONCE = 3
"""Ticks that a host serves side by side; it refuses others."""


async def serve_ticks(process: Process, machine: Machine) -> None:
    """Serve for ever, in that process."""
    app: Any = App(
        process.surroundings,
        dispatcher=None,
        runner=RunnerOptions(cache=machine.cache, hook_lease=f"{int(LEASE_S * 1000)}ms"),
        **CODES[process.code],
    )
    running: set[asyncio.Task[Any]] = set()

    async def tick() -> None:
        with suppress(StoreUnavailableError, StoreConflictError):
            await app.tick(5)

    def arrived() -> None:
        if len(running) < AT_ONCE:
            task = process.spawn(tick(), "tick")
            running.add(task)
            task.add_done_callback(running.discard)

    process.app = app
    while True:
        process.world.send(process, "tick", arrived)
        await asyncio.sleep(EVERY_S)
