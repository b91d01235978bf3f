"""Async SQLite connections that may be cancelled at any moment (C6), and still give back the database's write lock.

A step's session is cancelled wherever it is: on a lost lease, at a timeout, at the end of the process. What its thread
is doing goes on, and the connection is closed behind it, sometimes twice. Two things must not come of that:

- A connection that SQLite closes while somebody has a cursor of it, a traceback for instance, keeps its transaction,
  and nobody can write any more. So it rolls back first.
- aiosqlite's thread ends at the first stop; whoever awaits a second one waits for ever. So there is only one.

Imported only where the first such session is opened: aiosqlite need not be installed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from functools import partial
from typing import Any, cast

import aiosqlite


class _RollsBack(sqlite3.Connection):
    def close(self) -> None:
        with suppress(sqlite3.Error):  # nothing to roll back, or closed before
            self.rollback()
        super().close()


class _StopsOnce(aiosqlite.Connection):
    _stopped: asyncio.Future[Any] | None = None

    def stop(self) -> asyncio.Future[Any] | None:
        if self._stopped is None:
            self._stopped = cast("asyncio.Future[Any] | None", super().stop())  # pyright: ignore[reportUnknownMemberType]  # its type has no argument
        return self._stopped

    async def close(self) -> None:
        if self._stopped is None:
            await super().close()
        else:
            await asyncio.wait([self._stopped])  # others may be cancelled while they await it


async def connect(path: str, timeout_s: float) -> aiosqlite.Connection:
    """Open a connection whose thread keeps no process from ending.

    Args:
        path: the file.
        timeout_s: how long a statement tries while others hold the write lock.
    """
    connection = _StopsOnce(partial(_open, path, timeout_s), 64)
    thread: Any = getattr(connection, "_thread", connection)  # before 0.22 it is the thread
    thread.daemon = True
    return await connection


def _open(path: str, timeout_s: float) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=timeout_s, check_same_thread=False, factory=_RollsBack)
