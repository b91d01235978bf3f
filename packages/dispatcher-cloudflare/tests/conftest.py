"""A bridge to test: secrets, a Worker on a real workerd, and the place where its ticks arrive."""

import json
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from keepstep import TickResult
from keepstep_cloudflare import CloudflareDispatcher, new_secret, tick_endpoint
from keepstep_cloudflare.signatures import Keyring
from tests.support.workerd import Recorder, Workerd, built, free_port, served


def now_ms() -> int:
    """The time, as the Worker counts it."""
    return time.time_ns() // 1_000_000


class NoWork:
    """An app on which nothing is ever due; counts its ticks."""

    workflow_names = ("none",)

    def __init__(self) -> None:
        self.ticks = 0

    async def tick(self, max_instances=None, *, workflows=None):
        """Count, and find nothing."""
        self.ticks += 1
        return TickResult(0, None)


class Bridge:
    """Both sides' configuration, and what tests do with it.

    Attributes:
        schedule: the secret of the app's messages to the Worker.
        tick: the secret of the Worker's messages to the app.
        workers: those that were started, ended with the test.
    """

    def __init__(self, script, folder) -> None:
        self.script, self.folder = script, folder
        self.schedule, self.tick = new_secret(), new_secret()
        self.port = free_port()
        self.tick_url = f"http://127.0.0.1:{self.port}/keepstep/tick"
        self.workers: list[Workerd] = []
        self.http = httpx.AsyncClient(timeout=10)

    async def worker(self, **variables) -> Workerd:
        """A started Worker."""
        made = self.make_worker(**variables)
        await made.start()
        return made

    def make_worker(self, **variables) -> Workerd:
        """A Worker that is not started yet, but has its port."""
        given = {
            "SHARDS": ["main", "other"],
            "TICK_URL": self.tick_url,
            "SCHEDULE_SECRETS": self.schedule,
            "TICK_SECRETS": self.tick,
            **variables,
        }
        folder = self.folder / f"worker-{len(self.workers)}"
        folder.mkdir()
        made = Workerd(self.script, folder, given)
        made.port = free_port()
        self.workers.append(made)
        return made

    def dispatcher(self, worker, shard="main", **options) -> CloudflareDispatcher:
        """The app's side of a Worker."""
        return CloudflareDispatcher(
            worker.url, shard, self.schedule, self.tick, tick_url=self.tick_url, **options
        )

    def endpoint(self, app=None, **options):
        """Where ticks arrive, for an app on which nothing is due unless one is given."""
        given = {"tick_secrets": self.tick, "shard": "main", "aud": self.tick_url, **options}
        return tick_endpoint(app or NoWork(), **given)

    def recorder(self, *answers, endpoint=None) -> Recorder:
        """A recorder with prepared answers."""
        made = Recorder(endpoint or self.endpoint())
        made.answers.extend(answers)
        return made

    def served(self, asgi):
        """An ASGI app at the tick URL."""
        return served(asgi, self.port)

    def signed(self, said, *, secrets=None, age_s=0.0) -> tuple[bytes, dict[str, str]]:
        """A body and the headers that sign it."""
        body = json.dumps(said).encode()
        at = datetime.now(UTC) - timedelta(seconds=age_s)
        return body, Keyring(secrets or self.schedule).headers(body, message_id="message", at=at)

    async def ensure(self, worker, in_s=0.0, *, shard="main", **signing) -> httpx.Response:
        """Ask the Worker to wake a shard."""
        said = {"type": "alarm.ensure", "shard": shard, "at": now_ms() + round(in_s * 1000)}
        body, headers = self.signed(said, **signing)
        return await self.post(worker, body, headers, shard=shard)

    async def post(self, worker, body, headers, *, shard="main") -> httpx.Response:
        """Send the Worker a request as it is."""
        return await self.http.post(f"{worker.url}/v1/shards/{shard}/alarm", content=body, headers=headers)

    async def close(self) -> None:
        """End what was started."""
        await self.http.aclose()
        for each in self.workers:
            await each.stop()


@pytest.fixture
def no_work():
    """An app on which nothing is due."""
    return NoWork()


@pytest.fixture(scope="session")
def built_worker(tmp_path_factory):
    """The Worker, compiled; a type error fails here."""
    return built(tmp_path_factory.mktemp("worker"))


@pytest.fixture
async def bridge(built_worker, tmp_path):
    """A bridge; its Workers end with the test."""
    made = Bridge(built_worker, tmp_path)
    yield made
    await made.close()
