"""A reminder is said although no process lives from its creation to its time: each request has one of its own."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx

from examples.scale_to_zero.reminders import TICK_PATH, make_asgi
from keepstep_cloudflare import new_secret
from keepstep_cloudflare.signatures import Keyring

SCHEDULE, TICK = new_secret(), new_secret()
PUBLIC = "https://reminders.test"


class Alarm:
    """A Worker as small as can be: remembers the earliest instant, and ticks when it is told to."""

    def __init__(self) -> None:
        self.armed: int | None = None

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Take an ensure."""
        at = json.loads(request.content)["at"]
        self.armed = at if self.armed is None else min(self.armed, at)
        return httpx.Response(200, json={"armed": self.armed, "now": at})

    async def tick(self, client: httpx.AsyncClient) -> int:
        """Ring: how many instances the app advanced."""
        said = {
            "type": "workflow.tick",
            "aud": PUBLIC + TICK_PATH,
            "shard": "reminders",
            "gen": 1,
            "attempt": 0,
        }
        body = json.dumps(said | {"scheduled_at": self.armed, "fired_at": self.armed}).encode()
        headers = Keyring(TICK).headers(body, message_id="tick", at=datetime.now(UTC))
        answer = (await client.post(TICK_PATH, content=body, headers=headers)).raise_for_status().json()
        self.armed = answer["next_due"]
        return answer["processed"]


@contextlib.asynccontextmanager
async def process(database: Path, alarm: Alarm) -> AsyncIterator[httpx.AsyncClient]:
    """The app, for as long as a host lets it live."""
    asgi = make_asgi(
        f"sqlite:///{database}",
        alarm_url="https://alarm.test",
        public_url=PUBLIC,
        schedule_secrets=SCHEDULE,
        tick_secrets=TICK,
        transport=httpx.MockTransport(alarm.answer),
    )
    async with (
        asgi.router.lifespan_context(asgi),
        httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url=PUBLIC) as client,
    ):
        yield client


async def test_a_reminder_needs_no_process_to_wait_in(tmp_path: Path) -> None:
    """Created, gone; ticked, gone; ticked at its time: said."""
    database, alarm = tmp_path / "reminders.db", Alarm()
    async with process(database, alarm) as client:
        answer = await client.post("/reminders", json={"text": "water the plants", "after": "100 ms"})
        where = f"/reminders/{answer.json()['id']}"
    assert alarm.armed is not None

    async with process(database, alarm) as client:
        assert await alarm.tick(client) == 1
        assert (await client.get(where)).json()["status"] == "waiting"
    assert alarm.armed is not None
    assert alarm.armed <= (time.time() + 1) * 1000

    async with process(database, alarm) as client:
        while (await client.get(where)).json()["status"] == "waiting":
            await alarm.tick(client)  # one that comes early changes nothing
        assert (await client.get(where)).json() == {
            "status": "complete",
            "said": "Remember: water the plants",
        }
        assert (await client.get("/reminders/unknown")).status_code == 404
