"""The SQLite executor: scripts on the stdlib's ``sqlite3``, on the host loop's own thread.

A write is short (tens of microseconds) and SQLite has one writer, so it runs without a single await between BEGIN and
COMMIT; a worker thread beside a busy loop would starve on the interpreter lock. COMMIT alone moves to a thread while
flushes are slow (``pace.py``). Other processes are respected: nothing here waits for their lock on the loop's thread;
BEGIN is tried again, asynchronously and for a bounded time. Reads have a connection of their own and see the last
commit. Durability is FULL: what a transaction returned is on disk.

Scripts are written elsewhere; nothing here knows a table.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from sqlalchemy.engine import make_url

from keepstep.errors import StoreConflictError, StoreError, StoreUnavailableError, UsageError
from keepstep.store.api import Mode
from keepstep.store.clock import Clock
from keepstep.store.errors import translate
from keepstep.store.pace import CommitPace
from keepstep.store.script import Call, Row, Script

T = TypeVar("T")

GatePoint = Literal["begin", "commit", "committed"]
Gate = Callable[[str, GatePoint], Awaitable[None]]
"""A seam of the simulation: awaited around each transaction, with its label."""
Connect = Callable[[str, int], sqlite3.Connection]
"""Opens a connection to a path, with a page cache of so many KiB."""

_CHECKPOINT_PAGES = 1_000  # of 4 KiB: a log that is overwritten from its start is faster than one that grows
_PREGROWN = (_CHECKPOINT_PAGES + 100) * (4096 + 24)
_BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_POLL_SOON, _POLL_LATE = 0.005, 0.025

_MEANING = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space; nothing was written",
    sqlite3.SQLITE_READONLY: "the database file or its folder is read-only: make both writable for this process",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged: restore it from a backup",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database: correct the database URL",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened: check its path and permissions",
    sqlite3.SQLITE_IOERR: "the disk reported an error: check the volume; the outcome of a commit is unknown",
}


class SqliteStore:
    """Runs scripts on a SQLite database; implements :class:`keepstep.store.api.Store`.

    Args:
        url: ``sqlite:///path``, ``sqlite://`` (in memory), or a plain path.
        clock: database time.
        busy_timeout_ms: how long to try while other processes hold the write lock.
        slow_commit_ms: from this average on COMMIT leaves the loop's thread; None = never, and no time is read.
        gate: the simulation's seam.
        connect: opens connections instead of the driver: likewise.
    """

    dialect: Literal["sqlite"] = "sqlite"

    def __init__(
        self,
        url: str | Path,
        *,
        clock: Clock,
        busy_timeout_ms: int = 10_000,
        slow_commit_ms: float | None = 1.0,
        gate: Gate | None = None,
        connect: Connect | None = None,
    ) -> None:
        self.path = _path_of(url)
        self._connect = _connect if connect is None else connect
        self._clock = clock
        self._busy_timeout_ms = busy_timeout_ms
        self._pace = None if slow_commit_ms is None else CommitPace(slow_commit_ms)
        self._gate = gate
        self._lock = asyncio.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._poll: asyncio.TimerHandle | None = None
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None

    @property
    def busy(self) -> bool:
        """Whether a transaction is on its way: committing on the thread, or waiting for another process."""
        return self._lock.locked()

    async def open(self) -> None:
        """Connect and set the database up for durable writes beside readers. Idempotent.

        Raises:
            StoreUnavailableError: no such folder, no permission, not a database, no WAL possible.
        """
        if self._writer is None and not self._lock.locked():
            self._lock = asyncio.Lock()  # the event loop may be another one than last time
        async with self._lock:
            if self._writer is not None:
                return
            folder = Path(self.path).parent
            if not self._in_memory and not folder.is_dir():
                raise StoreUnavailableError(
                    f"cannot open {self.path}: the folder {folder} does not exist; create it or correct the URL"
                )
            try:
                self._writer, self._reader = await self._connected()
            except sqlite3.Error as error:
                raise _explained(error, "open", self.path) from error
            self._home = (os.getpid(), asyncio.get_running_loop())

    async def close(self) -> None:
        """Disconnect, after the transaction that is on its way. Idempotent."""
        async with self._lock:
            if self._poll is not None:
                self._poll.cancel()
                self._poll = None
            if self._thread is not None:
                self._thread.shutdown()
                self._thread = None
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = None
        self._lock = asyncio.Lock()  # the next loop's: it may be another one

    async def transaction(self, label: str, script: Script[T], mode: Mode = "write") -> T:
        """Run ``script`` in one transaction and return its result once that is durable.

        Raises:
            StoreUnavailableError: disk full, read-only, damaged, closed; after an error of COMMIT the outcome is unknown.
            StoreConflictError: other processes held the write lock too long; nothing was written.
            IntegrityError: a constraint refused; nothing was written.
        """
        if mode == "read" and not self._in_memory:
            return self._read(label, script)
        async with self._lock:
            writer = self._mine(self._writer)
            if self._gate is not None:
                await self._gate(label, "begin")
            try:
                await self._begin(writer, label)
                result = _drive(writer, script, self._clock)
                if self._gate is not None:
                    await self._gate(label, "commit")
                await self._commit(writer)
            except sqlite3.Error as error:
                raise _explained(error, label, self.path) from error
            finally:
                script.close()
                if writer.in_transaction:
                    _roll_back(writer)
        if self._gate is not None:
            await self._gate(label, "committed")
        return result

    async def listen(self, on_hint: Callable[[], None]) -> None:
        """Call ``on_hint`` when another connection has committed, by looking at ``data_version`` (2.7 µs a look)."""
        writer = self._mine(self._writer)
        if self._in_memory:
            return
        loop = asyncio.get_running_loop()
        seen = _data_version(writer)
        pause = _POLL_LATE

        def look() -> None:
            nonlocal seen, pause
            if self._writer is None:
                return
            pause = min(pause * 1.5, _POLL_LATE)
            if not self._lock.locked():
                with suppress(sqlite3.Error):
                    now = _data_version(writer)
                    if now != seen:
                        seen, pause = now, _POLL_SOON
                        on_hint()
            self._poll = loop.call_later(pause, look)

        if self._poll is not None:
            self._poll.cancel()
        self._poll = loop.call_later(pause, look)

    def hint(self) -> None:
        """Nothing to do: a commit is the hint, others see it in ``data_version``."""

    @property
    def _in_memory(self) -> bool:
        return self.path == ":memory:" or self.path.startswith("file:")

    async def _connected(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        writer = await self._patiently("open", partial(self._connect, self.path, 65_536))
        try:
            await self._set_up(writer)
            if self._in_memory:
                return writer, writer
            reader = await self._patiently("open", partial(self._connect, self.path, 16_384))
            reader.execute("PRAGMA query_only = ON")
        except BaseException:
            writer.close()
            raise
        return writer, reader

    async def _set_up(self, writer: sqlite3.Connection) -> None:
        found = await self._patiently(
            "open", lambda: writer.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        )
        if found != "wal" and not self._in_memory:
            raise StoreUnavailableError(f"cannot open {self.path}: its volume supports no write-ahead log")
        writer.execute("PRAGMA synchronous = FULL")
        writer.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        writer.execute(f"PRAGMA journal_size_limit = {16 * _PREGROWN}")
        if not self._in_memory:
            await self._patiently("open", lambda: writer.execute("BEGIN IMMEDIATE"))
            try:
                _pregrow(Path(f"{self.path}-wal"))
            finally:
                writer.execute("ROLLBACK")

    async def _begin(self, writer: sqlite3.Connection, label: str) -> None:
        try:
            writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
            await self._patiently(label, lambda: writer.execute("BEGIN IMMEDIATE"))

    async def _patiently(self, label: str, attempt: Callable[[], T]) -> T:
        """Try while other processes hold the lock, without blocking the loop."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._busy_timeout_ms / 1000
        pause = 0.0005
        while True:
            try:
                return attempt()
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise
                if loop.time() >= give_up_at:
                    raise StoreConflictError(
                        f"{label}: another process has held the write lock of {self.path} for"
                        f" {self._busy_timeout_ms} ms; nothing was written; try again"
                    ) from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.02)

    async def _commit(self, writer: sqlite3.Connection) -> None:
        pace = self._pace
        if pace is None:
            writer.execute("COMMIT")
        elif pace.hand_over():
            await self._commit_on_thread(writer)
        else:
            started = time.perf_counter()
            writer.execute("COMMIT")
            pace.inline_took((time.perf_counter() - started) * 1000)

    async def _commit_on_thread(self, writer: sqlite3.Connection) -> None:
        """Commit on the writer thread. A cancelled caller still waits for the end: the connection is in use.

        It is cancelled all the same when the commit failed: who stops a task does not wait for what it does next.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="keepstep-commit")
        committing = asyncio.get_running_loop().run_in_executor(self._thread, writer.execute, "COMMIT")
        cancelled: asyncio.CancelledError | None = None
        while not committing.done():
            try:
                await asyncio.wait([committing])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled from committing.exception()
        committing.result()

    def _read(self, label: str, script: Script[T]) -> T:
        reader = self._mine(self._reader)
        try:
            reader.execute("BEGIN")
            return _drive(reader, script, self._clock)
        except sqlite3.Error as error:
            raise _explained(error, label, self.path) from error
        finally:
            script.close()
            if reader.in_transaction:
                _roll_back(reader)

    def _mine(self, connection: sqlite3.Connection | None) -> sqlite3.Connection:
        if connection is None:
            raise StoreUnavailableError(f"the database {self.path} is not open")
        if self._home != (os.getpid(), asyncio.get_running_loop()):
            raise UsageError(
                f"the database {self.path} was opened by another process or event loop: a store does not survive"
                " a fork and belongs to one loop; open one in each"
            )
        return connection


def _connect(path: str, cache_kib: int) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,  # COMMIT may run on the writer thread, while nothing else uses the connection
        cached_statements=512,
        uri=path.startswith("file:"),
    )
    try:
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        connection.execute("PRAGMA temp_store = MEMORY")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _explained(error: sqlite3.Error, label: str, path: str) -> StoreError:
    meaning = _MEANING.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if meaning is not None:
        return StoreUnavailableError(f"{label}: {path}: {meaning} ({error})")
    return translate(error, label) or StoreError(f"{label}: {error}")


def _drive(connection: sqlite3.Connection, script: Generator[Call, Any, T], clock: Clock) -> T:
    """Run a script to its end. No await: nothing else of this loop can come between its statements."""
    now: int | None = None
    rows: Sequence[Row] | None = None
    while True:
        try:
            statement, params = script.send(rows)
        except StopIteration as done:
            return cast("T", done.value)
        if not isinstance(params, dict):
            connection.executemany(
                statement.positional(), map(tuple, cast("Sequence[tuple[Any, ...]]", params))
            )
            rows = ()
            continue
        text = statement.text("sqlite")
        bound = statement.bind("sqlite", cast("Mapping[str, Any]", params))
        if statement.takes_now and bound["now"] is None:
            now = clock.now_ms() if now is None else now
            bound["now"] = now
        rows = connection.execute(text, bound).fetchall()


def _roll_back(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # the error that led here is the one to report
        connection.execute("ROLLBACK")


def _is_busy(error: sqlite3.Error) -> bool:
    return error.sqlite_errorcode & 0xFF in _BUSY_CODES


def _data_version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA data_version").fetchone()[0]


def _pregrow(log: Path) -> None:
    """Give the log the length that it will have: a flush that need not grow the file is 1.6 times as fast.

    What follows a log's last valid frame is ignored by SQLite, and the caller holds the write lock.
    """
    with log.open("ab") as file:
        missing = _PREGROWN - file.tell()
        if missing > 0:
            file.write(bytes(missing))
            file.flush()
            os.fsync(file.fileno())


def _path_of(url: str | Path) -> str:
    """The file that a URL or path names; an empty one is in memory, as is a ``file:`` URI, by which stores share it."""
    text = str(url)
    if text.startswith("file:") and "mode=memory" not in text:
        raise UsageError(f"{text!r}: a file: URI names a shared database in memory only; use sqlite:///path")
    if not text.startswith("sqlite"):
        return text or ":memory:"
    parsed = make_url(text)
    if parsed.query or parsed.host:
        raise UsageError(
            f"the database URL {text!r} has a host or options; keepstep takes sqlite:///path only"
        )
    return parsed.database or ":memory:"
