"""The app's side of the bridge, with a Worker made of a function: what it is told, how often, and what a stop does."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from keepstep import UsageError
from keepstep.errors import StoreUnavailableError
from keepstep_cloudflare import CloudflareDispatcher, Shards, new_secret
from keepstep_cloudflare.signatures import Keyring

SCHEDULE, TICK = new_secret(), new_secret()
NOW_MS = 1_800_000_000_000
MINUTE_MS = 60_000


class FixedClock:
    """A time that stands still."""

    def now_ms(self):
        """The time."""
        return NOW_MS

    def monotonic(self):
        """Nothing passes."""
        return 0.0


class Database:
    """What a dispatcher can ask: when each workflow is due."""

    def __init__(self, **due_ms) -> None:
        self.due_ms = due_ms
        self.failures = 0
        self.asked = 0

    @property
    def workflows(self):
        """The names."""
        return tuple(self.due_ms)

    async def next_due(self, workflows):
        """The earliest."""
        self.asked += 1
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError("away")
        found = [self.due_ms[name] for name in workflows if self.due_ms[name] is not None]
        return datetime.fromtimestamp(min(found) / 1000, UTC) if found else None

    async def look(self):
        """Never asked for."""
        raise AssertionError("a remote dispatcher does not look")

    async def listen(self, on_hint):
        """Never asked for."""
        raise AssertionError("a remote dispatcher does not listen")


class FakeWorker:
    """Answers ensures; notes them."""

    def __init__(self) -> None:
        self.ensured: list[tuple[str, int]] = []
        self.requests: list[httpx.Request] = []
        self.answers: list[httpx.Response | Exception] = []
        self.hold: asyncio.Event | None = None
        self.came = asyncio.Event()
        self.transport = httpx.MockTransport(self.answer)

    async def answer(self, request):
        """One request."""
        self.requests.append(request)
        self.came.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.answers:
            prepared = self.answers.pop(0)
            if isinstance(prepared, Exception):
                raise prepared
            return prepared
        said = json.loads(request.content)
        assert request.url.path == f"/v1/shards/{said['shard']}/alarm"
        assert said["type"] == "alarm.ensure"
        assert Keyring(SCHEDULE).accepts(request.content, request.headers)
        self.ensured.append((said["shard"], said["at"] - NOW_MS))
        return httpx.Response(200, json={"armed": said["at"], "now": NOW_MS})


@pytest.fixture
def worker(monkeypatch):
    """A fake Worker; waits between tries are short."""
    monkeypatch.setattr("keepstep_cloudflare.ensuring.BACKOFF_FIRST_S", 0.001)
    monkeypatch.setattr("keepstep_cloudflare.dispatcher.TROUBLE_S", 0.001)
    monkeypatch.setattr("keepstep_cloudflare.dispatcher.LAST_ENSURE_S", 0.05)
    return FakeWorker()


def dispatcher_of(worker, shard="main", **options):
    """A dispatcher that talks to a fake Worker."""
    return CloudflareDispatcher(
        "https://worker.test/",
        shard,
        SCHEDULE,
        TICK,
        tick_url="https://app.test/tick",
        clock=FixedClock(),
        transport=worker.transport,
        **options,
    )


async def test_a_start_tells_what_is_due(worker):
    """Reconcile: whatever was lost with another process is told by the next."""
    dispatcher = dispatcher_of(worker)
    await dispatcher.start(Database(alpha=NOW_MS + 5000, beta=NOW_MS + 3000))
    assert await dispatcher.settled()
    assert worker.ensured == [("main", 3000)]
    await dispatcher.stop()


async def test_a_start_with_nothing_due_starts_the_heartbeat(worker):
    """The Worker then asks by itself, and finds what a lost wake would leave."""
    dispatcher = dispatcher_of(worker)
    await dispatcher.start(Database(alpha=None))
    assert await dispatcher.settled()
    assert worker.ensured == [("main", 15 * MINUTE_MS)]
    await dispatcher.stop()


async def test_a_start_survives_a_database_that_is_away(worker, caplog):
    """It asks again."""
    database, dispatcher = Database(alpha=NOW_MS), dispatcher_of(worker)
    database.failures = 3
    await dispatcher.start(database)
    assert await dispatcher.settled()
    assert worker.ensured == [("main", 0)]
    assert "away" in caplog.text
    await dispatcher.stop()


async def test_wakes_are_merged_while_one_is_on_its_way(worker):
    """One request in flight, then one with the earliest of all wishes."""
    dispatcher = dispatcher_of(worker)
    await dispatcher.start(Database(alpha=None))
    await dispatcher.settled()
    worker.hold = asyncio.Event()
    worker.came.clear()
    await dispatcher.wake(at(9000))
    await worker.came.wait()
    for later in (8000, 2000, 5000):
        await dispatcher.wake(at(later))
    worker.hold.set()
    assert await dispatcher.settled()
    assert worker.ensured[1:] == [("main", 9000), ("main", 2000)]
    await dispatcher.stop()


async def test_a_wake_does_not_wait_for_the_worker(worker):
    """The request path only says what it wants."""
    dispatcher = dispatcher_of(worker)
    worker.hold = asyncio.Event()
    await dispatcher.start(Database(alpha=None))
    async with asyncio.timeout(1):
        await dispatcher.wake()
    assert not await dispatcher.settled("10 ms")
    worker.hold.set()
    assert await dispatcher.settled()
    assert ("main", -NOW_MS) in worker.ensured  # instant 0: past on every clock
    await dispatcher.stop()


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.Response(500),
        httpx.Response(401),
        httpx.Response(302, headers={"location": "https://login.test"}),
        httpx.Response(200, text="<html>Sign in</html>"),
        httpx.Response(200, json=[]),
        httpx.Response(429, headers={"retry-after": "0"}),
    ],
    ids=repr,
)
async def test_an_ensure_is_made_again_until_the_worker_says_it_is_armed(worker, trouble, caplog):
    """Nothing is given up; an answer that only configuration can change is an error in the log."""
    dispatcher = dispatcher_of(worker)
    worker.answers = [trouble, trouble]
    await dispatcher.start(Database(alpha=NOW_MS + 1000))
    assert await dispatcher.settled()
    assert worker.ensured == [("main", 1000)]
    refused = isinstance(trouble, httpx.Response) and trouble.status_code in {200, 401}
    assert {record.levelname for record in caplog.records} >= {"ERROR" if refused else "WARNING"}
    await dispatcher.stop()


async def test_an_earlier_wish_joins_one_that_failed(worker):
    """Min-merge also over failures."""
    dispatcher = dispatcher_of(worker)
    worker.answers = [httpx.Response(500)]
    await dispatcher.start(Database(alpha=NOW_MS + 5000))
    await worker.came.wait()
    await dispatcher.wake(at(1000))
    assert await dispatcher.settled()
    assert ("main", 1000) in worker.ensured
    await dispatcher.stop()


async def test_a_process_that_stays_up_checks_from_time_to_time(worker):
    """The heartbeat repairs a wake that was lost on its way."""
    database = Database(alpha=NOW_MS + 7000)
    dispatcher = dispatcher_of(worker, heartbeat="1 second")
    await dispatcher.start(database)
    await dispatcher.settled()
    worker.came.clear()
    database.due_ms["alpha"] = NOW_MS + 6000
    async with asyncio.timeout(5):
        await worker.came.wait()
    await dispatcher.settled()
    assert worker.ensured == [("main", 7000), ("main", 6000)]
    await dispatcher.stop()


async def test_with_several_shards_the_database_says_whom_a_wake_concerns(worker):
    """Only a shard with something new to do is told; what it knows already is not repeated."""
    shards = Shards("part", 2)
    names = {shards.of(name): name for name in ("a", "b", "c", "d", "e", "f")}
    first, second = (names[shard] for shard in shards.names)
    database, dispatcher = Database(**{first: NOW_MS + 4000, second: None}), dispatcher_of(worker, shards)
    await dispatcher.start(database)
    assert await dispatcher.settled()
    assert sorted(worker.ensured) == [("part-0", 4000), ("part-1", 15 * MINUTE_MS)]
    worker.ensured.clear()
    database.due_ms[second] = NOW_MS + 10
    await dispatcher.wake()
    assert await dispatcher.settled()
    assert worker.ensured == [("part-1", 10)]
    await dispatcher.stop()


async def test_a_stop_tells_the_worker_what_is_still_wanted(worker):
    """The last try is now, however long the wait before it would have been."""
    dispatcher = dispatcher_of(worker)
    await dispatcher.start(Database(alpha=None))
    await dispatcher.settled()
    await dispatcher.wake(at(500))
    await dispatcher.stop()
    assert worker.ensured[-1] == ("main", 500)


async def test_a_stop_does_not_wait_for_a_worker_that_is_away(worker, caplog):
    """It says so in the log; the next start tells what is due."""
    dispatcher = dispatcher_of(worker)
    worker.answers = [httpx.ConnectError("refused")] * 10_000
    await dispatcher.start(Database(alpha=NOW_MS))
    async with asyncio.timeout(5):
        await dispatcher.stop()
    assert "the next start tells it" in caplog.text
    before = len(worker.requests)
    await asyncio.sleep(0)
    assert len(worker.requests) == before


async def test_start_and_stop_are_idempotent_and_repeatable(worker):
    """A second of either changes nothing; another app is refused."""
    dispatcher, database = dispatcher_of(worker), Database(alpha=NOW_MS)
    await dispatcher.stop()
    for _ in range(2):
        await dispatcher.start(database)
        await dispatcher.start(database)
        with pytest.raises(UsageError, match="another app"):
            await dispatcher.start(Database())
        await dispatcher.settled()
        await dispatcher.stop()
        await dispatcher.stop()
    assert worker.ensured == [("main", 0)] * 2


async def test_headers_for_a_gate_in_front_of_the_worker_are_sent(worker):
    """Such as a Cloudflare Access service token."""
    dispatcher = dispatcher_of(worker, headers={"CF-Access-Client-Id": "app"})
    await dispatcher.start(Database(alpha=NOW_MS))
    await dispatcher.settled()
    assert worker.requests[0].headers["cf-access-client-id"] == "app"
    await dispatcher.stop()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"url": "worker.test"}, "url"),
        ({"shard": "a/b"}, "shard"),
        ({"schedule_secrets": ""}, "schedule_secrets"),
        ({"schedule_secrets": "hunter2hunter2"}, r"schedule_secrets\[0\]"),
        ({"tick_secrets": ["whsec_AAAA"]}, r"tick_secrets\[0\]"),
        ({"heartbeat": "10 ms"}, "heartbeat"),
        ({"tick_url": "/tick"}, "tick_url"),
    ],
)
def test_a_wrong_value_is_refused_where_it_is_given(changed, said):
    """H: one clear error, and never a secret in it."""
    given = {
        "url": "https://worker.test",
        "shard": "main",
        "schedule_secrets": SCHEDULE,
        "tick_secrets": TICK,
    }
    with pytest.raises(UsageError, match=said) as raised:
        CloudflareDispatcher(**{**given, "tick_url": "https://app.test/tick", **changed})
    assert "hunter2" not in str(raised.value)


def at(later_ms):
    """An instant, so many milliseconds from now."""
    return datetime.fromtimestamp(NOW_MS / 1000, UTC) + timedelta(milliseconds=later_ms)
