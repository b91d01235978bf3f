"""Hints between processes on PostgreSQL: LISTEN and NOTIFY on connections of their own.

A hint says "there may be work", nothing more: it may come late, twice or never, and polling is what correctness rests
on. A NOTIFY inside a write transaction would serialise every commit of the database, so hints are sent after the
commit, at most one in :data:`GAP_MS`, and an outage drops them silently. No work is done or looked for here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

GAP_MS = 5
"""Hints closer together than this are one."""
CLOSE_MS = 1_000
"""How long a close waits for a hint that is on its way."""
PING_MS = 30_000
"""How often a silent listening connection is asked whether it is still there."""
BACKOFF_MS, BACKOFF_MAX_MS = 50, 5_000
"""How long a lost listener waits before it connects again: first, and at most."""


Connect = Callable[[], Awaitable[Any]]
"""Opens an ``asyncpg.Connection``."""

_CHANNEL = (
    "SELECT 'keepstep_' || substr(md5(current_schema()), 1, 12)"  # a channel is its database's own already
)


class Sender:
    """Sends hints, coalesced.

    Args:
        connect: opens a connection; it is kept until it breaks.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._connection: Any = None
        self._channel = ""
        self._wanted = False
        self._sending: asyncio.Task[None] | None = None

    def hint(self) -> None:
        """Send one soon: at once after a quiet time, else together with what is asked for until then."""
        self._wanted = True
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def close(self) -> None:
        """Send no more. One that is on its way arrives: cancelled in its opening, a connection complains."""
        self._wanted = False
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=CLOSE_MS / 1000)
        if self._sending is not None:
            await _stop(self._sending)
        self._drop()

    async def _send(self) -> None:
        try:
            while self._wanted:
                self._wanted = False
                await self._notify()
                await asyncio.sleep(GAP_MS / 1000)
        except Exception:  # noqa: BLE001  # a hint is never worth an error: the poll finds the work
            self._drop()
        finally:
            self._sending = None

    async def _notify(self) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
            self._channel = await self._connection.fetchval(_CHANNEL)
        await self._connection.execute("SELECT pg_notify($1, '')", self._channel)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def is_mine(self, pid: int) -> bool:
        """Whether the server process ``pid`` serves this sender, so that its hints need not be heard here."""
        return self._connection is not None and self._connection.get_server_pid() == pid


class Listener:
    """Hears the hints of other processes, again after each loss of the connection.

    Args:
        connect: opens a connection.
        on_hint: called on the loop; also after a loss, when hints may have been missed.
        is_mine: tells the server process of this process's own sender, which is not listened to.
    """

    def __init__(self, connect: Connect, on_hint: Callable[[], None], is_mine: Callable[[int], bool]) -> None:
        self._connect = connect
        self._on_hint = on_hint
        self._is_mine = is_mine
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen; returns once it does, or once the first attempt has failed and others will follow."""
        self._task = asyncio.get_running_loop().create_task(self._listen())
        await self._tried.wait()

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            await _stop(self._task)

    async def _listen(self) -> None:
        backoff_ms, heard_before = BACKOFF_MS, False
        while True:
            connection: Any = None
            try:
                connection = await self._connect()
                await connection.add_listener(await connection.fetchval(_CHANNEL), self._hear)
                if heard_before:
                    self._on_hint()
                backoff_ms, heard_before = BACKOFF_MS, True
                self._tried.set()
                await _until_lost(connection)
            except Exception:  # noqa: BLE001  # whatever broke: connect again
                self._tried.set()
            finally:
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(backoff_ms / 1000)
            backoff_ms = min(backoff_ms * 2, BACKOFF_MAX_MS)

    def _hear(self, _connection: Any, pid: int, _channel: str, _payload: object) -> None:
        if not self._is_mine(pid):
            self._on_hint()


async def _until_lost(connection: Any) -> None:
    """Return when the connection is gone; a peer that died without a word is found by asking."""
    lost = asyncio.Event()

    def note(_: Any) -> None:
        lost.set()

    connection.add_termination_listener(note)
    if connection.is_closed():
        return
    while not lost.is_set():
        try:
            async with asyncio.timeout(PING_MS / 1000):
                await lost.wait()
        except TimeoutError:
            await connection.execute("SELECT 1")


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
