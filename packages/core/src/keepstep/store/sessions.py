"""SQLAlchemy sessions of the engine's own, for steps that write the user's tables with their boundary (C8).

One call is one transaction: it commits when the work returns and rolls back when it raises. Work is sync, and then
called in a pool thread, or async, and then awaited on the host's loop. Where the host gave an engine of that colour its
sessions come from it, with whatever the host has set up there; otherwise from an engine of ours on the same database.
Scripts join with ``host.run_sync`` and ``host.run_async``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine, NullPool, create_engine, event

from keepstep.errors import UsageError
from keepstep.store.address import MEMORY, Database, url_of
from keepstep.store.clock import Clock

if TYPE_CHECKING:  # it needs greenlet, which a sync host on SQLite does not install
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
    from sqlalchemy.orm import Session

T = TypeVar("T")

BUSY_TIMEOUT_S = 10


class Sessions:
    """Opens sessions on an app's database.

    Args:
        database: what the app was given.
        clock: tells the time to scripts on these sessions; None = the database's own does (B5).
    """

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self.clock = clock
        self._address = url_of(database)
        inner = getattr(database, "sync_engine", None)
        self._sync: Engine | None = database if isinstance(database, Engine) else None
        self._async: AsyncEngine | None = database if inner is not None else None  # pyright: ignore[reportAttributeAccessIssue]
        self._ours: list[Any] = []
        self._making = Lock()

    def run_sync(self, work: Callable[[Session], T]) -> T:
        """Call ``work`` with a session, in the calling thread, and commit. Not for an event loop's thread.

        Raises:
            UsageError: the driver for this is not installed, or the database lives in memory.
        """
        if self._address.dialect == "postgresql" and self._sync is None and find_spec("psycopg") is None:
            return asyncio.run(self._run_on_a_loop(work))
        with self._making:
            if self._sync is None:
                self._sync = self._keep(_sync_engine(*self._address))
        with _orm().Session(self._sync) as session, session.begin():
            return work(session)

    async def run_async(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Await ``work`` with an async session on the running loop, and commit.

        Raises:
            UsageError: the driver for this is not installed, or the database lives in memory.
        """
        if self._async is None:
            self._async = self._keep(_async_engine(*self._address))
        async with _asyncio().AsyncSession(self._async) as session, session.begin():
            return await work(session)

    @property
    def prefers_loop(self) -> bool:
        """Whether sync work that never blocks for long is better done on the loop (:meth:`run_on_loop`).

        The app's own driver of PostgreSQL is async; SQLite's is sync, and so is an engine that the host gave.
        """
        return self._address.dialect == "postgresql" and (self._sync is None or self._sync in self._ours)

    async def run_on_loop(self, work: Callable[[Session], T]) -> T:
        """Call sync ``work`` with a session on the running loop, waiting for the database without blocking it."""

        async def run(session: AsyncSession) -> T:
            return await session.run_sync(work)

        return await self.run_async(run)

    async def close(self) -> None:
        """Close the engines that are ours. Idempotent."""
        ours, self._ours = self._ours, []
        self._sync = None if self._sync in ours else self._sync
        self._async = None if self._async in ours else self._async
        for engine in ours:
            if isinstance(engine, Engine):
                engine.dispose()
            else:
                await engine.dispose()

    async def _run_on_a_loop(self, work: Callable[[Session], T]) -> T:
        """Sync work without a sync driver: asyncpg, on a loop of this thread's own for as long as it takes."""
        engine = _async_engine(*self._address, poolclass=NullPool)
        try:
            async with _asyncio().AsyncSession(engine) as session, session.begin():
                return await session.run_sync(work)
        finally:
            await engine.dispose()

    def _keep(self, engine: Any) -> Any:
        self._ours.append(engine)
        return engine


def _sync_engine(dialect: str, location: str) -> Engine:
    if dialect == "postgresql":
        return create_engine("postgresql+psycopg://", creator=lambda: _driver("psycopg").connect(location))
    engine = create_engine(_sqlite_url(location), connect_args={"timeout": BUSY_TIMEOUT_S})
    _write_at_once(engine)
    return engine


def _async_engine(dialect: str, location: str, **options: Any) -> AsyncEngine:
    create = _asyncio().create_async_engine
    if dialect == "postgresql":
        _driver("asyncpg")

        async def connect(*_: Any, **_options: Any) -> Any:
            return await import_module("keepstep.store.postgres").connect_plainly(location)

        return create("postgresql+asyncpg://", async_creator=connect, **options)
    url = _sqlite_url(location, "+aiosqlite")
    _driver("aiosqlite")

    async def connect_cancellably(*_: Any, **_options: Any) -> Any:
        return await import_module("keepstep.store.cancellable").connect(location, BUSY_TIMEOUT_S)

    engine = create(url, async_creator=connect_cancellably, **options)
    _write_at_once(engine.sync_engine)
    return engine


def _sqlite_url(path: str, driver: str = "") -> str:
    if path == MEMORY:
        raise UsageError("a step's transaction needs a database that two connections can share: use a file")
    return f"sqlite{driver}:///{path}"


def _write_at_once(engine: Engine) -> None:
    """Begin as a writer: a reader that comes to write later may be refused although nothing is wrong."""

    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        connection.execute("PRAGMA synchronous = FULL").close()

    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)


def _orm() -> Any:
    """SQLAlchemy's ORM, loaded when the first transaction with it begins: importing it takes a sixth of a start."""
    return import_module("sqlalchemy.orm")


def _asyncio() -> Any:
    if find_spec("greenlet") is None:
        raise UsageError("async sessions need greenlet: pip install 'sqlalchemy[asyncio]'")
    return import_module("sqlalchemy.ext.asyncio")


_INSTALL = {
    "asyncpg": "pip install 'keepstep[postgres]'",
    "psycopg": "pip install 'psycopg[binary]'",
    "aiosqlite": "pip install aiosqlite, or make the step's function a plain def",
}


def _driver(name: str) -> Any:
    if find_spec(name) is None:
        raise UsageError(f"a step's transaction needs the driver {name} here: {_INSTALL[name]}")
    return import_module(name)
