"""Delivers hooks: claims what is due, calls handlers, writes each outcome as soon as there is one (F1, F2).

    look ─▶ share free places ─▶ claim ─▶ handlers run side by side ─▶ outcome ─▶ written alone, under its fence
                 ▲                                                        │
                 └──────────── a place is free again ◀────────────────────┘

No delivery waits for another: places are shared so that a slow hook cannot take all, and outcomes are written as they
come; those that come while a write is under way share the next one, each under its own fence. A process that dies
leaves leases that end; whoever looks then makes the next attempt.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from keepstep.authoring.hooks import HookContext, HookDefinition
from keepstep.authoring.trace import NO_TRACE, traced
from keepstep.engine.attempts import as_data, is_async
from keepstep.engine.hookends import HookEnds
from keepstep.engine.options import RunnerOptions
from keepstep.engine.probe import probe
from keepstep.engine.seams import DatabaseClock, Seams
from keepstep.engine.workers import Workers
from keepstep.errors import HookTimeoutError, StoreError
from keepstep.kernel.hooks import plan_outcome, share_places, used_up
from keepstep.model.duration import duration_ms, to_datetime
from keepstep.model.facts import AttemptError
from keepstep.model.hooks import Finished, GivenBack, HookOutcome
from keepstep.model.records import HookRecord
from keepstep.model.status import HookStatus
from keepstep.store.api import Store
from keepstep.store.claims import CLAIM_MODE
from keepstep.store.hooks import FirstDue, claim_hooks, first_due_hooks, prune_hooks

log = logging.getLogger(__name__)

PRUNE_S = 60.0
PRUNE_BATCH = 1000
OTHERS_FASTER_MS = 20
"""When to look again if other processes took everything that was due."""
LARGE_SHARE = 0.75
"""What one hook may take of all places, if it does not say."""


@dataclass(slots=True, eq=False)
class _Delivery:
    row: HookRecord
    hook: HookDefinition[Any]
    ends: float
    """By the monotonic clock: its timeout, after which its lease is not renewed."""
    task: asyncio.Task[None] | None = None


class Hooks:
    """The duty of one engine.

    Args:
        store: the database.
        hooks: the hooks that this process has, by stored name.
        options: the runner's.
        seams: clock and randomness.
        clock: this process's estimate of database time.
    """

    def __init__(
        self,
        store: Store,
        hooks: Mapping[str, HookDefinition[Any]],
        options: RunnerOptions,
        seams: Seams,
        clock: DatabaseClock,
    ) -> None:
        self._store = store
        self._hooks = hooks
        self._options = options
        self._seams = seams
        self._clock = clock
        self._workers = Workers(options.sync_hooks_max)
        self._most = {name: _most(hook, options) for name, hook in hooks.items()}
        self._order = sorted(hooks)
        self._under_way: dict[_Delivery, None] = {}  # in order: a set of objects has one of its own
        self._busy: Counter[str] = Counter()
        self._claimed = 0
        self._ends = HookEnds(store, seams.clock, clock, options.hook_lease_ms, self._unexpired)
        self._feeding: asyncio.Task[None] | None = None
        self._more = False
        self._wanted = False
        self._pruned_at = -PRUNE_S
        self._started = False
        self._claiming = asyncio.Lock()

    # --- life

    def start(self) -> None:
        """Accept looks. Idempotent."""
        if not self._started:
            self._started = True
            self._claiming = asyncio.Lock()  # the event loop may be another one than last time

    async def stop(self, grace_s: float) -> None:
        """Claim no more, give deliveries under way their grace, and give back those that have not ended. Idempotent."""
        self._started = False
        if self._feeding is not None:
            await asyncio.wait([self._feeding])
        tasks = [each.task for each in self._under_way if each.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for each in list(self._under_way):
            self._end(each, GivenBack(self._clock.now_ms()))
            if each.task is not None:
                each.task.cancel()
        await self._ends.close()

    def close(self) -> None:
        """End the threads; a stop came before. Idempotent."""
        self._workers.close()

    # --- looking

    async def look(self) -> int | None:
        """Begin to deliver what is due and finds a place; when (ms) to look next, None when that will be noticed.

        Raises:
            StoreError: the database is in trouble.
        """
        if not self._hooks or not self._started:
            return None
        await self._prune()
        async with self._claiming:
            return await self._claim()

    async def deliver_due(self) -> int:
        """Deliver until nothing is due, and wait for the ends; how many deliveries were made. For ticks (B9)."""
        before, seen = self._claimed, -1
        while self._hooks and self._claimed != seen:
            seen = self._claimed
            await self._claim()
            tasks = [each.task for each in self._under_way if each.task is not None]
            if tasks:
                await asyncio.wait(tasks)
            await self._ends.written()
        return self._claimed - before

    async def next_due(self) -> int | None:
        """When the next hook is due (ms), None when none is pending."""
        first = await self._first_due(self._order)
        return None if first is None else min(first.dues.values())

    async def _first_due(self, of: Sequence[str]) -> FirstDue | None:
        if not of:
            return None
        script = first_due_hooks(self._store.dialect, of)
        return await self._store.transaction("first_due_hooks", script, "read")

    async def _claim(self) -> int | None:
        """Claim and begin what is due and finds a place; when (ms) the next is due, None when its end will say."""
        while True:
            hungry = [name for name in self._order if self._busy[name] < self._most[name]]
            free = self._options.hooks - len(self._under_way)
            self._more = free <= 0 or len(hungry) < len(self._order)
            asked_at = self._clock.monotonic()
            first = await self._first_due(hungry) if free > 0 else None
            if first is None:
                return None
            self._clock.observe(first.now, asked_at)
            ready = [name for name in hungry if first.dues.get(name, first.now + 1) <= first.now]
            if not ready:
                return min(first.dues.values())
            free = self._options.hooks - len(self._under_way)
            places = share_places(ready, self._busy, self._most, free)
            claim = claim_hooks(self._store.dialect, places, self._options.hook_lease_ms, first.now)
            claimed = await self._store.transaction("claim_hooks", claim, CLAIM_MODE[self._store.dialect])
            for row in claimed:
                self._begin(row)
            self._order.append(self._order.pop(0))
            if not claimed:
                return first.now + OTHERS_FASTER_MS

    async def _feed(self) -> None:
        """Claim again, because places are free and more is due."""
        try:
            while self._wanted and self._started:
                self._wanted = False
                async with self._claiming:
                    await self._claim()
        except StoreError as error:
            log.warning("hooks could not be claimed, the next look tries again: %s", error)
        finally:
            self._feeding = None

    # --- one delivery

    def _begin(self, row: HookRecord) -> None:
        self._claimed += 1
        hook = self._hooks[row.name]
        dead = used_up(row, hook.retry)
        if dead is not None:
            self._ends.write(Finished(row.id, row.fence, dead, self._clock.now_ms()))
            return
        delivery = _Delivery(row, hook, self._seams.clock.monotonic() + hook.timeout_ms / 1000)
        self._under_way[delivery] = None
        self._busy[row.name] += 1
        loop = asyncio.get_running_loop()
        delivery.task = loop.create_task(self._deliver(delivery), name=f"keepstep-hook-{row.name}")
        self._ends.keep_leases()

    async def _deliver(self, delivery: _Delivery) -> None:
        row, hook = delivery.row, delivery.hook
        probe("hook", id=row.id, name=row.name, attempt=row.attempt)
        error: AttemptError | None = None
        try:
            trace = NO_TRACE if row.trace is None else orjson.loads(row.trace)
            with traced(trace):
                await self._call(hook, _context(row, hook, trace), row)
        except asyncio.CancelledError as cancelled:
            if delivery not in self._under_way:
                raise
            error = as_data(cancelled)
        except Exception as failure:  # a handler may raise anything; it is recorded
            log.debug("hook %s row %d attempt %d failed", row.name, row.id, row.attempt, exc_info=failure)
            error = as_data(failure)
        now, draw = self._clock.now_ms(), self._seams.random.random()
        self._end(delivery, plan_outcome(row, hook.retry, error, now, draw))

    async def _call(self, hook: HookDefinition[Any], context: HookContext, row: HookRecord) -> None:
        payload = hook.codec.decode(row.payload)
        timeout = asyncio.timeout(hook.timeout_ms / 1000)
        try:
            async with timeout:
                if is_async(hook.fn):
                    await hook.fn(context, payload)
                else:
                    await self._workers.run(hook.fn, context, payload)
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise HookTimeoutError(
                f"attempt {row.attempt} of hook {row.name!r} ran longer than its timeout of {hook.timeout_ms / 1000:g} s"
            ) from error

    def _end(self, delivery: _Delivery, outcome: HookOutcome) -> None:
        if delivery not in self._under_way:
            return
        self._under_way.pop(delivery, None)
        self._busy[delivery.row.name] -= 1
        row = delivery.row
        self._ends.write(Finished(row.id, row.fence, outcome, self._clock.now_ms()))
        half_free = len(self._under_way) * 2 <= self._options.hooks
        if self._more and (half_free or self._busy[row.name] * 2 <= self._most[row.name]):
            self._wanted = True
            if self._feeding is None and self._started:
                self._feeding = asyncio.get_running_loop().create_task(
                    self._feed(), name="keepstep-hook-feed"
                )

    def _unexpired(self) -> list[tuple[int, int]]:
        """The claims of what is under way and not beyond its timeout."""
        now = self._seams.clock.monotonic()
        return [(each.row.id, each.row.fence) for each in self._under_way if each.ends > now]

    # --- old rows

    async def _prune(self) -> None:
        now = self._seams.clock.monotonic()
        if now < self._pruned_at + PRUNE_S:
            return
        self._pruned_at = now
        at = self._clock.now_ms()
        kept_ms = duration_ms(self._options.hook_retention)
        ends = {
            HookStatus.DELIVERED: at - kept_ms,
            HookStatus.MERGED: at - kept_ms,
            HookStatus.DEAD: at - duration_ms(self._options.dead_hook_retention),
        }
        pruned = await self._store.transaction("prune_hooks", prune_hooks(ends, PRUNE_BATCH))
        if pruned >= PRUNE_BATCH:
            self._pruned_at = now - PRUNE_S + 1


def _most(hook: HookDefinition[Any], options: RunnerOptions) -> int:
    """How many deliveries of a hook may be under way at once."""
    if hook.concurrency is not None:
        return min(hook.concurrency, options.hooks)
    room = options.hooks if is_async(hook.fn) else min(options.sync_hooks_max, options.hooks)
    return max(1, int(room * LARGE_SHARE))


def _context(row: HookRecord, hook: HookDefinition[Any], trace: Mapping[str, str]) -> HookContext:
    return HookContext(
        str(row.id), row.name, row.attempt, to_datetime(row.created_at), row.key, trace, hook.mount
    )
