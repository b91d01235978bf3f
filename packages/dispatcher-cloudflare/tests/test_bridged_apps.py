"""An app on the bridge, from create to result: nothing but ticks advances it (B9). Real workerd, real uvicorn."""

import asyncio
import contextlib

import pytest

from keepstep import App, WorkflowEvent, WorkflowStep, workflow
from keepstep_cloudflare import Shards

CRAWLS: list[str] = []
BEGUN = asyncio.Event()


async def shout(text: str) -> str:
    """A step."""
    return text.upper()


@workflow(name="calling")
async def calling(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """A step, a second's sleep, an event, an end."""
    loud = await step.do("shout", shout, event.payload)
    await step.sleep("a while", "1 second")
    answer = await step.wait_for_event("answer", "answer", timeout="1 hour")
    return f"{loud} {answer.payload}"


@workflow(name="greeting")
async def greeting(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """One step."""
    return await step.do("shout", shout, event.payload)


@workflow(name="crawling")
async def crawling(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """A step that takes long."""

    async def crawl() -> str:
        CRAWLS.append(event.payload)
        BEGUN.set()
        await asyncio.sleep(2)
        return "there"

    return await step.do("crawl", crawl)


WORKFLOWS = {"CALL": calling, "GREET": greeting, "CRAWL": crawling}


@pytest.fixture(autouse=True)
def nothing_crawled(monkeypatch):
    """Each test counts its own."""
    CRAWLS.clear()
    monkeypatch.setitem(globals(), "BEGUN", asyncio.Event())


@pytest.fixture
def sqlite_url(tmp_path):
    """The URL of an empty database: for what does not depend on its kind."""
    return f"sqlite:///{tmp_path}/bridged.db"


@contextlib.asynccontextmanager
async def bridged(bridge, worker, database_url, shard="main", **options):
    """A running app on the bridge, its ticks served."""
    dispatcher = bridge.dispatcher(worker, shard)
    app = App(database_url, workflows=WORKFLOWS, dispatcher=dispatcher)
    arrived = bridge.recorder(endpoint=dispatcher.endpoint(app, **options))
    async with bridge.served(arrived), app.running():
        yield app, dispatcher, arrived


async def test_an_instance_runs_from_tick_to_tick(bridge, database_url):
    """Created, slept, waited, ended: each by the tick that the last answer or an ensure brought."""
    worker = await bridge.worker()
    async with bridged(bridge, worker, database_url) as (app, _, arrived):
        instance = await app.workflows.CALL.create(id="c-1", params="hello")
        await instance.send_event("answer", "world")
        assert await instance.result(timeout="20 seconds") == "HELLO world"
        details = await instance.details()
    assert 1.0 <= (details.completed_at - details.created_at).total_seconds() < 10
    assert {tick.status for tick in arrived.ticks} == {200}
    assert len(arrived.ticks) < 10


async def test_a_burst_is_few_messages(bridge, database_url):
    """Two hundred commits: wishes are merged, and ticks work on slices until nothing is due."""
    worker = await bridge.worker()
    async with bridged(bridge, worker, database_url, max_instances=60) as (app, dispatcher, arrived):
        instances = [await app.workflows.GREET.create(id=f"g-{n}", params="hi") for n in range(200)]
        async with asyncio.timeout(30):
            results = await asyncio.gather(*(each.result(timeout="30 seconds") for each in instances))
        assert await dispatcher.settled()
    assert set(results) == {"HI"}
    assert 4 <= len(arrived.ticks) <= 200


async def test_what_fell_due_while_nothing_ran_is_found_at_the_start(bridge, database_url):
    """An instance that was created beside the dispatcher is told to the Worker by the app's start."""
    aside = App(database_url, workflows=WORKFLOWS, dispatcher=None)
    await aside.migrate()
    await aside.workflows.GREET.create(id="g-1", params="hi")
    await aside.stop()
    worker = await bridge.worker()
    async with bridged(bridge, worker, database_url) as (app, _, _arrived):
        instance = await app.workflows.GREET.get("g-1")
        assert await instance.result(timeout="20 seconds") == "HI"


async def test_a_lost_wake_is_repaired_by_the_heartbeat(bridge, sqlite_url):
    """A commit that nobody tells the Worker is found by the next tick in any case."""
    worker = await bridge.worker(HEARTBEAT_MS=500)
    aside = App(sqlite_url, workflows=WORKFLOWS, dispatcher=None)
    async with bridged(bridge, worker, sqlite_url) as (app, _, arrived):
        await app.workflows.GREET.create(id="g-0", params="hi")
        while not any(tick.status == 200 for tick in arrived.ticks):
            await arrived.next()
        await aside.workflows.GREET.create(id="g-1", params="hi")
        await aside.stop()
        instance = await app.workflows.GREET.get("g-1")
        assert await instance.result(timeout="20 seconds") == "HI"


async def test_a_worker_that_is_down_is_told_when_it_is_back(bridge, sqlite_url):
    """The ensure is made again in the background; the verb that caused it never waits."""
    worker = bridge.make_worker()
    async with bridged(bridge, worker, sqlite_url) as (app, dispatcher, _):
        async with asyncio.timeout(5):
            instance = await app.workflows.GREET.create(params="hi")
        assert not await dispatcher.settled("1 second")
        await worker.start()
        assert await instance.result(timeout="30 seconds") == "HI"
        assert await dispatcher.settled("10 seconds")


async def test_a_step_that_outlasts_its_tick_runs_once(bridge, sqlite_url):
    """The Worker gives up after 0.5 s; the slice goes on, later ticks wait for it, the step is not begun again."""
    worker = await bridge.worker(TICK_TIMEOUT_MS=500)
    async with bridged(bridge, worker, sqlite_url) as (app, _, arrived):
        instance = await app.workflows.CRAWL.create(params="slow")
        assert await instance.result(timeout="30 seconds") == "there"
    assert CRAWLS == ["slow"]
    assert len(arrived.ticks) >= 2


async def test_a_busy_app_answers_before_the_worker_gives_up(bridge, sqlite_url):
    """503 with Retry-After, and the step goes on."""
    worker = await bridge.worker()
    options = {"answer_within": "300 ms"}
    async with bridged(bridge, worker, sqlite_url, **options) as (app, _, arrived):
        instance = await app.workflows.CRAWL.create(params="slow")
        assert (await arrived.next()).status in {200, 503}
        assert await instance.result(timeout="30 seconds") == "there"
    assert CRAWLS == ["slow"]
    assert 503 in {tick.status for tick in arrived.ticks}


async def test_workflows_are_shared_out_over_shards(bridge, sqlite_url):
    """Each workflow has its alarm; a tick of a shard advances its own workflows and no other."""
    shards = Shards("part", 3)
    worker = await bridge.worker(SHARDS=list(shards.names))
    async with bridged(bridge, worker, sqlite_url, shards) as (app, dispatcher, arrived):
        instance = await app.workflows.GREET.create(params="hi")
        assert await instance.result(timeout="20 seconds") == "HI"
        assert await dispatcher.settled()
        call = await app.workflows.CALL.create(params="hello")
        await call.send_event("answer", "world")
        assert await call.result(timeout="20 seconds") == "HELLO world"
    assert {tick.said["shard"] for tick in arrived.ticks} >= {shards.of("greeting"), shards.of("calling")}


async def test_a_stop_during_a_tick_drains(bridge, database_url):
    """The slice in flight ends and is kept; ticks that come later are sent away."""
    worker = await bridge.worker()
    async with bridged(bridge, worker, database_url) as (app, _, arrived):
        instance = await app.workflows.CRAWL.create(params="slow")
        async with asyncio.timeout(10):
            await BEGUN.wait()
        await app.stop()
        await bridge.ensure(worker)
        ticks = [await arrived.next(), await arrived.next()]
        assert {tick.status for tick in ticks} == {200, 503}
        assert (await instance.status()).status == "complete"
    assert CRAWLS == ["slow"]


async def test_an_app_that_was_killed_goes_on_where_it_was(bridge, sqlite_url):
    """The app is down while its timer falls due: the alarm asks until it is back."""
    worker = await bridge.worker()
    async with bridged(bridge, worker, sqlite_url) as (app, dispatcher, arrived):
        instance = await app.workflows.CALL.create(id="c-1", params="hello")
        await instance.send_event("answer", "world")
        while not any(tick.said["gen"] >= 1 and tick.status == 200 for tick in arrived.ticks):
            await arrived.next()
        assert await dispatcher.settled()
    with pytest.raises(TimeoutError):
        await arrived.next(within=1.5)
    dispatcher = bridge.dispatcher(worker)
    app = App(sqlite_url, workflows=WORKFLOWS, dispatcher=None)  # it tells nobody: only the alarm can know
    async with bridge.served(dispatcher.endpoint(app)):
        instance = await app.workflows.CALL.get("c-1")
        assert await instance.result(timeout="20 seconds") == "HELLO world"
    await app.stop()
