"""The runner's lease: one row, one heartbeat, however many runs it holds (B2–B4).

    register ──▶ held ──renewed every third──▶ held
                  │ cannot renew: shortly before the lease ends  ┐
                  │ the epoch was raised: somebody took over     ┴▶ lost: drop everything, register anew

A lease is a promise about time that only the database's clock measures. This process counts from *before* it sent
the renewal, so that it stops starting steps before anybody else may take over (B4). Losing a lease loses no work:
what was durable is replayed by whoever claims next, and what was not is guarded away (B3).

Dead processes of this very host are recognised by their pid, so that a restart after a crash waits for no lease.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from keepstep.engine.backoff import Backoff
from keepstep.engine.parts import Parts
from keepstep.engine.probe import probe
from keepstep.errors import StoreError
from keepstep.model.records import RunnerRecord
from keepstep.store.claims import (
    register_runner,
    renew,
    runners_of_host,
)
from keepstep.store.rescue import release_runner, rescue, rescue_process

log = logging.getLogger(__name__)

RESCUE_BATCH = 1000


class Lease:
    """This process's right to advance runs.

    Args:
        on_lost: called once when the lease is lost or cannot be renewed in time.
    """

    def __init__(self, parts: Parts, on_lost: Callable[[], None]) -> None:
        self._store = parts.store
        self._lease_ms = parts.options.lease_ms
        self._seams = parts.seams
        self._clock = parts.clock
        self._keys = parts.keys
        self._on_lost = on_lost
        self._renewals: asyncio.Task[None] | None = None
        self._ends = 0.0
        self._rescued_at = -math.inf
        self.runner_id = 0
        self.epoch = 0
        self.held = False

    async def register(self) -> None:
        """Take a new lease; raises ``StoreError`` when the database is away."""
        before = self._seams.clock.monotonic()
        runner_id = self._keys.next()
        now = self._clock.now_ms()
        record = RunnerRecord(runner_id, 1, now + self._lease_ms, self._seams.host, self._seams.pid, now)
        script = register_runner(record, self._lease_ms)
        self._clock.observe(await self._store.transaction("register", script), before)
        self.runner_id, self.epoch, self.held = runner_id, 1, True
        self._ends = before + self._lease_ms / 1000
        probe("registered", runner_id=runner_id)
        self._renewals = asyncio.get_running_loop().create_task(self._keep(), name="keepstep-heartbeat")

    async def release(self) -> None:
        """Give the lease back with all its tasks, so that nobody waits for its expiry; best effort."""
        renewals = self._renewals
        self.forget()
        if renewals is not None:
            await asyncio.wait([renewals])
        try:
            await self._store.transaction(
                "release", release_runner(self._store.dialect, self.runner_id, self.epoch)
            )
        except StoreError as error:
            log.warning("the lease could not be given back, it ends by itself: %s", error)

    def forget(self) -> None:
        """Hold it no more and renew it no more, without a word to the database: it ends by itself."""
        self.held = False
        if self._renewals is not None:
            self._renewals.cancel()
            self._renewals = None

    def lose(self, why: str) -> None:
        """Stop holding it, once: somebody else may hold it now."""
        if self.held:
            self.held = False
            probe("lease_lost", runner_id=self.runner_id, why=why)
            log.warning("runner %d lost its lease: %s", self.runner_id, why)
            self._on_lost()

    def holds(self) -> bool:
        """Whether something may be started under it: held, and not about to end (B4).

        A process that stood still for longer than its lease learns of it here, before it starts anything.
        """
        if self.held and self._seams.clock.monotonic() >= self._ends - self._margin():
            self.lose("it was not renewed in time")
        return self.held

    def expect_dead(self) -> None:
        """Somebody's lease has probably ended: the next :meth:`rescue` looks in any case."""
        self._rescued_at = -math.inf

    async def rescue(self, *, at_start: bool = False) -> list[int]:
        """Free the tasks of runners whose lease has ended, and of dead processes of this host.

        At most one look in a third of the lease, unless ``at_start``. Returns the freed runs.
        """
        now = self._seams.clock.monotonic()
        if not at_start and now - self._rescued_at < min(1.0, self._lease_ms / 3000):
            return []
        self._rescued_at = now
        dialect = self._store.dialect
        freed = await self._store.transaction("rescue", rescue(dialect, RESCUE_BATCH))
        if at_start:
            neighbours = await self._store.transaction(
                "neighbours", runners_of_host(self._seams.host), "read"
            )
            dead = [each.id for each in neighbours if not self._seams.alive(each.pid)]
            if dead:
                freed = freed + await self._store.transaction("rescue", rescue_process(dialect, dead))
        if freed:
            log.info("%d runs of dead runners are free again", len(freed))
        return freed

    async def _keep(self) -> None:
        third = self._lease_ms / 3000
        backoff = Backoff(longest=third)
        pause = third
        while self.held:
            await asyncio.sleep(
                min(pause, max(0.0, self._ends - self._margin() - self._seams.clock.monotonic()))
            )
            if self._seams.clock.monotonic() >= self._ends - self._margin():
                self.lose("it could not be renewed in time")
                return
            try:
                held = await self._renew()
            except (StoreError, TimeoutError) as error:
                log.warning("the lease could not be renewed yet: %s", error)
                pause = backoff.step()
                continue
            if not held:
                self.lose("another runner took it over")
                return
            backoff.reset()
            pause = third

    def _margin(self) -> float:
        return self._lease_ms / 10_000

    async def _renew(self) -> bool:
        before = self._seams.clock.monotonic()
        script = renew(self.runner_id, self.epoch, self._lease_ms)
        async with asyncio.timeout(max(0.01, self._ends - self._margin() - before)):
            until = await self._store.transaction("renew", script)
        if until is None:
            return False
        self._clock.observe(until - self._lease_ms, before)
        self._ends = before + self._lease_ms / 1000
        return True
