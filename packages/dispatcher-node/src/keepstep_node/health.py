"""Liveness and readiness over HTTP, for whoever starts and watches workers: two paths, answered on the worker's loop.

``/livez`` answers while the loop turns; ``/readyz`` says whether the worker takes work. No decision about work may
live here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from http import HTTPStatus

from keepstep import UsageError

logger = logging.getLogger("keepstep.worker")

HEAD_BYTES_MAX = 8192
READ_S = 5.0
"""How long a client may take to say what it wants."""

Ready = Callable[[], Awaitable[str | None]]
"""Why the worker is not ready, None when it is."""


@contextlib.asynccontextmanager
async def health_served(host: str, port: int, ready: Ready) -> AsyncGenerator[int]:
    """Answer health checks; the port, which is a free one if 0 was given.

    Args:
        host: the address to listen at.
        port: the port.
        ready: asked for each ``/readyz``.

    Raises:
        UsageError: the address cannot be listened at.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_S):
                head = await reader.readuntil(b"\r\n\r\n")
            status, text = await _answer_to(head, ready)
            body = f"{text}\n".encode()
            lines = (
                f"HTTP/1.1 {status.value} {status.phrase}",
                "content-type: text/plain; charset=utf-8",
                f"content-length: {len(body)}",
                "cache-control: no-store",
                "connection: close",
            )
            writer.write("\r\n".join([*lines, "", ""]).encode())
            writer.write(b"" if head.startswith(b"HEAD ") else body)
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            logger.debug("a health check broke off: %r", error)
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(answer, host, port, limit=HEAD_BYTES_MAX)
    except OSError as error:
        raise UsageError(
            f"health checks cannot be answered at {host}:{port}: {error.strerror or error}"
        ) from error
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _answer_to(head: bytes, ready: Ready) -> tuple[HTTPStatus, str]:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if path not in {b"/livez", b"/readyz"}:
        return HTTPStatus.NOT_FOUND, "there are /livez and /readyz"
    if method not in {b"GET", b"HEAD"}:
        return HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD"
    why_not = await ready() if path == b"/readyz" else None
    if why_not is not None:
        return HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {why_not}"
    return HTTPStatus.OK, "ready" if path == b"/readyz" else "alive"
