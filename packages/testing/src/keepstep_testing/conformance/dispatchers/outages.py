"""Databases that go away and come back, without a server of one's own: a gate before PostgreSQL, a lock on SQLite."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

from sqlalchemy import create_engine


class Gate:
    """A way to a server that can be shut: connections through it break, new ones are refused.

    Args:
        host: the server's.
        port: the server's.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._ways: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> None:
        """Let connections through, at the same port as before."""
        self._listening = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Break the connections, refuse others. A second time changes nothing."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        ways = list(self._ways)
        for way in ways:
            way.cancel()
        if ways:
            await asyncio.wait(ways)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = asyncio.create_task(self._through(reader, writer))
        self._ways.add(way)
        way.add_done_callback(self._ways.discard)

    async def _through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other: asyncio.StreamWriter | None = None
        try:
            there, other = await asyncio.open_connection(*self._server)
            async with asyncio.TaskGroup() as both:
                both.create_task(_carry(reader, other))
                both.create_task(_carry(there, writer))
        except* OSError:
            pass
        finally:
            for each in filter(None, (writer, other)):
                each.transport.abort()


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        target.write(data)
        await target.drain()
    raise ConnectionResetError("the other end is gone")


class Outage:
    """A database that can be away.

    Attributes:
        url: by which it is reached; what goes by the database's own URL is not concerned.
    """

    def __init__(self, database_url: str) -> None:
        self._lock = create_engine(database_url) if database_url.startswith("sqlite") else None
        self._gate: Gate | None = None
        self.url = database_url

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, database_url: str) -> AsyncGenerator[Outage]:
        """A database that is there."""
        made = cls(database_url)
        if made._lock is None:
            parts = urlsplit(database_url)
            made._gate = gate = Gate(parts.hostname or "127.0.0.1", parts.port or 5432)
            await gate.open()
            user, at, _ = parts.netloc.rpartition("@")
            made.url = parts._replace(netloc=f"{user}{at}127.0.0.1:{gate.port}").geturl()
        try:
            yield made
        finally:
            if made._gate is not None:
                await made._gate.shut()
            if made._lock is not None:
                made._lock.dispose()

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncGenerator[None]:
        """Away for as long as the block takes: cut off, or locked by somebody else."""
        if self._lock is not None:
            with self._lock.connect() as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield
                connection.rollback()
            return
        assert self._gate is not None
        await self._gate.shut()
        try:
            yield
        finally:
            await self._gate.open()
