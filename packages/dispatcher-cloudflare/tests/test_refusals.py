"""Who may speak on either leg, on a real workerd and a real uvicorn: signatures, sizes, shards, rotation."""

import asyncio
from urllib.parse import urlsplit

import pytest

from keepstep_cloudflare import new_secret
from keepstep_cloudflare.endpoint import BODY_BYTES_MAX

ENSURE = {"type": "alarm.ensure", "shard": "main", "at": 0}


def tick_for(bridge, **changed):
    """What the Worker would say."""
    said = {"type": "workflow.tick", "aud": bridge.tick_url, "shard": "main", "gen": 1, "attempt": 0}
    return said | {"scheduled_at": 1, "fired_at": 2} | changed


def refusals(bridge, said, right, wrong):
    """Signed requests that neither side may accept: what is wrong, body, headers."""
    body, headers = bridge.signed(said, secrets=right)
    yield "no signature", body, {}
    yield "an unknown key", *bridge.signed(said, secrets=new_secret())
    yield "the other direction's key", *bridge.signed(said, secrets=wrong)
    yield "301 s old", *bridge.signed(said, secrets=right, age_s=301.5)
    yield "301 s ahead", *bridge.signed(said, secrets=right, age_s=-302)
    yield "a tampered body", body.replace(b"main", b"mine"), headers
    yield "another message's id", body, headers | {"webhook-id": "another"}
    moved = str(int(headers["webhook-timestamp"]) - 1)
    yield "another time", body, headers | {"webhook-timestamp": moved}
    yield "no time", body, headers | {"webhook-timestamp": "soon"}
    yield (
        "an unknown version",
        body,
        headers | {"webhook-signature": headers["webhook-signature"].replace("v1", "v2")},
    )
    yield "no base64", body, headers | {"webhook-signature": "v1,*** v1 ,"}
    yield "no text", b"\xff\xfe" + body, headers


async def test_the_worker_accepts_nobody_but_the_app(bridge):
    """401 without a word about what is wrong; nothing is armed. The right signature is accepted afterwards."""
    worker, arrived = await bridge.worker(), bridge.recorder()
    async with bridge.served(arrived):
        for what, body, headers in refusals(bridge, ENSURE, bridge.schedule, bridge.tick):
            answer = await bridge.post(worker, body, headers)
            assert (answer.status_code, answer.content) == (401, b""), what
        with pytest.raises(TimeoutError):
            await arrived.next(within=1.0)
        assert (await bridge.ensure(worker)).status_code == 200
        await arrived.next()


async def test_the_app_accepts_nobody_but_the_worker(bridge, no_work):
    """401 without a word about what is wrong; nothing is looked at."""
    async with bridge.served(bridge.endpoint(no_work)):
        for what, body, headers in refusals(bridge, tick_for(bridge), bridge.tick, bridge.schedule):
            answer = await bridge.http.post(bridge.tick_url, content=body, headers=headers)
            assert (answer.status_code, answer.content) == (401, b""), what
        assert no_work.ticks == 0
        body, headers = bridge.signed(tick_for(bridge), secrets=bridge.tick)
        answer = await bridge.http.post(bridge.tick_url, content=body, headers=headers)
    assert answer.json() == {"processed": 0, "next_due": None}
    assert no_work.ticks == 1


async def test_messages_of_almost_300_s_are_accepted_by_both(bridge):
    """Clocks that differ by minutes do no harm."""
    worker, arrived = await bridge.worker(), bridge.recorder()
    async with bridge.served(arrived):
        for age_s in (295, -295):
            assert (await bridge.ensure(worker, 60, age_s=age_s)).status_code == 200
            body, headers = bridge.signed(tick_for(bridge), secrets=bridge.tick, age_s=age_s)
            assert (await bridge.http.post(bridge.tick_url, content=body, headers=headers)).status_code == 200


async def test_secrets_are_replaced_without_downtime(bridge):
    """Sign with all, accept any: first each side learns the new secret, then each forgets the old one."""
    old, new = bridge.tick, new_secret()
    newer_schedule = new_secret()
    arrived = bridge.recorder(endpoint=bridge.endpoint(tick_secrets=old))
    both = await bridge.worker(
        TICK_SECRETS=f"{new} {old}", SCHEDULE_SECRETS=f"{newer_schedule}\n{bridge.schedule}"
    )
    async with bridge.served(arrived):
        for accepted in (old, f"{old} {new}", new):
            arrived.endpoint = bridge.endpoint(tick_secrets=accepted)
            for signing in (bridge.schedule, newer_schedule, f"{new_secret()} {newer_schedule}"):
                assert (await bridge.ensure(both, secrets=signing)).status_code == 200
            tick = await arrived.next()
            assert len(tick.headers["webhook-signature"].split()) == 2
            assert tick.status == 200
        arrived.endpoint = bridge.endpoint(tick_secrets=new_secret())
        await bridge.ensure(both)
        while (await arrived.next()).status != 401:
            pass


async def test_a_worker_without_secrets_serves_nobody(bridge):
    """Deployed before its secrets are: it refuses."""
    worker = await bridge.worker(SCHEDULE_SECRETS="")
    assert (await bridge.ensure(worker)).status_code == 401


@pytest.mark.parametrize("size", [BODY_BYTES_MAX + 1, 5_000_000])
async def test_a_body_that_is_too_large_is_not_read(bridge, no_work, size):
    """413 by what it declares, on both legs, before any signature is looked at."""
    worker = await bridge.worker()
    async with bridge.served(bridge.endpoint(no_work)):
        for url in (f"{worker.url}/v1/shards/main/alarm", bridge.tick_url):
            assert await status_of(url, {"content-length": str(size)}) == 413
    assert no_work.ticks == 0


async def test_a_body_in_chunks_is_bounded_as_well(bridge, no_work):
    """The Worker wants to know the size; the app stops reading where its limit is."""
    worker = await bridge.worker()
    chunked = {"transfer-encoding": "chunked"}
    begun = b"%x\r\n%s\r\n" % (BODY_BYTES_MAX + 1, b" " * (BODY_BYTES_MAX + 1))
    async with bridge.served(bridge.endpoint(no_work)):
        assert await status_of(f"{worker.url}/v1/shards/main/alarm", chunked) == 411
        assert await status_of(bridge.tick_url, chunked, begun) == 413
    assert no_work.ticks == 0


async def test_a_foreign_shard_is_refused_on_both_legs(bridge, no_work):
    """On the Worker by its allow-list and by the path, at the app by its own name and by its own URL."""
    worker = await bridge.worker()
    assert (await bridge.ensure(worker, shard="foreign")).status_code == 403
    body, headers = bridge.signed(ENSURE | {"shard": "other"})
    assert (await bridge.post(worker, body, headers, shard="main")).status_code == 400
    wrong = [
        (403, {"shard": "foreign"}),
        (403, {"aud": "https://elsewhere.example.com/tick"}),
        (403, {"aud": bridge.tick_url + "/"}),
        (400, {"type": "alarm.ensure"}),
        (400, {"gen": "1"}),
    ]
    async with bridge.served(bridge.endpoint(no_work)):
        for status, changed in wrong:
            body, headers = bridge.signed(tick_for(bridge, **changed), secrets=bridge.tick)
            answer = await bridge.http.post(bridge.tick_url, content=body, headers=headers)
            assert answer.status_code == status, changed
    assert no_work.ticks == 0


async def test_other_paths_and_methods_are_refused(bridge, no_work):
    """There is one thing to ask of each side."""
    worker = await bridge.worker()
    for path in ("/", "/v1/shards/main", "/v1/shards/main/alarm/", "/v1/shards/ma%20in/alarm"):
        # Without a body: a server that refuses one unread may cut the connection before its answer is read.
        assert (await bridge.http.post(worker.url + path)).status_code == 404, path
    assert (await bridge.http.get(f"{worker.url}/v1/shards/main/alarm")).status_code == 405
    async with bridge.served(bridge.endpoint(no_work)):
        answer = await bridge.http.get(bridge.tick_url)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def status_of(url, headers, begun=b""):
    """The status that a server answers to a request's head and to no more of its body than ``begun``."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    lines = [
        f"POST {parts.path} HTTP/1.1",
        f"host: {parts.netloc}",
        *(f"{k}: {v}" for k, v in headers.items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + begun)
    async with asyncio.timeout(5):
        first = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return int(first.split()[1])
