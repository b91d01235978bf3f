"""Sinks of changes: each goes its own way, in order, at least once, from where it was (F3, defect 10)."""

import asyncio
import json

import pytest
from standardwebhooks import Webhook as Receiver

from keepstep import RunnerOptions, UsageError
from keepstep.changes import Callback, ChangeFeed, NdjsonFile, Webhook
from keepstep.errors import InvalidInputError
from tests.support.served import served

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Taker:
    """A function that takes changes, or fails."""

    def __init__(self):
        self.taken = []
        self.calls = []
        self.broken = False

    async def __call__(self, changes):
        """Take them."""
        self.calls.append([each.pub_seq for each in changes])
        if self.broken:
            raise ConnectionError("nobody answers")
        self.taken += [each.pub_seq for each in changes]


async def begin(app, *names):
    """Create instances that end at once, and tick."""
    for name in names:
        await app.workflows.QUIET.create(id=name, params=1)
        await app.tick()


async def test_a_sink_gets_every_change_in_order(opened):
    """F3: in batches of its size, each change once when nothing fails."""
    taker = Taker()
    app = await opened(ChangeFeed(sinks=[Callback("crm", taker.__call__, batch=3)]))
    await begin(app, "a", "b", "c", "d")
    assert taker.taken == list(range(1, 9))
    assert max(map(len, taker.calls)) <= 3
    (view,) = await app.changes.sinks()
    assert (view.name, view.after, view.behind, view.failures, view.due_at) == ("crm", 8, 0, 0, None)


async def test_a_sink_may_be_a_plain_function_and_choose_kinds(opened):
    """A4: a sync function runs in a thread, and sees only what it asks for."""
    kinds = []
    only = Callback("crm", lambda changes: kinds.extend(each.kind for each in changes), kinds={"completed"})
    app = await opened(ChangeFeed(sinks=[only]))
    await begin(app, "a", "b")
    assert kinds == ["completed", "completed"]


async def test_a_sink_that_fails_holds_no_other(opened, clock):
    """Defect 10: it gets the same changes again, later and later, and says why; the other goes on."""
    good, bad = Taker(), Taker()
    bad.broken = True
    app = await opened(ChangeFeed(sinks=[Callback("bad", bad.__call__), Callback("good", good.__call__)]))
    await begin(app, "a")
    await begin(app, "b")
    assert good.taken == [1, 2, 3, 4]
    assert bad.calls == [[1, 2]], "not before it is due"
    view, _ = await app.changes.sinks()
    assert (view.after, view.behind, view.failures) == (0, 4, 1)
    assert view.error.message == "nobody answers"
    due = (await app.tick()).next_due
    assert 900 <= due.timestamp() * 1000 - clock.ms <= 1000
    clock.ms += 1000
    assert (await app.tick()).next_due.timestamp() * 1000 - clock.ms > 1700
    bad.broken = False
    clock.ms += 2000
    assert (await app.tick()).next_due is None
    assert bad.taken == [1, 2, 3, 4]
    assert [each[0] for each in bad.calls] == [1, 1, 1], "what failed comes again, from where it was"


async def test_a_new_sink_begins_with_what_is_kept(opened):
    """F3: a sink that is added later gets what was published before it."""
    await begin(await opened(ChangeFeed()), "a")
    taker = Taker()
    app = await opened(ChangeFeed(sinks=[Callback("late", taker.__call__)]))
    await app.tick()
    assert taker.taken == [1, 2]


async def test_a_sink_is_moved(opened):
    """F3: back to get changes again, ahead past one that it cannot take."""
    taker = Taker()
    app = await opened(ChangeFeed(sinks=[Callback("crm", taker.__call__)]))
    await begin(app, "a", "b")
    await app.changes.move("crm", after=2)
    await app.tick()
    assert taker.taken == [1, 2, 3, 4, 3, 4]
    with pytest.raises(InvalidInputError, match="no sink of changes is named 'crn'"):
        await app.changes.move("crn", after=2)


async def test_a_sink_is_fed_by_one_process_at_a_time(opened, clock):
    """F3: a claim is a lease; a process that dies leaves it, and the next one delivers the same again."""
    hung, taker = asyncio.Event(), Taker()

    async def hang(changes):
        hung.set()
        await asyncio.Event().wait()

    dead = await opened(
        ChangeFeed(sinks=[Callback("crm", hang)]), runner=RunnerOptions(hook_lease="30 seconds")
    )
    await dead.workflows.QUIET.create(id="a", params=1)
    dying = asyncio.ensure_future(dead.tick())
    await hung.wait()
    app = await opened(ChangeFeed(sinks=[Callback("crm", taker.__call__)]))
    due = (await app.tick()).next_due
    assert taker.taken == []
    assert due.timestamp() * 1000 == clock.ms + 30_000
    clock.ms += 30_000
    await app.tick()
    assert taker.taken == [1, 2]
    for task in dead._engine.feeds._feeding.values():
        task.cancel()
    await dying
    assert [each.after for each in await app.changes.sinks()] == [2]


async def test_retention_waits_for_every_sink(opened, clock):
    """F3: what a sink has not taken is not pruned."""
    slow = Taker()
    slow.broken = True
    feed = ChangeFeed(sinks=[Callback("slow", slow.__call__)], retention="1 hour")
    app = await opened(feed)
    await begin(app, "a")
    clock.ms += 3_600_001
    await app._engine.feeds._prune(feed)
    assert len(await app.changes()) == 2
    slow.broken = False
    await app.tick()
    clock.ms += 60_000
    await app._engine.feeds._prune(feed)
    assert await app.changes() == []


async def test_a_file_has_a_line_for_each_change(opened, tmp_path):
    """F3: one line of JSON each, in order."""
    path = tmp_path / "changes.ndjson"
    app = await opened(ChangeFeed(sinks=[NdjsonFile("audit", path)]))
    await begin(app, "a", "b")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [each["pub_seq"] for each in lines] == [1, 2, 3, 4]
    assert lines[1]["kind"] == "completed"


async def test_a_file_is_resumed_after_a_crash(opened, tmp_path):
    """F3: lines that were flushed before the place moved are not written twice; a torn one is."""
    path = tmp_path / "changes.ndjson"
    app = await opened(ChangeFeed(sinks=[NdjsonFile("audit", path)]))
    await begin(app, "a", "b")
    whole = path.read_text()
    await app.changes.move("audit", after=1)  # as if the process had died before it noted 2, 3 and 4
    path.write_text(whole[:-7])
    await app.tick()
    assert path.read_text() == whole


async def test_a_file_that_is_not_the_sinks_is_left_alone(opened, tmp_path):
    """H: said, and tried again when it is out of the way."""
    path = tmp_path / "changes.ndjson"
    path.write_text("dear diary\n")
    app = await opened(ChangeFeed(sinks=[NdjsonFile("audit", path)]))
    await begin(app, "a")
    (view,) = await app.changes.sinks()
    assert "no change" in view.error.message
    assert path.read_text() == "dear diary\n"


class Receiving:
    """An ASGI application that takes webhooks."""

    def __init__(self, status=200):
        self.status = status
        self.requests = []

    async def __call__(self, scope, receive, send):
        """Take one."""
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append((headers, body))
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def test_a_webhook_is_signed_and_delivered_by_hooks(opened):
    """F1, F3: a Standard Webhooks signature; retried with the same id; what is used up is dead, and requeued."""
    receiving = Receiving(503)
    with served(receiving) as url:
        hook = Webhook("billing", url, SECRET, kinds={"completed"}, retry={"max_attempts": 1})
        app = await opened(ChangeFeed(sinks=[hook]), clock=None)
        await begin(app, "a")
        (row,) = (await app.hooks.list(name="keepstep__billing")).items
        assert (row.status, row.error.message) == ("dead", f"{url} answered 503")
        receiving.status = 204
        await app.hooks.requeue(row.id)
        await app.tick()
    assert (await app.hooks.get(row.id)).status == "delivered"
    (first, _), (headers, body) = receiving.requests
    assert Receiver(SECRET).verify(body, headers)["kind"] == "completed"
    assert headers["webhook-id"] == first["webhook-id"] == (await app.changes())[1].id


async def test_a_receiver_that_is_gone_gets_no_more(opened):
    """C5: 410 ends the delivery at once."""
    receiving = Receiving(410)
    with served(receiving) as url:
        app = await opened(ChangeFeed(sinks=[Webhook("billing", url, [SECRET, SECRET])]), clock=None)
        await begin(app, "a")
        assert {each.status.value for each in (await app.hooks.list()).items} == {"dead"}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Webhook("b", "ftp://x", SECRET), "begins with https"),
        (lambda: Webhook("b", "https://x", "secret!"), "a secret is whsec_"),
        (lambda: Webhook("b", "https://x", []), "at least one secret"),
        (lambda: Callback("b", None), "cannot be called"),
        (lambda: ChangeFeed(sinks=[Callback("b", print), Callback("b", print)]), "two sinks .* one name: b"),
        (lambda: ChangeFeed(sinks=[Callback("b", print, batch=0)]), "batch must be an integer of 1 or more"),
    ],
)
def test_a_wrong_sink_is_refused(make, says):
    """H: where it is made, and without its secret."""
    with pytest.raises(UsageError, match=says) as refused:
        make()
    assert "secret!" not in str(refused.value)
