"""The processes of a simulation that serve the user's workflows: they start, crash, drain, stand still and come back.

Their leases are long and nothing polls, so that two simulated days cost no more than two events. Where a lease has to
run out, the world lets it run out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from keepstep import App, RunnerOptions
from keepstep.errors import StoreConflictError, StoreUnavailableError
from keepstep_testing.sim.dispatch import SimDispatcher
from keepstep_testing.sim.process import Process

if TYPE_CHECKING:
    from keepstep_testing.simulation import Simulation

HOST = "host-1"
LEASE = "36500 days"
POLL = "30 days"
RESTART_S = 0.1
FROZEN_S = 30.0


class Fleet:
    """See the module's head.

    Args:
        simulation: whose.
        cache: suspended bodies that a runner keeps; 0 = every wake replays (A6).
        skew_ms: by how much the runners' clocks are wrong.
    """

    def __init__(self, simulation: Simulation, cache: int, skew_ms: int) -> None:
        self._simulation = simulation
        self._cache = cache
        self._skew_ms = skew_ms
        self._started = 0
        self._leaving: set[Process] = set()

    @property
    def servers(self) -> list[Process]:
        """Those that live and are not about to go."""
        return [
            each
            for each in self._simulation.world.processes
            if each.alive and each.name.startswith("runner") and each not in self._leaving
        ]

    def ensure(self) -> None:
        """Somebody serves."""
        if not self.servers:
            self.start()

    def start(self, name: str = "") -> Process:
        """Start a process; one that comes back has the same name."""
        if not name:
            self._started += 1
            name = f"runner-{self._started}"
        process = self._simulation.world.process(name, HOST, self._skew_ms)
        process.spawn(self._serve(process), "main")
        return process

    def crash(self, process: Process) -> None:
        """It is gone at once; its supervisor starts it again."""
        if process.alive:
            process.crash()
            self._back(process)

    def drain(self, process: Process) -> None:
        """It is asked to stop, as at a deployment, and then comes back."""
        if process.app is None or process in self._leaving:
            return
        self._leaving.add(process)

        async def stop() -> None:
            try:
                await process.app.stop()
            finally:
                process.leave()
                self._back(process)

        process.spawn(stop(), "drain")

    def usurp(self, process: Process) -> None:
        """It stands still for longer than its lease: another one takes its runs over, then it wakes up."""
        world = self._simulation.world
        process.stalled_until_us = world.clock.us + int(FROZEN_S * 1e6)
        self._simulation.ghost.excused.add("clock")
        mine = self._simulation.ghost.held_by(process)
        for runner in mine:
            self._simulation.database.end_lease(runner, world.clock.now_ms() - 1)
        if process.app is not None:
            process.app._engine.runner.lease._ends = process.clock.monotonic()  # noqa: SLF001  # time that its own clock shows when it wakes up
        self.start()

    def replace(self) -> None:
        """Everybody stops, and one with the workflows that are known now starts."""
        for process in self.servers:
            process.leave()
        self.start()

    def _back(self, process: Process) -> None:
        self._simulation.world.later(int(RESTART_S * 1e6), lambda: self._start_again(process.name))

    def _start_again(self, name: str) -> None:
        if not any(each.name == name for each in self.servers):
            self.start(name)

    async def _serve(self, process: Process) -> None:
        app = self.app(process, SimDispatcher(process, POLL, POLL))
        process.app = app
        while True:
            try:
                await app.start()
            except (StoreUnavailableError, StoreConflictError):
                await asyncio.sleep(1)
            else:
                break

    def app(self, process: Process, dispatcher: SimDispatcher | None) -> Any:
        """An app of the user's workflows in a process."""
        return App(
            self._simulation.surroundings(process),
            workflows=self._simulation.workflows,
            fragments=self._simulation.fragments,
            dispatcher=dispatcher,
            runner=RunnerOptions(lease=LEASE, hook_lease="1 hour", cache=self._cache),
        )
