"""The alarm on a real workerd: it rings when it should, and for ever (dispatchers.md). Ticks arrive at a real uvicorn."""

import asyncio
import itertools

import pytest

from keepstep import TickResult

EARLY_S = 0.002
"""Instants are whole milliseconds on one side and parts of them on the other."""


def gaps(ticks):
    """Seconds between ticks."""
    return [later.at - earlier.at for earlier, later in itertools.pairwise(ticks)]


async def test_an_alarm_fires_at_its_time_and_says_who_is_meant(bridge):
    """Never early; the tick names its URL, its shard and when it was due, and is answered with what comes next."""
    worker, arrived = await bridge.worker(), bridge.recorder()
    async with bridge.served(arrived):
        answer = (await bridge.ensure(worker, 0.5)).json()
        tick = await arrived.next()
    assert answer["armed"] - answer["now"] == pytest.approx(500, abs=250)
    assert answer["armed"] / 1000 - EARLY_S <= tick.at < answer["armed"] / 1000 + 2
    fixed = {"type": "workflow.tick", "aud": bridge.tick_url, "shard": "main", "gen": 1, "attempt": 0}
    assert tick.said == fixed | {
        "scheduled_at": answer["armed"],
        "fired_at": pytest.approx(tick.at * 1000, abs=1000),
    }
    assert tick.status == 200


async def test_the_earliest_of_all_ensures_counts(bridge):
    """What is armed is min(armed, max(at, now)), in whichever order they come; one tick serves them all."""
    worker, arrived = await bridge.worker(), bridge.recorder()
    async with bridge.served(arrived):
        late = (await bridge.ensure(worker, 60)).json()["armed"]
        soon = (await bridge.ensure(worker, 0.8)).json()["armed"]
        assert soon < late
        assert (await bridge.ensure(worker, 30)).json()["armed"] == soon
        assert (await bridge.ensure(worker, 0.9)).json()["armed"] == soon
        tick = await arrived.next()
        assert tick.at >= soon / 1000 - EARLY_S
        with pytest.raises(TimeoutError):
            await arrived.next(within=1.0)
    assert tick.said["scheduled_at"] == soon


async def test_an_instant_of_the_past_is_now(bridge):
    """What should have been is done at once."""
    worker, arrived = await bridge.worker(), bridge.recorder()
    async with bridge.served(arrived):
        answer = (await bridge.ensure(worker, -3600)).json()
        assert answer["armed"] == answer["now"]
        await arrived.next(within=3)


async def test_an_app_that_is_down_is_asked_until_it_is_back(bridge):
    """Nobody listens; the alarm tries again, and the tick is the same one."""
    worker, arrived = await bridge.worker(), bridge.recorder()
    await bridge.ensure(worker)
    with pytest.raises(TimeoutError):
        await arrived.next(within=1.5)
    async with bridge.served(arrived):
        tick = await arrived.next()
    assert tick.said["gen"] == 1
    assert tick.said["attempt"] >= 1
    assert tick.said["fired_at"] > tick.said["scheduled_at"] - 1


async def test_failures_are_tried_again_with_growing_waits(bridge):
    """1 s · 2ⁿ with up to half of it taken away at random; a success ends the row and raises the number."""
    worker = await bridge.worker()
    arrived = bridge.recorder((500, {}), (502, {}), (404, {}))
    async with bridge.served(arrived):
        await bridge.ensure(worker)
        ticks = [await arrived.next() for _ in range(3)]
        arrived.answers.clear()
        ticks.append(await arrived.next())
        await bridge.ensure(worker)
        last = await arrived.next()
    assert [tick.said["attempt"] for tick in ticks] == [0, 1, 2, 3]
    assert {tick.said["gen"] for tick in ticks} == {1}
    assert {tick.headers["webhook-id"] for tick in ticks} == {"tick_main_1"}
    for gap, least in zip(gaps(ticks), (0.5, 1.0, 2.0), strict=True):
        assert least - EARLY_S <= gap < least * 2 + 2
    assert (last.said["gen"], last.said["attempt"]) == (2, 0)


async def test_an_app_may_say_how_long_to_wait(bridge):
    """Retry-After is honoured where it is longer than the wait would have been."""
    worker = await bridge.worker()
    arrived = bridge.recorder((503, {"retry-after": "3"}))
    async with bridge.served(arrived):
        await bridge.ensure(worker)
        ticks = [await arrived.next(), await arrived.next()]
    assert 3 - EARLY_S <= gaps(ticks)[0] < 6


async def test_an_app_that_is_gone_is_left_alone_until_the_next_ensure(bridge):
    """410 disables; an ensure arms again."""
    worker = await bridge.worker(HEARTBEAT_MS=300)
    arrived = bridge.recorder((410, {}))
    async with bridge.served(arrived):
        await bridge.ensure(worker)
        await arrived.next()
        with pytest.raises(TimeoutError):
            await arrived.next(within=2.0)
        arrived.answers.clear()
        await bridge.ensure(worker)
        assert (await arrived.next()).status == 200


async def test_a_redirect_is_not_followed(bridge):
    """The tick URL is configuration: an answer cannot send ticks elsewhere."""
    worker = await bridge.worker()
    arrived = bridge.recorder((307, {"location": f"http://127.0.0.1:{bridge.port}/elsewhere"}))
    async with bridge.served(arrived):
        await bridge.ensure(worker)
        ticks = [await arrived.next(), await arrived.next()]
    assert set(arrived.paths) == {"/keepstep/tick"}
    assert ticks[1].said["attempt"] == 1


async def test_the_heartbeat_asks_when_nobody_else_does(bridge):
    """After a tick that found nothing due the next one is a heartbeat away."""
    worker, arrived = await bridge.worker(HEARTBEAT_MS=400), bridge.recorder()
    async with bridge.served(arrived):
        await bridge.ensure(worker)
        ticks = [await arrived.next() for _ in range(3)]
    assert all(0.4 - EARLY_S <= gap < 2.4 for gap in gaps(ticks))
    assert [tick.said["gen"] for tick in ticks] == [1, 2, 3]


async def test_a_tick_that_takes_too_long_is_given_up_and_tried_again(bridge):
    """The Worker waits so long and no longer; what it asked for goes on at the app."""
    worker = await bridge.worker(TICK_TIMEOUT_MS=500)
    begun, release = asyncio.Queue(), asyncio.Event()

    class Slow:
        workflow_names = ("slow",)

        async def tick(self, max_instances=None, *, workflows=None):
            begun.put_nowait(workflows)
            await release.wait()
            return TickResult(0, None)

    arrived = bridge.recorder(endpoint=bridge.endpoint(Slow()))
    async with bridge.served(arrived), asyncio.timeout(20):
        await bridge.ensure(worker)
        await begun.get()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(begun.get(), 2.5)
        release.set()
        ticks = [await arrived.next(), await arrived.next()]
    assert [tick.said["attempt"] for tick in ticks] == [0, 1]
    assert {tick.status for tick in ticks} == {200}


async def test_an_ensure_during_a_tick_is_not_lost(bridge):
    """Alarm set meanwhile: the next tick follows the one in flight."""
    worker = await bridge.worker()
    begun, release = asyncio.Event(), asyncio.Event()

    class Held:
        workflow_names = ("held",)

        async def tick(self, max_instances=None, *, workflows=None):
            begun.set()
            await release.wait()
            return TickResult(0, None)

    arrived = bridge.recorder(endpoint=bridge.endpoint(Held()))
    async with bridge.served(arrived), asyncio.timeout(20):
        await bridge.ensure(worker)
        await begun.wait()
        answer = (await bridge.ensure(worker)).json()
        assert answer["armed"] <= answer["now"]
        release.set()
        ticks = [await arrived.next(), await arrived.next(within=3)]
    assert [tick.said["gen"] for tick in ticks] == [1, 2]


async def test_a_pending_alarm_survives_the_death_of_the_runtime(bridge):
    """SIGKILL of workerd: the alarm rings when it is back, knows its shard, and keeps to its time."""
    worker, arrived = await bridge.worker(), bridge.recorder()
    async with bridge.served(arrived):
        armed = (await bridge.ensure(worker, 3.0)).json()["armed"]
        await worker.kill()
        await worker.start()
        tick = await arrived.next()
    assert armed / 1000 - EARLY_S <= tick.at < armed / 1000 + 5
    assert (tick.said["shard"], tick.said["scheduled_at"]) == ("main", armed)


async def test_an_overdue_alarm_rings_when_the_runtime_is_back(bridge):
    """Killed before its time, started after it, with a failure in its past: at once, and the same tick."""
    worker = await bridge.worker()
    arrived = bridge.recorder((500, {}))
    async with bridge.served(arrived):
        await bridge.ensure(worker)
        await arrived.next()
        await worker.kill()
        with pytest.raises(TimeoutError):
            await arrived.next(within=1.2)
        arrived.answers.clear()
        await worker.start()
        tick = await arrived.next(within=5)
    assert tick.said["gen"] == 1


async def test_shards_do_not_share_an_alarm(bridge):
    """Each shard has its own object: one's failures are not the other's."""
    worker = await bridge.worker()
    arrived = bridge.recorder(endpoint=bridge.endpoint(shard="other"))
    async with bridge.served(arrived):
        await bridge.ensure(worker, shard="main")
        refused = await arrived.next()
        await bridge.ensure(worker, shard="other")
        accepted = await arrived.next()
    assert (refused.said["shard"], refused.status) == ("main", 403)
    assert (accepted.said["shard"], accepted.said["attempt"], accepted.status) == ("other", 0, 200)
