"""The engine as an app sees it: one store, one registry, one runner; verbs for clients, ticks for serverless hosts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from keepstep.authoring.feed import ChangeFeed
from keepstep.authoring.hooks import HookDefinition
from keepstep.authoring.registry import Registry
from keepstep.engine.advancer import RETRY_BROKEN_MS
from keepstep.engine.attempts import Attempts
from keepstep.engine.backoff import Backoff
from keepstep.engine.cache import Cache
from keepstep.engine.changes import Changes
from keepstep.engine.committer import Verdict
from keepstep.engine.dispatch import Dispatcher
from keepstep.engine.feeds import Feeds
from keepstep.engine.hooks import Hooks
from keepstep.engine.optimistic import Optimist
from keepstep.engine.options import RunnerOptions
from keepstep.engine.own import OwnTransactions
from keepstep.engine.parts import Parts
from keepstep.engine.rotation import Rotation
from keepstep.engine.runner import Runner
from keepstep.engine.seams import DatabaseClock, Seams
from keepstep.engine.userwrites import UserWrites
from keepstep.engine.workers import Workers
from keepstep.errors import LeaseLostError, StoreConflictError, StoreUnavailableError
from keepstep.kernel.create import unclaimed
from keepstep.model.duration import to_datetime
from keepstep.model.ids import KeySource
from keepstep.model.limits import Limits
from keepstep.model.outcome import TickResult
from keepstep.model.plan import Creation
from keepstep.store.api import Store
from keepstep.store.claims import Claimed, due, next_due
from keepstep.store.runs import insert_creations
from keepstep.store.script import ScriptSource
from keepstep.store.sessions import Sessions

log = logging.getLogger(__name__)

T = TypeVar("T")

TRIES_MAX = 8
"""How often a verb is tried again after a conflict with another transaction."""
TICK_BATCH = 100
NO_HOOKS: Mapping[str, HookDefinition[Any]] = MappingProxyType({})


class Engine:
    """Everything that runs, owned by one app; no globals.

    Args:
        store: the database; opened by :meth:`open`.
        registry: the workflows this process can advance.
        options: how its runner works.
        limits: C10.
        seams: clock, randomness, identity.
        sessions: where transactions of the user's own are opened (C8); None = nowhere.
        hooks: the hooks that this process can deliver, by stored name (F1).
        feed: the changes that are published, and where they go (F3); None = none.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        options: RunnerOptions,
        limits: Limits,
        seams: Seams,
        sessions: Sessions | None = None,
        hooks: Mapping[str, HookDefinition[Any]] = NO_HOOKS,
        feed: ChangeFeed | None = None,
    ) -> None:
        self.store = store
        self.registry = registry
        self.limits = limits
        self.options = options
        self.seams = seams
        self.clock = DatabaseClock(seams.clock)
        self.keys = KeySource(self.clock.now_ms, seams.random.getrandbits)
        self.changes = Changes()
        self.dispatcher: Dispatcher | None = None
        self._workers = Workers(options.sync_steps_max)
        self.hooks = Hooks(store, hooks, options, seams, self.clock)
        self._rotation = Rotation(seams.random)
        self.feeds = Feeds(store, feed, options, limits, seams, self.clock, self.wake)
        parts = _parts(self, self._workers, self._rotation, sessions)
        self._user_writes = parts.user_writes
        self.own = OwnTransactions(sessions, self._workers)
        self.runner = Runner(parts, self.wake)
        self._optimist = Optimist(parts)
        self._wake_at: int | None = None
        self._waking: asyncio.Task[None] | None = None
        self._wanted = False

    # --- life

    async def open(self) -> None:
        """Connect. Idempotent."""
        await self.store.open()

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        if self._waking is not None:
            self._waking.cancel()
            await asyncio.wait([self._waking])
            self._waking = None
        self._workers.close()
        try:
            await self._user_writes.close()
        finally:
            await self.store.close()

    async def start(self, concurrency: int | None = None) -> None:
        """Start the runner: it takes a lease and accepts looks. Idempotent."""
        await self.runner.start(concurrency)

    async def stop(self) -> None:
        """Stop the runner: it drains and gives its runs back. Idempotent."""
        await self.runner.stop()

    # --- verbs

    async def create(self, plan: Callable[[int | None], Sequence[Creation]]) -> frozenset[int]:
        """Write new runs, all in one transaction; the run ids that are in place, existing instances left out (E2).

        While the runner runs they join the next group commit and, where there is room, start at once.

        Args:
            plan: plans them, as claimed by a runner or, given None, by nobody.
        """
        if self.runner.running and self.runner.lease.held:
            return await self._adopt(plan(self.runner.lease.runner_id))
        creations = plan(None)
        kept = await self.run("create", lambda: insert_creations(self.store.dialect, creations))
        if kept:
            self.touched()
        return kept

    async def run(self, label: str, script: ScriptSource[T]) -> T:
        """Run a script in a write transaction of its own; ``script`` makes a fresh one for each try.

        Raises:
            StoreUnavailableError: the database is away; whether the write took place is unknown.
            StoreConflictError: still in conflict after some tries.
        """
        backoff = Backoff(first=0.005, longest=0.1)
        for _ in range(TRIES_MAX - 1):
            try:
                return await self.store.transaction(label, script())
            except StoreConflictError as error:
                log.debug("%s is tried again: %s", label, error)
                await backoff.wait()
        return await self.store.transaction(label, script())

    async def read(self, label: str, script: ScriptSource[T]) -> T:
        """Run a script that only reads; tried once more when the connection broke."""
        try:
            return await self.store.transaction(label, script(), "read")
        except (StoreConflictError, StoreUnavailableError):
            return await self.store.transaction(label, script(), "read")

    def touched(self, run_id: int | None = None) -> None:
        """After a commit that may have made work: nudge the runner, the dispatcher and other processes."""
        self.runner.news.hint()
        self.store.hint()
        if run_id is not None:
            self.changes.notify(run_id)
        self.wake(None)

    def wake(self, at: int | None) -> None:
        """Have the dispatcher look no later than ``at`` (ms; None = now). Coalesced."""
        if self.dispatcher is None:
            return
        if not self._wanted:
            self._wanted, self._wake_at = True, at
        elif at is None or (self._wake_at is not None and at < self._wake_at):
            self._wake_at = at
        if self._waking is None:
            self._waking = asyncio.get_running_loop().create_task(self._wake(), name="keepstep-wake")

    # --- ticks without a runner (B9)

    async def tick(
        self, max_instances: int | None = None, workflows: Sequence[str] | None = None
    ) -> TickResult:
        """Advance what is due, each run until it waits or ends, every boundary in one transaction of its own.

        Args:
            max_instances: most runs to advance; None = all that are due.
            workflows: names of the only ones to look at; None = all.
        """
        names = self.registry.names if workflows is None else workflows
        processed = 0
        lost: set[int] = set()
        while max_instances is None or processed < max_instances:
            now, earliest = await self._next_due(names)
            if earliest is None or earliest > now:
                break
            batch = TICK_BATCH if max_instances is None else min(TICK_BATCH, max_instances - processed)
            turns = self._rotation.order(names)
            found = await self.read("due", partial(due, batch + len(lost), turns))
            ready = [each for each in found if each.run.id not in lost][:batch]
            if not ready:
                break
            for each in ready:
                if not await self._advance(each):
                    lost.add(each.run.id)
            self._rotation.serve({each.run.workflow for each in ready})
            processed += len(ready)
        now, earliest = await self._next_due(names)
        hook_due = await self._deliver_hooks()
        first = min((each for each in (earliest, hook_due) if each is not None), default=None)
        return TickResult(processed, None if first is None else to_datetime(max(first, now)))

    async def run_until_idle(self) -> int:
        """Tick until nothing is due now; how many runs were advanced. Timers of the future stay."""
        processed = 0
        while ticked := (await self.tick()).processed:
            processed += ticked
        return processed

    async def _deliver_hooks(self) -> int | None:
        """Publish changes, deliver what is due, and say when the next hook or sink is."""
        if self.runner.running:
            return None  # it delivers them
        await self.feeds.feed_due()
        await self.hooks.deliver_due()
        dues = (await self.hooks.next_due(), await self.feeds.next_due())
        return min((each for each in dues if each is not None), default=None)

    async def _advance(self, due: Claimed) -> bool:
        """Tick one run through; False when it is another's, or cannot be advanced now. Others go on in any case."""
        try:
            return await self._optimist.advance(due)
        except (StoreConflictError, LeaseLostError) as error:
            log.info("run %d is left to another tick: %s", due.run.id, error)
        except StoreUnavailableError:
            raise
        except Exception:
            log.exception("run %d could not be advanced; it is tried again later", due.run.id)
            await self._optimist.put_off(due, RETRY_BROKEN_MS)
        return False

    async def _next_due(self, names: Sequence[str]) -> tuple[int, int | None]:
        asked_at = self.clock.monotonic()
        now, earliest = await self.read("next_due", partial(next_due, names))
        self.clock.observe(now, asked_at)
        return now, earliest

    # --- inside

    async def _adopt(self, creations: Sequence[Creation]) -> frozenset[int]:
        """Have them written with the next group, and return when each is told what became of it."""
        all_told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        kept: set[int] = set()
        unsure: list[Creation] = []

        def told(creation: Creation, verdict: Verdict) -> None:
            if verdict is Verdict.KEPT:
                kept.add(creation.run.id)
            else:
                unsure.append(creation)
            if len(kept) + len(unsure) == len(creations) and not all_told.done():
                all_told.set_result(None)

        held = [
            self.runner.intake.adopt(each, partial(told, each), joined=number > 0)
            for number, each in enumerate(creations)
        ]
        if held:
            await all_told
        if unsure:
            # Ids exist, or the lease went, or an answer of the database was lost: the table says which. One group held
            # them all, so what was not kept of it was either refused one by one or is all of it.
            again = [unclaimed(each) for each in unsure]
            kept |= await self.run("create", partial(insert_creations, self.store.dialect, again))
        if unsure or not all(held):  # else nobody else has anything to do
            self.touched()
        return frozenset(kept)

    async def _wake(self) -> None:
        try:
            while self._wanted and self.dispatcher is not None:
                self._wanted, at = False, self._wake_at
                await self.dispatcher.wake(_instant(at))
        except Exception:
            log.exception("the dispatcher could not be woken; its own polling has to notice")
        finally:
            self._waking = None


def _instant(at: int | None) -> datetime | None:
    return None if at is None else to_datetime(at)


def _parts(engine: Engine, workers: Workers, rotation: Rotation, sessions: Sessions | None) -> Parts:
    """What the duties of one engine share."""
    options, seams, clock = engine.options, engine.seams, engine.clock
    attempts = Attempts(workers, engine.limits, clock, seams, engine.registry)
    keys = KeySource(clock.now_ms, seams.random.getrandbits)  # not the loop's: threads ask it
    return Parts(
        store=engine.store,
        registry=engine.registry,
        options=options,
        limits=engine.limits,
        seams=seams,
        clock=clock,
        keys=engine.keys,
        changes=engine.changes,
        cache=Cache(options.cache, options.cache_bytes),
        attempts=attempts,
        user_writes=UserWrites(sessions, attempts, keys, engine.touched),
        hooks=engine.hooks,
        rotation=rotation,
        feeds=engine.feeds,
    )
