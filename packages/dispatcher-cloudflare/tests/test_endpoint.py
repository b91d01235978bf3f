"""The tick endpoint without a network: bounded slices, one at a time, and what it answers when it cannot work."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from keepstep import TickResult, UsageError
from keepstep.errors import StoreUnavailableError
from keepstep_cloudflare import Shards, new_secret, tick_endpoint
from keepstep_cloudflare.signatures import Keyring

SECRET = new_secret()
URL = "https://app.test/keepstep/tick"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Queue:
    """An app with so many instances due; a tick takes no time unless it is held."""

    workflow_names = ("alpha", "beta", "gamma")

    def __init__(self, due=0, error=None) -> None:
        self.due = due
        self.error = error
        self.sizes: list[int] = []
        self.workflows: list[tuple[str, ...]] = []
        self.release = asyncio.Event()
        self.release.set()
        self.begun = asyncio.Event()
        self.at_once = 0

    async def tick(self, max_instances=None, *, workflows=None):
        """Advance some, as an app would."""
        self.sizes.append(max_instances)
        self.workflows.append(tuple(workflows))
        self.at_once += 1
        assert self.at_once == 1, "two slices at the same time"
        self.begun.set()
        try:
            await self.release.wait()
        finally:
            self.at_once -= 1
        if self.error is not None:
            raise self.error
        done = min(max_instances, self.due)
        self.due -= done
        return TickResult(done, NOW if self.due else NOW + timedelta(hours=1))


def endpoint(app, **options):
    """An endpoint for an app."""
    return tick_endpoint(app, SECRET, **{"shard": "main", "aud": URL, **options})


async def ticked(asgi, shard="main"):
    """What a signed tick is answered."""
    said = {"type": "workflow.tick", "aud": URL, "shard": shard, "gen": 1, "attempt": 0}
    body = json.dumps(said | {"scheduled_at": 1, "fired_at": 1}).encode()
    headers = Keyring(SECRET).headers(body, message_id="m", at=datetime.now(UTC))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi)) as client:
        return await client.post(URL, content=body, headers=headers)


async def test_a_slice_ends_where_its_count_does():
    """It advances so many and says that more is due now."""
    app = Queue(due=50)
    answer = (await ticked(endpoint(app, max_instances=20))).json()
    assert answer == {"processed": 20, "next_due": int(NOW.timestamp() * 1000)}
    assert sum(app.sizes) == 20
    assert app.sizes == [1, 2, 4, 8, 5], "quick batches grow"


async def test_a_slice_ends_when_nothing_is_due():
    """Then the answer says when something will be."""
    answer = (await ticked(endpoint(Queue(due=3)))).json()
    assert answer == {"processed": 3, "next_due": int((NOW + timedelta(hours=1)).timestamp() * 1000)}


async def test_a_slice_ends_when_its_time_is_over():
    """No further batch is begun; at least one is."""
    app = Queue(due=50)
    assert (await ticked(endpoint(app, max_time="0 seconds"))).json()["processed"] == 1


async def test_ticks_at_the_same_time_share_a_slice():
    """One in flight, one queued: ten that come during a slice are one more."""
    app = Queue()
    asgi = endpoint(app)
    app.release.clear()
    first = asyncio.create_task(ticked(asgi))
    await app.begun.wait()
    others = [asyncio.create_task(ticked(asgi)) for _ in range(10)]
    for _ in range(20):
        await asyncio.sleep(0)
    app.release.set()
    answers = await asyncio.gather(first, *others)
    assert {answer.status_code for answer in answers} == {200}
    assert len(app.sizes) == 2


async def test_a_tick_that_takes_long_is_answered_and_goes_on():
    """503 and when to ask again; the next tick finds the slice still at it."""
    app = Queue(due=1)
    asgi = endpoint(app, answer_within="10 ms")
    app.release.clear()
    for _ in range(2):
        answer = await ticked(asgi)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert app.sizes == [1]
    app.release.set()
    assert (await ticked(endpoint(app))).status_code == 200
    assert app.due == 0


@pytest.mark.parametrize(
    ("error", "status"), [(StoreUnavailableError("away"), 503), (ValueError("defect"), 500)]
)
async def test_trouble_has_the_worker_come_back(error, status, caplog):
    """503 when the database is away; 500, with a traceback in the log, for a bug. Neither tells the caller more."""
    answer = await ticked(endpoint(Queue(due=1, error=error)))
    assert (answer.status_code, answer.content) == (status, b"")
    assert any(record.exc_info for record in caplog.records) == (status == 500)


async def test_a_drain_lets_the_slice_end_and_refuses_others():
    """Ticks are 503 from then on, until the endpoint is opened again."""
    app = Queue(due=1)
    asgi = endpoint(app)
    app.release.clear()
    first = asyncio.create_task(ticked(asgi))
    await app.begun.wait()
    draining = asyncio.create_task(asgi.drain(60))
    await asyncio.sleep(0)
    assert (await ticked(asgi)).status_code == 503
    assert not draining.done()
    app.release.set()
    await draining
    assert (await first).json()["processed"] == 1
    asgi.open()
    assert (await ticked(asgi)).status_code == 200


async def test_a_drain_cuts_off_what_outlasts_its_grace():
    """The tick is answered 503, and the endpoint works again when it is opened."""
    app = Queue(due=1)
    asgi = endpoint(app)
    app.release.clear()
    waiting = [asyncio.create_task(ticked(asgi)) for _ in range(2)]
    await app.begun.wait()
    await asgi.drain(0)
    assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [503, 503]
    app.release.set()
    asgi.open()
    assert (await ticked(asgi)).json()["processed"] == 1


async def test_a_shard_advances_its_workflows_only():
    """Each workflow belongs to one shard; together they have them all."""
    shards, app = Shards("part", 3), Queue()
    asgi = endpoint(app, shard=shards)
    for name in shards.names:
        assert (await ticked(asgi, name)).status_code == 200
    assert sorted(name for names in app.workflows for name in names) == sorted(app.workflow_names)
    assert (await ticked(asgi, "part-3")).status_code == 403


async def test_only_http_is_answered():
    """A lifespan or a websocket is its host's affair."""
    with pytest.raises(UsageError, match="lifespan"):
        await endpoint(Queue())({"type": "lifespan"}, None, None)


@pytest.mark.parametrize(
    "options",
    [{"max_instances": 0}, {"max_instances": True}, {"aud": "/tick"}, {"shard": "a b"}, {"max_time": "soon"}],
)
def test_values_out_of_range_are_refused_where_they_are_given(options):
    """A mistake shows at start, not at the first tick."""
    with pytest.raises(Exception, match=r"max_|aud|shard") as raised:
        tick_endpoint(NoQueue, SECRET, **{"shard": "main", "aud": URL, **options})
    assert isinstance(raised.value, UsageError | ValueError) or "Duration" in type(raised.value).__name__


class NoQueue:
    """Nothing to do."""

    workflow_names = ()
