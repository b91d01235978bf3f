"""How deliveries of hooks end: outcomes are written as they come, leases are prolonged while handlers run (F1).

Outcomes that come while a write is under way share the next one; each has its own fence and wins or loses alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from keepstep.engine.backoff import Backoff
from keepstep.engine.probe import probe
from keepstep.engine.seams import Clock, DatabaseClock
from keepstep.errors import StoreError
from keepstep.model.hooks import Finished
from keepstep.store.api import Store
from keepstep.store.hooks import finish_hooks, renew_hooks

log = logging.getLogger(__name__)


class HookEnds:
    """Writes for one engine's deliveries.

    Args:
        store: the database.
        clock: this process's.
        database_clock: this process's estimate of database time.
        lease_ms: how long a silent delivery is left alone.
        under_way: gives the claims, as (id, fence), that are to be kept.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        database_clock: DatabaseClock,
        lease_ms: int,
        under_way: Callable[[], Sequence[tuple[int, int]]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._database_clock = database_clock
        self._lease_ms = lease_ms
        self._under_way = under_way
        self._outcomes: list[Finished] = []
        self._writing: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None

    def write(self, finished: Finished) -> None:
        """Write an outcome, now or with the next ones."""
        self._outcomes.append(finished)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(
                self._write_all(), name="keepstep-hook-ends"
            )

    def keep_leases(self) -> None:
        """A delivery has begun: prolong leases until none is under way any more."""
        if self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(
                self._renew(), name="keepstep-hook-leases"
            )

    async def written(self) -> None:
        """Wait until every outcome is written."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    async def close(self) -> None:
        """Write what is left, and prolong no more. Idempotent."""
        await self.written()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])

    async def _write_all(self) -> None:
        try:
            while self._outcomes:
                batch, self._outcomes = self._outcomes, []
                await self._write_batch(batch)
        finally:
            self._writing = None

    async def _write_batch(self, batch: list[Finished]) -> None:
        try:
            await self._store.transaction("finish_hooks", finish_hooks(batch))
            probe("hooks_finished", finished=batch)
        except StoreError as error:
            log.warning("%d outcomes of hooks are written one by one: %s", len(batch), error)
            await asyncio.gather(*map(self._write_alone, batch))

    async def _write_alone(self, finished: Finished) -> None:
        """Write one outcome; given up when its lease is another's in any case: the hook is delivered again then."""
        backoff = Backoff()
        gives_up = self._clock.monotonic() + self._lease_ms / 1000
        while True:
            try:
                await self._store.transaction("finish_hook", finish_hooks([finished]))
            except StoreError as error:
                if self._clock.monotonic() > gives_up:
                    log.warning("the outcome of hook row %d is lost: %s", finished.id, error)
                    return
                await backoff.wait()
            else:
                return

    async def _renew(self) -> None:
        """Prolong the leases of what is under way, every third of a lease."""
        try:
            while True:
                await asyncio.sleep(self._lease_ms / 3000)
                claims = self._under_way()
                if not claims:
                    return
                until = self._database_clock.now_ms() + self._lease_ms
                try:
                    await self._store.transaction("renew_hooks", renew_hooks(claims, until))
                except StoreError as error:
                    log.warning("leases of %d hooks could not be renewed yet: %s", len(claims), error)
        finally:
            self._renewing = None
