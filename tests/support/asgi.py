"""ASGI applications without a network: httpx transports of either colour, and one that loses requests or answers."""

import asyncio
from collections.abc import Iterator

import httpx

ANSWER_S = 30.0


class FromThread(httpx.BaseTransport):
    """Sync requests, made in a thread, answered by an ASGI application on an event loop.

    Args:
        app: the application.
        loop: where it lives.
    """

    def __init__(self, app, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = httpx.ASGITransport(app)
        self._loop = loop

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Have the loop answer, in time."""

        async def answer() -> tuple[httpx.Response, bytes]:
            response = await self._transport.handle_async_request(
                httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
            )
            return response, await response.aread()

        response, body = asyncio.run_coroutine_threadsafe(answer(), self._loop).result(ANSWER_S)
        return httpx.Response(response.status_code, headers=response.headers, content=body)


class Flaky(httpx.AsyncBaseTransport):
    """An ASGI application behind a network that fails as it is told to.

    Args:
        app: the application.

    Attributes:
        seen: every request that arrived, as ``(method, path, body)``.
    """

    def __init__(self, app) -> None:
        self._transport = httpx.ASGITransport(app)
        self._troubles: Iterator[str] = iter(())
        self.seen: list[tuple[str, str, bytes]] = []

    def fails(self, *troubles: str) -> None:
        """What happens to the next requests: ``refused``, ``lost`` (done, unanswered), a status, or ``fine``."""
        self._troubles = iter(troubles)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, or fail."""
        trouble = next(self._troubles, "fine")
        if trouble == "refused":
            raise httpx.ConnectError("connection refused")
        self.seen.append((request.method, request.url.path, request.content))
        if trouble.isdigit():
            return httpx.Response(int(trouble), headers={"retry-after": "0"})
        response = await self._transport.handle_async_request(request)
        if trouble == "lost":
            await response.aread()
            raise httpx.ReadTimeout("no answer in time")
        return response
