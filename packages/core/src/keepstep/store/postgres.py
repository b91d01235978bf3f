"""The PostgreSQL executor: runs scripts on raw asyncpg, from a small pool of its own. Knows no statement.

Two kinds of work share the pool. ``single`` scripts (group commits, renewals) are one statement, one round trip, and
have ``lanes`` connections that nothing else can take; ``write`` and ``read`` scripts have the others. The connection
that was used last is used first: its statements are prepared and its buffers warm.

After an error that leaves a connection in doubt (lost, timed out, cancelled) the connection is thrown away, and when
the database was not to be reached, the idle ones with it. Nothing is retried here: whether a commit under way took
place is unknown, and only who reads again can know (``StoreUnavailableError``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar, cast

from keepstep.errors import StoreUnavailableError, UsageError
from keepstep.store import hints_pg
from keepstep.store.address import dsn_of
from keepstep.store.api import Mode
from keepstep.store.clock import Clock
from keepstep.store.errors import translate
from keepstep.store.script import Call, Row, Script
from keepstep.store.statement import IDLE_MAX

try:
    import asyncpg  # pyright: ignore[reportMissingTypeStubs]
except ImportError as error:  # pragma: no cover
    raise UsageError("PostgreSQL needs the driver asyncpg: pip install 'keepstep[postgres]'") from error

T = TypeVar("T")
Connection = Any
"""An ``asyncpg.Connection``: the driver is written in C and has no types."""

Gate = Callable[[str, str], Awaitable[None]]
"""Awaited with a script's label at ``"begin"``, ``"commit"`` and ``"committed"``: where a test may step in between."""

_SETTINGS = {
    # Statements are prepared once, perhaps on empty tables, and must stay right for full ones: every one of them is
    # served by an index, so a plan may use nothing else, whatever the statistics say.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "default_transaction_isolation": "'read committed'",  # the locks of our statements assume it
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": f"'{IDLE_MAX}'",  # a process that froze does not keep its locks
}


_SLOW = 0.001
"""A commit longer than this (in seconds) leaves room for another beside it; below, one fuller group is cheaper."""


class PostgresStore:
    """A store on PostgreSQL (``keepstep.store.api.Store``).

    Args:
        url: ``postgresql://`` or ``postgresql+asyncpg://``; several hosts and libpq's parameters are understood
            (``postgresql://a,b/shop?target_session_attrs=read-write`` follows a failover).
        clock: for simulations; None is the database's own clock (B5).
        lanes: connections for group commits that may be under way at once.
        pool_max: connections in all, besides those of ``listen`` and ``hint``.
        connect_timeout_ms: how long a connection may take to open.
        command_timeout_ms: how long one statement may take before its connection counts as dead.
        lock_timeout_ms: how long a statement waits for rows that others have locked.
        gate: see :data:`Gate`; None in production.
    """

    dialect: Literal["sqlite", "postgresql"] = "postgresql"

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        lanes: int = 2,
        pool_max: int = 8,
        connect_timeout_ms: int = 10_000,
        command_timeout_ms: int = 15_000,
        lock_timeout_ms: int = 5_000,
        gate: Gate | None = None,
    ) -> None:
        if not 1 <= lanes < pool_max:
            raise UsageError(
                f"a pool of {pool_max} connections cannot have {lanes} lanes: 1 <= lanes < pool_max"
            )
        self.url = dsn_of(url)
        self._connector = _Connector(self.url, connect_timeout_ms, command_timeout_ms, lock_timeout_ms)
        self._pool = _Pool(self._connector.connect, lanes, pool_max - lanes)
        self._clock = clock
        self._gate = gate
        self._sender = hints_pg.Sender(self._connector.connect)
        self._listeners: list[hints_pg.Listener] = []
        self._closed = False
        self._singles = 0
        self._pace = 0.0  # seconds that a single script took lately

    @property
    def busy(self) -> bool:
        """Whether what is to be committed had better gather: one commit is under way, or, while they are slow, several."""
        return self._singles > 0 and (self._pace < _SLOW or self._pool.lanes.locked())

    async def open(self) -> None:
        """Connect once, to learn whether that is possible. Idempotent."""
        self._closed = False
        connection = await self._acquire("open", self._pool.scripts)
        self._pool.release(connection, self._pool.scripts)

    async def close(self) -> None:
        """Stop listening and hinting, and close what is idle; scripts under way end on their own. Idempotent."""
        self._closed = True
        await self._sender.close()
        for listener in self._listeners:
            await listener.close()
        self._listeners.clear()
        await self._pool.close()

    async def transaction(self, label: str, script: Script[T], mode: Mode = "write") -> T:
        """Run ``script`` and return its result once that is durable.

        Args:
            label: what errors and gates call it.
            script: the work.
            mode: ``single``: one statement, which is its own transaction. ``write``: BEGIN to COMMIT, READ COMMITTED.
                ``read``: each statement has a snapshot of its own.

        Raises:
            StoreUnavailableError: the connection broke or could not be opened; a commit's outcome may be unknown.
            StoreConflictError: serialization failure, deadlock or lock timeout; nothing was written.
            IntegrityError: a constraint refused; nothing was written.
        """
        slots = self._pool.slots(mode)
        connection = await self._acquire(label, slots)
        try:
            match mode:
                case "single":
                    result = await self._single(connection, label, script)
                case "write":
                    result = await self._write(connection, label, script)
                case "read":
                    result = await self._read(connection, label, script)
        except BaseException as error:
            found = translate(error, label)
            self._pool.put_back(
                connection, slots, error, unavailable=isinstance(found, StoreUnavailableError)
            )
            if found is None or found is error:
                raise
            raise found from error
        self._pool.release(connection, slots)
        return result

    async def listen(self, on_hint: Callable[[], None]) -> None:
        """Call ``on_hint`` when another process may have made work. Survives outages."""
        listener = hints_pg.Listener(self._connector.connect, on_hint, self._sender.is_mine)
        self._listeners.append(listener)
        await listener.start()

    def hint(self) -> None:
        """Tell other processes that there may be work: after the commit, coalesced, dropped during an outage."""
        if not self._closed:
            self._sender.hint()

    async def _acquire(self, label: str, slots: asyncio.Semaphore) -> Connection:
        try:
            return await self._pool.acquire(slots)
        except Exception as error:
            found = translate(error, label)
            raise found or StoreUnavailableError(f"{label}: cannot connect: {error}") from error

    async def _write(self, connection: Connection, label: str, script: Script[T]) -> T:
        await self._pass(label, "begin")
        await connection.execute("BEGIN")
        try:
            result = await self._drive(connection, script)
            await self._pass(label, "commit")
        except Exception:
            with contextlib.suppress(Exception):  # a connection that cannot even do this is thrown away
                await connection.execute("ROLLBACK")
            raise
        await connection.execute("COMMIT")
        await self._pass(label, "committed")
        return result

    async def _single(self, connection: Connection, label: str, script: Script[T]) -> T:
        await self._pass(label, "begin")
        await self._pass(label, "commit")
        self._singles += 1
        started = asyncio.get_running_loop().time()
        try:
            result = await self._drive(connection, script, calls_max=1)
        finally:
            self._singles -= 1
        self._pace += (asyncio.get_running_loop().time() - started - self._pace) / 8
        await self._pass(label, "committed")
        return result

    async def _read(self, connection: Connection, label: str, script: Script[T]) -> T:
        await self._pass(label, "begin")
        return await self._drive(connection, script)

    async def _pass(self, label: str, point: str) -> None:
        if self._gate is not None:
            await self._gate(label, point)

    async def _drive(self, connection: Connection, script: Script[T], calls_max: int | None = None) -> T:
        """Send the script its rows until it returns."""
        made = 0
        try:
            call = next(script)
            while True:
                made += 1
                assert calls_max is None or made <= calls_max, "a script in mode 'single' makes one call"
                rows = await self._execute(connection, call)
                call = script.send(rows)
        except StopIteration as done:
            return done.value
        finally:
            script.close()

    async def _execute(self, connection: Connection, call: Call) -> list[Row]:
        statement, params = call
        text = statement.text("postgresql")
        if not isinstance(params, Mapping):
            await connection.executemany(text, params)
            return []
        if self._clock is not None and statement.takes_now and "now" not in params:
            params = {**params, "now": self._clock.now_ms()}
        return await connection.fetch(text, *statement.bind("postgresql", params))


class _Pool:
    """Connections, last used first. ``lanes`` and ``scripts`` count how many of each kind of work may be under way."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], lanes: int, scripts: int) -> None:
        self._connect = connect
        self._idle: list[Connection] = []
        self._closed = False
        self._sizes = (lanes, scripts)
        self.lanes = asyncio.Semaphore(lanes)
        self.scripts = asyncio.Semaphore(scripts)

    def slots(self, mode: Mode) -> asyncio.Semaphore:
        """What counts work of this mode; a ``single`` script does not queue where there is room for it."""
        return (
            self.lanes
            if mode == "single" and (not self.lanes.locked() or self.scripts.locked())
            else self.scripts
        )

    async def acquire(self, slots: asyncio.Semaphore) -> Connection:
        await slots.acquire()
        self._closed = False
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        try:
            return await self._connect()
        except BaseException:
            slots.release()
            raise

    def release(self, connection: Connection, slots: asyncio.Semaphore) -> None:
        if self._closed:
            connection.terminate()
        else:
            self._idle.append(connection)
        slots.release()

    def put_back(
        self, connection: Connection, slots: asyncio.Semaphore, error: BaseException, *, unavailable: bool
    ) -> None:
        """Release a connection after an error: thrown away unless the server answered and it is clean."""
        if unavailable:
            for idle in self._idle:
                idle.terminate()
            self._idle.clear()
        sound = isinstance(error, Exception) and not unavailable and not connection.is_closed()
        if not sound or connection.is_in_transaction():
            connection.terminate()
            slots.release()
        else:
            self.release(connection, slots)

    async def close(self) -> None:
        self._closed = True
        self.lanes, self.scripts = (asyncio.Semaphore(each) for each in self._sizes)  # for another event loop
        idle, self._idle = self._idle, []
        for connection in idle:
            try:
                await connection.close(timeout=1)
            except Exception:  # noqa: BLE001  # it is gone either way
                connection.terminate()


class _Connector:
    """Opens connections with the settings of this engine."""

    def __init__(
        self, dsn: str, connect_timeout_ms: int, command_timeout_ms: int, lock_timeout_ms: int
    ) -> None:
        self._dsn = dsn
        self._connect_timeout_ms = connect_timeout_ms
        self._command_timeout_ms = command_timeout_ms
        settings = {**_SETTINGS, "lock_timeout": str(lock_timeout_ms)}
        self._set_up = "; ".join(f"SET {name} = {value}" for name, value in settings.items())

    async def connect(self) -> Connection:
        connection: Connection = await cast("Any", asyncpg).connect(
            self._dsn,
            timeout=self._connect_timeout_ms / 1000,
            command_timeout=self._command_timeout_ms / 1000,
            statement_cache_size=512,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=0,
            server_settings={"application_name": "keepstep"},
        )
        try:
            await connection.execute(self._set_up)
        except BaseException:
            connection.terminate()
            raise
        return connection


async def connect_plainly(dsn: str) -> Connection:
    """A connection with the server's own settings, for work that is not this engine's: migrations, users' writes."""
    return await cast("Any", asyncpg).connect(
        dsn, timeout=10, server_settings={"application_name": "keepstep"}
    )
