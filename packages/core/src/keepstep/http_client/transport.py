"""httpx: sends what talks ask for, in either colour. The only file that knows it, and that waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx

from keepstep.client.verbs import Create, Transact
from keepstep.errors import UsageError
from keepstep.http_client.conversation import Conversation
from keepstep.http_client.exchange import Pause, Reply, Send, Talk, Unreached
from keepstep.model.outcome import Standing

T = TypeVar("T")

Headers = Mapping[str, str] | Callable[[], Mapping[str, str]]
Transport = httpx.AsyncBaseTransport | httpx.BaseTransport

_NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class Line:
    """What both colours of a connection have in common.

    Args:
        base_url: the server's address, with the path of its mount.
        headers: sent with every request; a function is called for each.
        timeout_s: for connecting, sending and answering.
        transport: instead of the network, of the colour that is used.
        talking: turns verbs into talks.

    Raises:
        UsageError: the address is none.
    """

    def __init__(
        self,
        base_url: str,
        headers: Headers,
        timeout_s: float,
        transport: Transport | None,
        talking: Conversation,
    ) -> None:
        try:
            url = httpx.URL(base_url)
        except (httpx.InvalidURL, TypeError):
            url = httpx.URL()
        if url.scheme not in {"http", "https"} or not url.host:
            raise UsageError(f'base_url is an address like "https://shop.example/keepstep", not {base_url!r}')
        self.base_url = str(url).rstrip("/")
        self.talking = talking
        self._headers = headers
        self._timeout_s = timeout_s
        self.transport = transport

    def request(self, wanted: Send) -> dict[str, Any]:
        """Give the arguments of an httpx request."""
        headers = dict(self._headers() if callable(self._headers) else self._headers)
        headers["accept"] = "application/json, application/problem+json"
        if wanted.body is not None:
            headers["content-type"] = "application/json"
        return {
            "method": wanted.method,
            "url": self.base_url + wanted.path,
            "params": dict(wanted.query) or None,
            "content": wanted.body,
            "headers": headers,
            "timeout": httpx.Timeout(self._timeout_s, read=self._timeout_s + wanted.waits_s),
        }


def _reply(response: httpx.Response) -> Reply:
    return Reply(response.status_code, response.content, response.headers.get("retry-after", ""))


def _unreached(error: httpx.RequestError) -> Unreached:
    return Unreached(f"{type(error).__name__}: {error}", not isinstance(error, _NEVER_LEFT), error)


class HttpPort:
    """Runs verbs over HTTP, for async callers; a :class:`keepstep.client.ports.Port`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._open: httpx.AsyncClient | None = None

    async def run(self, verb: Transact[T]) -> T:
        """Ask one verb."""
        return await self.drive(self._line.talking.run(verb))

    async def create(self, verb: Create) -> list[str]:
        """Begin instances."""
        return await self.drive(self._line.talking.create(verb))

    async def ended(self, look: Transact[Standing], timeout_ms: int | None) -> Standing:
        """Wait for an end."""
        return await self.drive(self._line.talking.ended(look, timeout_ms))

    async def drive(self, talk: Talk[T]) -> T:
        """Send what a talk asks for until it has its answer."""
        got: Reply | Unreached | None = None
        while True:
            try:
                wanted = talk.send(got)
            except StopIteration as done:
                return done.value
            if isinstance(wanted, Pause):
                got = await asyncio.sleep(wanted.seconds)
                continue
            try:
                got = _reply(await self._client().request(**self._line.request(wanted)))
            except httpx.RequestError as error:
                got = _unreached(error)

    async def close(self) -> None:
        """Close the connections; the next verb opens new ones."""
        client, self._open = self._open, None
        if client is not None:
            await client.aclose()

    def _client(self) -> httpx.AsyncClient:
        if self._open is None:
            transport = self._line.transport
            if transport is not None and not isinstance(transport, httpx.AsyncBaseTransport):
                raise UsageError(f"{type(transport).__name__} is a sync transport: use client.sync")
            self._open = httpx.AsyncClient(transport=transport)
        return self._open


class SyncHttpPort:
    """Runs verbs over HTTP, for sync callers; a :class:`keepstep.sync.ports.SyncPort`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._open: httpx.Client | None = None

    def run(self, verb: Transact[T]) -> T:
        """Ask one verb."""
        return self.drive(self._line.talking.run(verb))

    def create(self, verb: Create) -> list[str]:
        """Begin instances."""
        return self.drive(self._line.talking.create(verb))

    def ended(self, look: Transact[Standing], timeout_ms: int | None) -> Standing:
        """Wait for an end."""
        return self.drive(self._line.talking.ended(look, timeout_ms))

    def drive(self, talk: Talk[T]) -> T:
        """Send what a talk asks for until it has its answer."""
        got: Reply | Unreached | None = None
        while True:
            try:
                wanted = talk.send(got)
            except StopIteration as done:
                return done.value
            if isinstance(wanted, Pause):
                got = time.sleep(wanted.seconds)
                continue
            try:
                got = _reply(self._client().request(**self._line.request(wanted)))
            except httpx.RequestError as error:
                got = _unreached(error)

    def close(self) -> None:
        """Close the connections; the next verb opens new ones."""
        client, self._open = self._open, None
        if client is not None:
            client.close()

    def _client(self) -> httpx.Client:
        if self._open is None:
            transport = self._line.transport
            if transport is not None and not isinstance(transport, httpx.BaseTransport):
                raise UsageError(
                    f"{type(transport).__name__} is an async transport: await the client's own verbs"
                )
            self._open = httpx.Client(transport=transport)
        return self._open
