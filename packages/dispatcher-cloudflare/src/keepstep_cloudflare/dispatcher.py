"""The dispatcher for an app that scales to zero: a Durable Object's alarm calls it when something is due.

It decides nothing and runs nothing: it has the Worker told, after a commit, by when to call, and checks from time to
time that the Worker knows. Ticks arrive at :mod:`keepstep_cloudflare.endpoint`. No HTTP and no signature may live
here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar, Literal

import httpx

from keepstep.engine.dispatch import Looker
from keepstep.engine.seams import Clock, SystemClock
from keepstep.errors import StoreError, UsageError
from keepstep.model.duration import duration_ms, instant_ms
from keepstep_cloudflare.endpoint import TickEndpoint, tick_endpoint
from keepstep_cloudflare.ensuring import Ensurer, Schedule
from keepstep_cloudflare.shards import Shards, shards_of
from keepstep_cloudflare.signatures import Keyring, Secrets
from keepstep_cloudflare.slices import Ticked

log = logging.getLogger("keepstep.dispatcher")

LAST_ENSURE_S = 3.0
"""How long a stop waits for the Worker to confirm what is still wanted."""
NOW = 0
"""An instant that is past on every clock: by this machine's own, "now" may be minutes away for the Worker."""
TROUBLE_S = 5.0
"""How soon the database is asked again after it was away."""


class CloudflareDispatcher:
    """Has a Worker's alarm tick the app.

    Args:
        url: where the Worker is, such as ``https://keepstep.you.workers.dev``.
        shard: the name of this app's alarm on the Worker's allow-list, or :class:`Shards` for several of them.
        schedule_secrets: sign what the app sends to the Worker.
        tick_secrets: the Worker signs ticks with one of them.
        tick_url: where ticks arrive, exactly as the Worker has it.
        heartbeat: how often a process that stays up checks that the Worker knows what is due.
        drain: how long a stop waits for ticks in flight before it cancels them.
        headers: go with each request to the Worker, such as a Cloudflare Access service token.
        timeout: for one request to the Worker.
        clock: time instead of the machine's, for tests.
        transport: instead of the network, for tests.

    Raises:
        UsageError: a value that cannot be used.
        InvalidDurationError: a duration that cannot be read.
    """

    remote: ClassVar[Literal[True]] = True

    def __init__(
        self,
        url: str,
        shard: str | Shards,
        schedule_secrets: Secrets,
        tick_secrets: Secrets,
        *,
        tick_url: str,
        heartbeat: str | timedelta = "15 minutes",
        drain: str | timedelta = "10 seconds",
        headers: Mapping[str, str] | None = None,
        timeout: str | timedelta = "10 seconds",
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        for what, value in (("url", url), ("tick_url", tick_url)):
            if not value.startswith(("https://", "http://")):
                raise UsageError(f"{what} must be an https://…, not {value!r}")
        self._heartbeat_ms = duration_ms(heartbeat, "heartbeat")
        if self._heartbeat_ms < 1000:
            raise UsageError(f"heartbeat must be at least 1 second, not {heartbeat!r}")
        self._drain_s = duration_ms(drain, "drain") / 1000
        self._url = url
        self._shard = shard
        self._shards = shards_of(shard)
        self._keys = Keyring(schedule_secrets, "schedule_secrets")
        Keyring(tick_secrets, "tick_secrets")  # refuses bad ones now, not when an endpoint is made
        self._tick_secrets = tick_secrets
        self._tick_url = tick_url
        self._headers = headers or {}
        self._timeout_s = duration_ms(timeout, "timeout") / 1000
        self._clock = clock or SystemClock()
        self._transport = transport
        self._endpoints: list[TickEndpoint] = []
        self._runner: Looker | None = None
        self._schedule: Schedule | None = None
        self._ensurers: dict[str, Ensurer] = {}
        self._known: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._unsure = asyncio.Event()
        self._sure = asyncio.Event()

    def __repr__(self) -> str:
        return f"<CloudflareDispatcher {self._url} {', '.join(self._shards.names)}>"

    def endpoint(
        self,
        app: Ticked,
        *,
        max_instances: int = 100,
        max_time: str | timedelta = "10 seconds",
        answer_within: str | timedelta = "20 seconds",
    ) -> TickEndpoint:
        """The ASGI app at which this dispatcher's ticks arrive, to mount at ``tick_url``; a stop drains it.

        Args:
            app: the app that has this dispatcher.
            max_instances: how many instances one tick advances, at most.
            max_time: a tick begins no further instances after this time.
            answer_within: a tick whose steps take longer is answered with 503; they go on.
        """
        made = tick_endpoint(
            app,
            self._tick_secrets,
            shard=self._shard,
            aud=self._tick_url,
            max_instances=max_instances,
            max_time=max_time,
            answer_within=answer_within,
        )
        self._endpoints.append(made)
        return made

    async def start(self, runner: Looker) -> None:
        """Tell the Worker in the background what is due, and go on checking. A second start changes nothing.

        Raises:
            UsageError: it serves another app; each app needs a dispatcher of its own.
        """
        if self._runner is runner:
            return
        if self._runner is not None:
            raise UsageError("this CloudflareDispatcher serves another app already; give each app its own")
        self._runner, self._known = runner, {}
        self._unsure, self._sure = asyncio.Event(), asyncio.Event()
        self._schedule = Schedule(
            self._url,
            self._keys,
            headers=self._headers,
            timeout_s=self._timeout_s,
            transport=self._transport,
        )
        self._ensurers = {name: Ensurer(name, self._schedule.ensure) for name in self._shards.names}
        self._tasks = [
            asyncio.create_task(each.run(), name=f"keepstep ensure {name}")
            for name, each in self._ensurers.items()
        ]
        self._tasks.append(asyncio.create_task(self._reconcile(runner), name="keepstep reconcile"))
        for endpoint in self._endpoints:
            endpoint.open()

    async def wake(self, at: datetime | None = None) -> None:
        """Have the Worker call no later than ``at`` (None = now); returns at once, before it knows.

        With several shards the database says which of them it concerns.
        """
        if len(self._ensurers) > 1:
            self._unsure.set()
            self._sure.clear()
            return
        for each in self._ensurers.values():
            each.want(NOW if at is None else instant_ms(at))

    async def settled(self, timeout: str | timedelta = "5 seconds") -> bool:
        """Wait until the Worker knows what was committed before this call; whether it does.

        For hosts that stop a process's background work when it has answered a request: await it before you answer.
        """
        for _ in range(3):  # a commit's wake-up takes up to three turns of the loop
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(duration_ms(timeout, "timeout") / 1000):
                if self._runner is not None:
                    await self._sure.wait()
                for each in self._ensurers.values():
                    await each.settled()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Refuse ticks, let those in flight end, tell the Worker what is still wanted. A second stop changes nothing."""
        if self._runner is None:
            return
        await asyncio.gather(*(each.drain(self._drain_s) for each in self._endpoints))
        for each in self._ensurers.values():
            each.hurry()
        if not await self.settled(timedelta(seconds=LAST_ENSURE_S)):
            log.warning("the Worker does not know all that is due; the next start tells it")
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        assert self._schedule is not None
        await self._schedule.close()
        self._runner, self._schedule, self._ensurers, self._tasks = None, None, {}, []

    async def _reconcile(self, runner: Looker) -> None:
        """Tell the Worker what the database says: at the start, each heartbeat, and when a wake has no shard."""
        everything = True
        while True:
            self._unsure.clear()
            try:
                await self._reconcile_once(runner, everything=everything)
            except Exception as error:
                pause_s = TROUBLE_S
                expected = isinstance(error, StoreError)
                log.warning("what is due cannot be asked: %s", error, exc_info=None if expected else error)
            else:
                pause_s, everything = self._heartbeat_ms / 1000, False
                if not self._unsure.is_set():
                    self._sure.set()
            try:
                async with asyncio.timeout(pause_s):
                    await self._unsure.wait()
            except TimeoutError:
                everything = True

    async def _reconcile_once(self, runner: Looker, *, everything: bool) -> None:
        """Want of each shard what is due, if it is something new or ``everything`` is to be said again.

        What was said before and is still due needs no saying: each tick's answer says it. Where nothing is due a
        shard's heartbeat is started, so that it would find what a lost wake leaves.
        """
        for name, ensurer in self._ensurers.items():
            due_at = await runner.next_due(self._shards.workflows(name, runner.workflows))
            due_ms = None if due_at is None else instant_ms(due_at)
            if everything:
                ensurer.want(self._clock.now_ms() + self._heartbeat_ms if due_ms is None else due_ms)
            elif due_ms is not None and due_ms != self._known.get(name):
                ensurer.want(due_ms)
            if due_ms is None:
                self._known.pop(name, None)
            else:
                self._known[name] = due_ms
