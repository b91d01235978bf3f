"""The runner: looks when told to, holds and advances runs, gives them back (B2–B4, B6, B7).

    look ─▶ lease held? ─▶ rescue dead runners ─▶ held runs steered? ─▶ claim, load, advance ─▶ when to look next

A dispatcher decides when to look; a look does whatever is due, so lost, doubled and late wakes cost time and never
work. Nothing is lost with the process: what is in memory is a copy of what the database says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime

from keepstep.engine.advancer import Advancer
from keepstep.engine.backoff import Backoff
from keepstep.engine.committer import Committer
from keepstep.engine.intake import Intake
from keepstep.engine.leases import Lease
from keepstep.engine.news import LOOK_S, News
from keepstep.engine.parts import Parts
from keepstep.engine.stopping import where
from keepstep.errors import StoreError
from keepstep.model.duration import to_datetime
from keepstep.store.claims import next_due

log = logging.getLogger(__name__)

DRAIN_LOOK_S = 0.05
LAST_COMMIT_S = 1.0
"""How long a stop waits for a commit that the database does not answer, and for callbacks that were cancelled."""
TOLD_MAX = 3
"""Of how many such callbacks the log tells where they are."""


class Runner:
    """Advances runs of the registered workflows; see the module's head.

    Args:
        on_wake: called with an instant (ms) at which something falls due, or None for now.
    """

    def __init__(self, parts: Parts, on_wake: Callable[[int | None], None]) -> None:
        self._parts = parts
        self._store = parts.store
        self._on_wake = on_wake
        self._trouble = Backoff(first=0.1)
        self._stuck = Backoff(first=0.001, longest=LOOK_S)
        self._looking = asyncio.Lock()
        self._waiting_for_room = False
        self.running = False
        self.lease = Lease(parts, self._lease_lost)
        on_changes = parts.feeds.nudge if parts.feeds.active else None
        self.committer = Committer(parts.store, parts.options.group_max, self._epoch_lost, on_changes)
        self.advancer = Advancer(parts, self.committer, self.lease.holds, self._let_go, self._doubt)
        self.news = News(parts, self.lease, self.advancer, lambda: on_wake(None))
        self.intake = Intake(parts, self.lease, self.committer, self.advancer)

    async def start(self, concurrency: int | None = None) -> None:
        """Take a lease, free what dead processes of this host held, accept looks. Idempotent.

        Args:
            concurrency: runs in hand at the same time; None = as the options say.
        """
        if not self.running:
            self.intake.room = self._parts.options.concurrency if concurrency is None else concurrency
            self._looking = asyncio.Lock()  # the event loop may be another one than last time
            self.advancer.draining = self.intake.full = False
            self.advancer.callbacks.open()
            self._parts.hooks.start()
            self._parts.feeds.start()
            await self._register()
            self.running = True

    async def stop(self) -> None:
        """Drain: boundaries finish, steps in flight get their grace, the rest is given back at once. Idempotent."""
        if not self.running:
            return
        self.running = False
        try:
            async with self._looking, asyncio.TaskGroup() as side_by_side:
                grace_s = self._parts.options.drain_ms / 1000
                side_by_side.create_task(self._parts.hooks.stop(grace_s))
                side_by_side.create_task(self._parts.feeds.stop(grace_s))
                await self._drain()
            await self.news.close()
            await self.lease.release()
        finally:  # of a stop that is given up, too
            self.lease.forget()
            self.committer.drop()
            self.advancer.drop_all()
            self._parts.cache.clear()

    @property
    def workflows(self) -> tuple[str, ...]:
        """The names of the workflows that are registered."""
        return self._parts.registry.names

    async def next_due(self, workflows: Collection[str]) -> datetime | None:
        """When the next run of these workflows falls due, or the next lease on one expires; needs no start."""
        _, due = await self._store.transaction("next_due", next_due(sorted(workflows)), "read")
        return None if due is None else to_datetime(due)

    async def listen(self, on_hint: Callable[[], None]) -> None:
        """Call ``on_hint`` when another process may have made work."""

        def hinted() -> None:
            self.news.hint()
            on_hint()

        await self._store.listen(hinted)

    async def look(self) -> float | None:
        """Do what is due; seconds until something is known to be due, None when nothing is.

        Never raises for trouble of the database: it asks to be called again soon.
        """
        async with self._looking:
            if not self.running:
                return None
            try:
                pause = await self._look()
            except StoreError as error:
                self.news.unsure()
                log.warning("the database is in trouble, looking again soon: %s", error)
                return self._trouble.step()
            self._trouble.reset()
            return pause

    async def _look(self) -> float | None:
        if not self.lease.holds():
            await self._recover()
        if await self.lease.rescue():
            self.intake.marks.forget()
        await self.news.look(self.intake.adopting)
        held = len(self.advancer.held)
        while self.intake.free:
            if not await self.intake.claim_batch():
                break
        self.intake.full = self._waiting_for_room = not self.intake.free
        pauses = [LOOK_S] if self.advancer.held else []
        dues = (await self._parts.hooks.look(), await self._parts.feeds.look())
        pauses += [max(0, due - self._parts.clock.now_ms()) / 1000 for due in dues if due is not None]
        if not self.intake.full:  # else runs that are let go ask for the next look
            pauses += await self._until_due(claimed=len(self.advancer.held) > held)
        return min(pauses, default=None)

    async def _until_due(self, *, claimed: bool) -> list[float]:
        now, due = await self._next_due()
        if due is None or due > now or claimed:
            self._stuck.reset()
            whole = self.intake.marks.whole_look_in
            return ([] if due is None else [max(0, due - now) / 1000]) + ([] if whole is None else [whole])
        # Due, and yet not to be claimed: an expired lease covers it, or another runner has it locked.
        self.lease.expect_dead()
        return [self._stuck.step()]

    async def _next_due(self) -> tuple[int, int | None]:
        marks = self.intake.marks
        since, began = marks.since(), self._parts.seams.clock.monotonic()
        script = next_due(self._parts.registry.names, since)
        found = await self._store.transaction("next_due", script, "read")
        if since is None:
            marks.looked(self._parts.seams.clock.monotonic() - began)
        return found

    async def _register(self) -> None:
        await self.lease.register()
        self.committer.open(self.lease.runner_id, self.lease.epoch)
        await self.lease.rescue(at_start=True)

    async def _recover(self) -> None:
        await self.lease.release()
        await self._register()

    def _epoch_lost(self) -> None:
        self.lease.lose("its epoch was raised")

    def _doubt(self, run_id: int) -> None:
        self.news.doubt(run_id)

    def _lease_lost(self) -> None:
        self.committer.drop()
        self.advancer.drop_all()
        self._parts.cache.clear()
        self._on_wake(None)

    def _let_go(self, run_at: int | None) -> None:
        """A held run was let go: look when it falls due, and claim more once half of the room is free again."""
        if self._waiting_for_room and self.intake.free * 2 >= self.intake.room:
            self._waiting_for_room = False
            self._on_wake(None)
        elif run_at is not None:
            self._on_wake(run_at)

    async def _drain(self) -> None:
        """Let go of what is held: idle runs now, others as their steps end, within the grace period."""
        self.advancer.draining = True
        deadline = asyncio.get_running_loop().time() + self._parts.options.drain_ms / 1000
        while self.advancer.held and self.lease.held and asyncio.get_running_loop().time() < deadline:
            for execution in self.advancer.idle():
                self.advancer.advance(execution)
            await self.advancer.callbacks.one_ended(DRAIN_LOOK_S, self.committer.flights)
        for execution in [each for each in self.advancer.held.values() if not each.committing]:
            self.advancer.drop(execution)
        left = await self.advancer.callbacks.all_ended(LAST_COMMIT_S)
        if left:
            told = "; ".join(sorted(map(where, left))[:TOLD_MAX])
            log.warning(
                "%d callbacks go on although they were cancelled, and nobody waits for them: %s",
                len(left),
                told,
            )
        if self.lease.held:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_COMMIT_S):
                    await self.committer.drained()
