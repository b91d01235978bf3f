"""A worker: a process that runs an app until it is told to end, then drains.

    start ─▶ running ─ first SIGTERM or SIGINT ─▶ draining ─▶ end
                                                     └─ second one ─▶ leaves at once

What a worker that leaves at once had in hand is taken over like that of one that died (B2). No work is done or looked
for here: that is the app's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Generator
from typing import Any, NoReturn

from keepstep import App, UsageError
from keepstep.engine.dispatch import RemoteDispatcher
from keepstep.errors import StoreError
from keepstep_node.health import health_served
from keepstep_node.polling import PollingDispatcher

logger = logging.getLogger("keepstep.worker")

PING_S = 2.0
"""A database that takes longer to answer counts as away."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Worker:
    """One app in one process.

    Args:
        app: what it runs. An app whose dispatcher is None, one that only commits wherever else it runs, is given a
            :class:`PollingDispatcher` here.
        concurrency: runs in hand at the same time; None = as the app's options say.
        migrate: whether it brings the database's schema up to date at its start.

    Raises:
        UsageError: the app has itself ticked from elsewhere.
    """

    def __init__(self, app: App[Any], *, concurrency: int | None = None, migrate: bool = True) -> None:
        if isinstance(app.dispatcher, RemoteDispatcher):
            raise UsageError(
                f"{app!r} is ticked from elsewhere by {app.dispatcher!r}: serve its endpoint, it needs no worker"
            )
        self._app = app
        self._concurrency = concurrency
        self._migrate = migrate
        self._told: asyncio.Event | None = None
        self._signals = 0
        self._not_ready: str | None = "starting"
        self._asking: asyncio.Task[None] | None = None

    async def run(self, *, health_host: str = "127.0.0.1", health_port: int | None = None) -> None:
        """Run until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

        Args:
            health_host: where health checks are answered,
            health_port: at which port; 0 = a free one, None = nowhere.

        Raises:
            StoreError: the database cannot be reached at the start, or has another schema.
            UsageError: health checks cannot be answered there.
        """
        self._told = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(self._signals_heard(asyncio.get_running_loop()))
            if health_port is not None:
                port = await stack.enter_async_context(
                    health_served(health_host, health_port, self.why_not_ready)
                )
                logger.info("health at http://%s:%d/livez and /readyz", health_host, port)
            if await self._started():
                self._not_ready = None
                logger.info("running %s, process %d", self._app, os.getpid())
                await self._told.wait()
            self._not_ready = "draining"
            logger.info("draining; a second signal leaves at once")
            await self._app.stop()
            logger.info("stopped")

    async def why_not_ready(self) -> str | None:
        """Why the worker is not ready: it starts, it drains, or its database is away; None when it is."""
        if self._not_ready is not None:
            return self._not_ready
        if self._asking is None or self._asking.done():  # checks at the same time share one question
            self._asking = asyncio.create_task(self._app.ping(), name="keepstep readiness")
            self._asking.add_done_callback(_look_at_error)
        try:
            async with asyncio.timeout(PING_S):
                await asyncio.shield(self._asking)
        except (StoreError, TimeoutError) as error:
            return f"the database is away: {error or 'no answer'}"
        return self._not_ready

    async def _started(self) -> bool:
        """Start the app; False when a signal came first."""
        assert self._told is not None
        dispatcher = PollingDispatcher() if self._app.dispatcher is None else None
        starting = asyncio.create_task(
            self._app.start(migrate=self._migrate, dispatcher=dispatcher, concurrency=self._concurrency)
        )
        told = asyncio.create_task(self._told.wait())
        await asyncio.wait([starting, told], return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.wait([starting])
            return False
        await starting
        return True

    @contextlib.contextmanager
    def _signals_heard(self, loop: asyncio.AbstractEventLoop) -> Generator[None]:
        """Hear signals also while the loop is busy: their handlers run between any two instructions."""

        def heard(number: int, _: object) -> None:
            self._signals += 1
            if self._signals > 1:
                _leave(number)
            logger.info("%s", signal.Signals(number).name)
            assert self._told is not None
            loop.call_soon_threadsafe(self._told.set)

        before = {number: signal.signal(number, heard) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _leave(number: int) -> NoReturn:
    logger.warning("%s again: leaving at once", signal.Signals(number).name)
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(128 + number)


def _look_at_error(task: asyncio.Task[None]) -> None:
    """A question that nobody waits for any more still has its error looked at."""
    if not task.cancelled():
        task.exception()
