"""Publishes changes and feeds sinks (F3): numbers what is committed, then hands each sink what follows its place.

    look ─▶ number (under the lock of the stream) ─▶ each sink that is behind: claim ─▶ read, deliver, note ─▶ let go
                                                                              ▲                      │
                                                                              └──── more follows ────┘

Each sink has a place of its own and a task of its own: one that is slow or fails holds back no other. A sink is fed by
one process at a time, under a lease that its fence guards; what was delivered and not noted comes again. Nothing is
skipped: a sink that fails gets the same changes again, later and later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from keepstep.authoring.feed import AnySink, ChangeFeed, HookSink, Sink
from keepstep.authoring.hooks import HOOK_TIMEOUT_MS
from keepstep.engine.attempts import as_data
from keepstep.engine.options import RunnerOptions
from keepstep.engine.probe import probe
from keepstep.engine.seams import DatabaseClock, Seams
from keepstep.errors import StoreError
from keepstep.model.change import Change, change_of
from keepstep.model.ids import KeySource
from keepstep.model.limits import Limits
from keepstep.model.recorded import error_text
from keepstep.model.records import SinkRecord
from keepstep.model.retry import Retry
from keepstep.store.api import Store
from keepstep.store.changes import (
    begin,
    claim_sink,
    free_sink,
    move_sink,
    prune,
    publish,
    put_sink_off,
    read_changes,
    read_sinks,
    read_stream,
    renew_sink,
)
from keepstep.store.hooks import Trigger
from keepstep.store.script import Script

log = logging.getLogger(__name__)

PUBLISH_BATCH = 1000
PRUNE_S = 60.0
PRUNE_BATCH = 5000
SINK_RETRY = Retry(max_attempts=2, delay="1 second", coefficient=2, max_delay="10 minutes", jitter=0.1)
"""How long a sink that failed rests; it is tried for ever."""


class Feeds:
    """The duty of one engine.

    Args:
        store: the database.
        feed: what the host subscribed; None = nothing, and this duty does nothing.
        options: the runner's.
        limits: C10.
        seams: clock and randomness.
        clock: this process's estimate of database time.
        on_due: called with the instant (ms) of a sink's next attempt, or None when hooks have work now.
    """

    def __init__(  # noqa: PLR0917 - each has a type of its own
        self,
        store: Store,
        feed: ChangeFeed | None,
        options: RunnerOptions,
        limits: Limits,
        seams: Seams,
        clock: DatabaseClock,
        on_due: Callable[[int | None], None],
    ) -> None:
        self._store = store
        self._feed = feed
        self._options = options
        self._limits = limits
        self._seams = seams
        self._clock = clock
        self._keys = KeySource(clock.now_ms, seams.random.getrandbits)
        self._on_due = on_due
        self._sinks: dict[str, AnySink] = {} if feed is None else {each.name: each for each in feed.sinks}
        self._feeding: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._looking = asyncio.Lock()
        self._soon: asyncio.Task[None] | None = None
        self._wanted = self._started = self._begun = False
        self._pruned_at = -PRUNE_S

    @property
    def active(self) -> bool:
        """Whether anything is published."""
        return self._feed is not None

    # --- life

    def start(self) -> None:
        """Accept looks. Idempotent."""
        if not self._started:
            self._started = True
            self._looking = asyncio.Lock()  # the event loop may be another one than last time

    async def stop(self, grace_s: float) -> None:
        """Publish no more, give sinks their grace, and let go of those that have not ended. Idempotent."""
        self._started = False
        if self._soon is not None:
            await asyncio.wait([self._soon])
        if self._feeding:
            await asyncio.wait(self._feeding.values(), timeout=grace_s)
        for task in list(self._feeding.values()):
            task.cancel()
        if self._feeding:
            await asyncio.wait(self._feeding.values())

    # --- looking

    async def look(self) -> int | None:
        """Publish, and begin to feed sinks that are behind; when (ms) a sink that rests is due, or None.

        Raises:
            StoreError: the database is in trouble.
        """
        if self._feed is None or not self._started:
            return None
        async with self._looking:
            await self._prune(self._feed)
            return await self._work()

    def nudge(self) -> None:
        """Changes were committed: look soon."""
        if not self._started:
            return
        self._wanted = True
        if self._soon is None:
            self._soon = asyncio.get_running_loop().create_task(self._look_soon(), name="keepstep-feeds")

    async def feed_due(self) -> None:
        """Publish and feed until nothing is due, and wait for the ends. For ticks (B9)."""
        if self._feed is None or self._started:
            return
        while True:
            await self._work()
            if not self._feeding:
                return
            await asyncio.wait(self._feeding.values())

    async def next_due(self) -> int | None:
        """When (ms) a sink that is behind is to be fed next, None when none is behind."""
        if not self._sinks:
            return None
        return min((due for _, due in await self._behind()), default=None)

    async def _look_soon(self) -> None:
        try:
            while self._wanted and self._started:
                self._wanted = False
                due = await self.look()
                if due is not None:
                    self._on_due(due)
        except StoreError as error:
            log.warning("changes could not be published, the next look tries again: %s", error)
        finally:
            self._soon = None

    async def _work(self) -> int | None:
        if not self._begun:
            await self._store.transaction("begin changes", begin(tuple(self._sinks)))
            self._begun = True
        while await self._store.transaction("publish changes", publish(PUBLISH_BATCH)) == PUBLISH_BATCH:
            pass
        now = self._clock.now_ms()
        resting: list[int] = []
        for name, due in await self._behind() if self._sinks else ():
            if name in self._feeding:
                self._again.add(name)
            elif due <= now:
                sink = self._sinks[name]
                task = asyncio.get_running_loop().create_task(
                    self._feed_sink(sink), name=f"keepstep-sink-{name}"
                )
                self._feeding[name] = task
            else:
                resting.append(due)
        return min(resting, default=None)

    async def _behind(self) -> list[tuple[str, int]]:
        """The sinks that have not taken everything, and when each may be fed."""
        asked_at = self._clock.monotonic()

        def script() -> Script[list[tuple[str, int]]]:
            stream = yield from read_stream()
            rows = yield from read_sinks(tuple(self._sinks))
            self._clock.observe(stream.now, asked_at)
            return [(each.name, each.run_at or 0) for each in rows if each.after < stream.published]

        return await self._store.transaction("sinks of changes", script(), "read")

    # --- one sink

    async def _feed_sink(self, sink: AnySink) -> None:
        claimed: SinkRecord | None = None
        lease_ms = self._options.hook_lease_ms
        try:
            claimed = await self._store.transaction("claim sink", claim_sink(sink.name, lease_ms))
            if claimed is not None and await self._drain(sink, claimed):
                await self._store.transaction("free sink", free_sink(sink.name, claimed.fence))
        except StoreError as error:
            log.warning("sink %r is left to the next look: %s", sink.name, error)
        except asyncio.CancelledError:
            if claimed is not None:  # others need not wait for the end of the lease
                await self._store.transaction("free sink", free_sink(sink.name, claimed.fence))
            raise
        finally:
            self._again.discard(sink.name)
            del self._feeding[sink.name]

    async def _drain(self, sink: AnySink, claimed: SinkRecord) -> bool:
        """Deliver until nothing follows; whether the sink is to be let go."""
        after, failures = claimed.after, claimed.attempt
        while True:
            self._again.discard(sink.name)
            page = await self._store.transaction("read changes", read_changes(after, sink.batch), "read")
            if not page:
                if sink.name in self._again:
                    continue
                return True
            found = [change_of(*each) for each in page]
            try:
                triggers = await self._deliver(sink, claimed.fence, found)
            except StoreError:
                raise
            except Exception as failure:  # noqa: BLE001  # a sink may raise anything; it is recorded
                await self._put_off(sink, claimed.fence, failures + 1, failure)
                return False
            moved = move_sink(sink.name, claimed.fence, page[-1].pub_seq, triggers)
            if not await self._store.transaction("move sink", moved):
                log.warning("sink %r was taken over: what follows is another's", sink.name)
                return False
            probe("sink_moved", name=sink.name, after=page[-1].pub_seq)
            if triggers:
                self._on_due(None)
            after, failures = page[-1].pub_seq, 0

    async def _deliver(self, sink: AnySink, fence: int, found: Sequence[Change]) -> list[Trigger]:
        """Have a sink take changes, under a lease that is renewed meanwhile; or give the hooks that will."""
        if not isinstance(sink, Sink):
            return [self._trigger(sink, each) for each in found if sink.takes(each)]
        async with asyncio.timeout(HOOK_TIMEOUT_MS / 1000):
            delivering = asyncio.ensure_future(sink.deliver(found))
            try:
                lease_ms = self._options.hook_lease_ms
                while not (await asyncio.wait([delivering], timeout=lease_ms / 3000))[0]:
                    await self._store.transaction("renew sink", renew_sink(sink.name, fence, lease_ms))
                await delivering
            finally:
                delivering.cancel()
        return []

    def _trigger(self, sink: HookSink, change: Change) -> Trigger:
        payload = sink.hook.encode(change, self._limits)
        return Trigger(self._keys.next(), sink.hook.name, None, None, payload, None)

    async def _put_off(self, sink: AnySink, fence: int, failures: int, error: Exception) -> None:
        found = as_data(error)
        pause_ms = SINK_RETRY.delay_ms(failures, found, self._seams.random.random())
        log.warning("sink %r failed, it is tried again in %d ms: %s", sink.name, pause_ms, error)
        off = put_sink_off(sink.name, fence, pause_ms, error_text(found.info))
        await self._store.transaction("put sink off", off)
        self._on_due(self._clock.now_ms() + pause_ms)

    # --- old rows

    async def _prune(self, feed: ChangeFeed) -> None:
        now = self._seams.clock.monotonic()
        if now < self._pruned_at + PRUNE_S or not self._begun:
            return
        self._pruned_at = now

        def script() -> Script[int]:
            rows = yield from read_sinks(tuple(self._sinks))
            stream = yield from read_stream()
            taken = min((each.after for each in rows), default=stream.published)
            return (yield from prune(taken, self._clock.now_ms() - feed.retention_ms, PRUNE_BATCH))

        if await self._store.transaction("prune changes", script()) >= PRUNE_BATCH:
            self._pruned_at = now - PRUNE_S + 1
