"""Who waits in this process for a run to change: ``result()`` sleeps here instead of polling the database hard."""

from __future__ import annotations

import asyncio
from collections import defaultdict


class Changes:
    """Wakes waiters of a run. A hint: a waiter always reads the database again."""

    def __init__(self) -> None:
        self._waiters: defaultdict[int, set[asyncio.Future[None]]] = defaultdict(set)

    def notify(self, run_id: int) -> None:
        """Wake those who wait for this run."""
        for waiter in self._waiters.pop(run_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    def notify_all(self) -> None:
        """Wake everybody: another process may have changed anything."""
        for run_id in list(self._waiters):
            self.notify(run_id)

    async def wait(self, run_id: int, timeout: float | None) -> None:
        """Return when the run may have changed, or after ``timeout`` seconds."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[run_id].add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            pass
        finally:
            waiters = self._waiters.get(run_id)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    self._waiters.pop(run_id, None)
