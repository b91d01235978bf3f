"""The tick leg, where it arrives: an ASGI app that lets signed ticks advance what is due.

Cheap refusals come first: method and declared size before the body is read, the signature before it is parsed. No
database and no client may live here.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from keepstep.errors import StoreError, UsageError
from keepstep.model.duration import duration_ms
from keepstep_cloudflare.shards import Shards, shards_of
from keepstep_cloudflare.signatures import Keyring, Secrets
from keepstep_cloudflare.slices import Slices, Ticked, answer_of

log = logging.getLogger("keepstep.dispatcher")

BODY_BYTES_MAX = 4096
BUSY_RETRY_S = 5

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Tick(BaseModel):
    """What a tick says; fields that a later Worker may add are left alone."""

    model_config = ConfigDict(strict=True, frozen=True)

    type: Literal["workflow.tick"]
    aud: str
    shard: str
    gen: int
    attempt: int
    scheduled_at: int
    fired_at: int


class Refused(Exception):  # noqa: N818  # an answer, not a failure
    """A request that gets no slice."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


class TickEndpoint:
    """The ASGI app; made by :func:`tick_endpoint` or :meth:`CloudflareDispatcher.endpoint`."""

    def __init__(self, slices: dict[str, Slices], keys: Keyring, *, aud: str, answer_s: float) -> None:
        self._slices = slices
        self._keys = keys
        self._aud = aud
        self._answer_s = answer_s
        self._draining = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            UsageError: it is no HTTP request; mount the endpoint in an ASGI app that has a lifespan of its own.
        """
        if scope["type"] != "http":
            raise UsageError(f"a tick endpoint answers HTTP only, not {scope['type']!r}")
        try:
            tick = self._read(*await _body(scope, receive))
            answer = await self._answer(tick)
        except Refused as refusal:
            await _send(send, refusal.status, b"", refusal.headers)
        else:
            await _send(send, 200, json.dumps(answer).encode(), {"content-type": "application/json"})

    def open(self) -> None:
        """Take ticks again, after a drain."""
        self._draining = False
        for each in self._slices.values():
            each.open()

    async def drain(self, grace_s: float) -> None:
        """Answer ticks with 503 from now on, and return when none is being worked on, or after ``grace_s``."""
        self._draining = True
        await asyncio.gather(*(each.drain(grace_s) for each in self._slices.values()))

    def _read(self, body: bytes, headers: dict[str, str]) -> Tick:
        """The tick, if it is one and meant for us."""
        if not self._keys.accepts(body, headers):
            log.info("a tick was refused: no valid signature")
            raise Refused(401)
        try:
            tick = Tick.model_validate_json(body)
        except ValidationError as error:
            log.warning("a signed request was refused: it is no tick (%d errors)", error.error_count())
            raise Refused(400) from None
        if tick.aud != self._aud or tick.shard not in self._slices:
            log.warning("a signed tick was refused: it is for %r, shard %r", tick.aud, tick.shard)
            raise Refused(403)
        return tick

    async def _answer(self, tick: Tick) -> dict[str, int | None]:
        """The slice's result; 503 while the app stops, is busy for long, or has lost its database."""
        if self._draining:
            raise Refused(503)
        try:
            async with asyncio.timeout(self._answer_s):
                result = await self._slices[tick.shard].take()
        except TimeoutError:
            log.warning("a tick's steps take longer than %g s; they go on", self._answer_s)
            raise Refused(503, **{"retry-after": str(BUSY_RETRY_S)}) from None
        except asyncio.CancelledError:
            if self._draining and not _is_cancelled():
                raise Refused(503) from None  # the slice was cut off, not this request
            raise
        except StoreError as error:
            log.warning("a tick found the database in trouble: %s", error)
            raise Refused(503) from None
        except Exception:
            log.exception("a tick failed")
            raise Refused(500) from None
        log.debug("tick %d of %r: %d advanced", tick.gen, tick.shard, result.processed)
        return answer_of(result)


def tick_endpoint(
    app: Ticked,
    tick_secrets: Secrets,
    *,
    shard: str | Shards,
    aud: str,
    max_instances: int = 100,
    max_time: str | timedelta = "10 seconds",
    answer_within: str | timedelta = "20 seconds",
) -> TickEndpoint:
    """An ASGI app that advances ``app`` when a signed tick arrives by POST. Mount it at the path of ``aud``.

    Args:
        app: a keepstep app.
        tick_secrets: the secrets that the Worker signs with; any of them is accepted.
        shard: the shard or shards whose ticks are for this app.
        aud: the URL that the Worker calls, exactly as it is configured there.
        max_instances: how many instances one tick advances, at most.
        max_time: a tick begins no further instances after this time.
        answer_within: a tick whose steps take longer is answered with 503; they go on. The Worker waits 25 s.

    Raises:
        UsageError: a value out of its range.
        InvalidDurationError: a duration that cannot be read.
    """
    if type(max_instances) is not int or max_instances < 1:
        raise UsageError(f"max_instances must be an integer of 1 or more, not {max_instances!r}")
    if not aud.startswith(("https://", "http://")):
        raise UsageError(f"aud must be the URL that the Worker calls, not {aud!r}")
    shards, max_s = shards_of(shard), duration_ms(max_time, "max_time") / 1000
    slices = {
        name: Slices(
            app, shards.workflows(name, app.workflow_names), max_instances=max_instances, max_s=max_s
        )
        for name in shards.names
    }
    answer_s = duration_ms(answer_within, "answer_within") / 1000
    return TickEndpoint(slices, Keyring(tick_secrets, "tick_secrets"), aud=aud, answer_s=answer_s)


async def _body(scope: Message, receive: Receive) -> tuple[bytes, dict[str, str]]:
    """The raw body and the headers; a wrong method or a body that is too large is refused before it is read."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    if scope["method"] != "POST":
        raise Refused(405, allow="POST")
    declared = headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()):
        raise Refused(400)
    if len(declared) > 9 or int(declared) > BODY_BYTES_MAX:
        raise Refused(413)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400)
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:  # it came in chunks, and declared nothing
            raise Refused(413)
        if not message.get("more_body", False):
            return bytes(body), headers


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _send(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    fields = {**headers, "content-length": str(len(body)), "cache-control": "no-store"}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
