"""The Worker's alarm as a model, for virtual time: the rules of index.ts in Python, on a loop's clock.

What the real Worker does on a real workerd is tested beside it; the model lets hours of it pass in a moment.
"""

import asyncio
import json
import random
from datetime import UTC, datetime

import httpx

from keepstep_cloudflare.signatures import Keyring

HEARTBEAT_S = 900.0
TRIES_MAX_S = 300.0
NO_PROGRESS_S, NO_PROGRESS_MAX_S = 0.05, 1.0


class AlarmModel:
    """One shard: armed no later than it was asked to, ticks, arms itself again, for ever.

    Args:
        true_ms: its own clock, which is not the app's machine's.
        schedule: what the app signs with.
        tick: what it signs ticks with.
        tick_url: where they go.
        asgi: what answers there.
    """

    def __init__(self, true_ms, *, schedule, tick, tick_url, asgi) -> None:
        self._true_ms = true_ms
        self._schedule, self._tick = Keyring(schedule), Keyring(tick)
        self._url = tick_url
        self._app = httpx.AsyncClient(transport=httpx.ASGITransport(asgi))
        self._draw = random.Random(1)
        self._armed: int | None = None
        self._ringing = asyncio.Event()
        self._gen, self._attempt, self._idle = 1, 0, 0
        self.transport = httpx.MockTransport(self._ensure)

    async def run(self) -> None:
        """Ring, for ever."""
        try:
            while True:
                while self._armed is None or self._armed > self._true_ms():
                    self._ringing.clear()
                    pause = None if self._armed is None else (self._armed - self._true_ms()) / 1000
                    try:
                        async with asyncio.timeout(pause):
                            await self._ringing.wait()
                    except TimeoutError:
                        pass
                self._armed = None
                self._arm(await self._ring())
        finally:
            await self._app.aclose()

    async def _ensure(self, request: httpx.Request) -> httpx.Response:
        age_s = abs(self._true_ms() / 1000 - int(request.headers["webhook-timestamp"]))
        if age_s > 300 or not self._schedule.accepts(request.content, request.headers):
            return httpx.Response(401)
        now, at = self._true_ms(), json.loads(request.content)["at"]
        self._arm(max(at, now))
        return httpx.Response(200, json={"armed": self._armed, "now": now})

    def _arm(self, at: int | None) -> None:
        if at is not None:
            self._armed = at if self._armed is None else min(self._armed, at)
            self._ringing.set()

    async def _ring(self) -> int | None:
        fired = self._true_ms()
        times = {"gen": self._gen, "attempt": self._attempt, "scheduled_at": fired, "fired_at": fired}
        said = {"type": "workflow.tick", "aud": self._url, "shard": "main", **times}
        body = json.dumps(said).encode()
        headers = self._tick.headers(
            body, message_id=f"tick_main_{self._gen}", at=datetime.fromtimestamp(fired / 1000, UTC)
        )
        answer = await self._app.post(self._url, content=body, headers=headers)
        now = self._true_ms()
        if answer.status_code == 410:
            self._attempt = 0
            return None
        if not answer.is_success:
            ceiling = min(2.0**self._attempt, TRIES_MAX_S)
            self._attempt += 1
            asked = float(answer.headers.get("retry-after", 0))
            return now + round(max(ceiling * (0.5 + self._draw.random() / 2), asked) * 1000)
        self._gen, self._attempt = self._gen + 1, 0
        idle, self._idle = self._idle, 0
        due, heartbeat = answer.json()["next_due"], now + round(HEARTBEAT_S * 1000)
        if due is None:
            return heartbeat
        if due > now or answer.json()["processed"]:
            return min(max(due, now), heartbeat)
        self._idle = idle + 1
        return now + round(min(NO_PROGRESS_S * 2**idle, NO_PROGRESS_MAX_S) * 1000)
