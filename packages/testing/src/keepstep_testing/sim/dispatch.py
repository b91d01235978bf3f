"""The dispatcher of simulated runners: the real poll; its wake-ups are messages that the world may lose or double."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keepstep_node import PollingDispatcher

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process


class SimDispatcher(PollingDispatcher):
    """See the module's head."""

    def __init__(self, process: Process, interval: str = "1 second", idle_max: str = "5 seconds") -> None:
        super().__init__(interval=interval, idle_max=idle_max)
        self._process = process

    async def _pause(self, due_s: float | None) -> None:
        """Wait as the poll does; and, while the host's timers stand still, for them to go on."""
        await super()._pause(due_s)
        paused_until_us = self._process.dispatch_paused_until_us
        if paused_until_us > self._process.world.clock.us:
            await self._process.gate("dispatch", after_us=paused_until_us)

    async def wake(self, at: datetime | None = None) -> None:  # it looks now in any case
        """Send the runner a message to look."""
        self._process.world.send(self._process, "wake", self._looking.woken.set)
