"""The schedule leg, where it leaves: signed requests that have the Worker wake a shard no later than some instant.

A request is made in the background and again until the Worker has answered; wishes that come meanwhile are merged
into the next one, the earliest of them. What is lost with the process is found again at the next start. No database
may live here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import httpx

from keepstep_cloudflare.signatures import Keyring

log = logging.getLogger("keepstep.dispatcher")

BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 60.0
REFUSALS = frozenset({401, 403, 404, 410})
"""Answers that only another configuration will change."""


class EnsureError(Exception):
    """The Worker did not say that it is armed.

    Attributes:
        refused: it will not be before somebody changes its configuration or ours.
        retry_after_s: what it asked us to wait.
    """

    def __init__(self, message: str, *, refused: bool = False, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.refused = refused
        self.retry_after_s = retry_after_s


class Schedule:
    """Posts to the Worker.

    Args:
        url: where the Worker is.
        keys: sign each request.
        headers: go with each request, such as a Cloudflare Access service token.
        timeout_s: for one request.
        transport: instead of the network, for tests.
    """

    def __init__(
        self,
        url: str,
        keys: Keyring,
        *,
        headers: Mapping[str, str],
        timeout_s: float,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self._url = url.rstrip("/")
        self._keys = keys
        self._client = httpx.AsyncClient(headers=dict(headers), timeout=timeout_s, transport=transport)

    async def ensure(self, shard: str, at_ms: int) -> None:
        """Have the shard woken no later than ``at_ms``.

        Raises:
            EnsureError: it did not answer that it will.
        """
        body = json.dumps({"type": "alarm.ensure", "shard": shard, "at": at_ms}).encode()
        signed = self._keys.headers(body, message_id=f"ensure_{uuid.uuid4().hex}", at=datetime.now(UTC))
        headers = {**signed, "content-type": "application/json"}
        try:
            answer = await self._client.post(
                f"{self._url}/v1/shards/{shard}/alarm", content=body, headers=headers
            )
        except httpx.HTTPError as error:
            raise EnsureError(f"the Worker cannot be reached: {error!r}") from error
        if answer.status_code != 200:
            raise EnsureError(
                f"the Worker answers {answer.status_code}",
                refused=answer.status_code in REFUSALS,
                retry_after_s=_seconds(answer.headers.get("retry-after", "")),
            )
        if not _is_armed(answer):
            raise EnsureError("what answers at the Worker's URL is not the Worker", refused=True)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class Ensurer:
    """Keeps one shard armed: one request in flight, the earliest of all further wishes next.

    Args:
        shard: its name.
        ensure: posts one request.
    """

    def __init__(self, shard: str, ensure: Callable[[str, int], Awaitable[None]]) -> None:
        self.shard = shard
        self._ensure = ensure
        self._at_ms: int | None = None
        self._failures = 0
        self._wanted = asyncio.Event()
        self._hurried = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    def want(self, at_ms: int) -> None:
        """Have the shard woken no later than this."""
        self._at_ms = at_ms if self._at_ms is None else min(self._at_ms, at_ms)
        self._wanted.set()
        self._settled.clear()

    async def settled(self) -> None:
        """Return when the Worker has confirmed everything that was wanted."""
        await self._settled.wait()

    def hurry(self) -> None:
        """Make the next try now, however many have failed; there is not much time from now on."""
        self._hurried.set()

    async def run(self) -> None:
        """Post what is wanted, for ever."""
        while True:
            await self._wanted.wait()
            await self._ensure_once()

    async def _ensure_once(self) -> None:
        at_ms, self._at_ms = self._at_ms, None
        self._wanted.clear()
        assert at_ms is not None
        try:
            await self._ensure(self.shard, at_ms)
        except EnsureError as error:
            self.want(at_ms)
            await self._pause(error)
            return
        self._failures = 0
        if self._at_ms is None:
            self._settled.set()

    async def _pause(self, error: EnsureError) -> None:
        self._failures += 1
        delay_s = min(BACKOFF_FIRST_S * 2 ** min(self._failures - 1, 16), BACKOFF_MAX_S)
        delay_s *= random.uniform(0.5, 1.0)  # noqa: S311  # spreads retries, guards nothing
        delay_s = max(delay_s, min(error.retry_after_s, BACKOFF_MAX_S))
        level = logging.ERROR if error.refused else logging.WARNING
        log.log(
            level,
            "shard %r is not armed: %s; try %d is in %.1f s",
            self.shard,
            error,
            self._failures + 1,
            delay_s,
        )
        if self._hurried.is_set():  # a stop waits for us: no time for a back-off, nor to spin
            await asyncio.sleep(BACKOFF_FIRST_S / 2)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._hurried.wait()


def _seconds(retry_after: str) -> float:
    """A Retry-After of seconds; 0 for none, and for a date: the Worker sends none."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0


def _is_armed(answer: httpx.Response) -> bool:
    try:
        return isinstance(answer.json()["armed"], int)
    except (ValueError, KeyError, TypeError):
        return False
