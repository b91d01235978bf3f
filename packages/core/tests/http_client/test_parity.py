"""The same verbs, the same results and the same errors, wherever they are asked: in the process or over HTTP (H)."""

import asyncio
import inspect
from dataclasses import replace

import httpx
import pytest
from pydantic import BaseModel

from keepstep import App
from keepstep.client import Client
from keepstep.errors import KeepstepError
from keepstep.model.outcome import History
from keepstep.sync.binding import SyncBinding
from keepstep.sync.instance import SyncInstance
from keepstep_testing.conformance.engines import Clock
from tests.support.asgi import FromThread
from tests.support.shop import Approval, Order, Receipt, Shop, nothing, order

LAMP = {"item": "lamp", "quantity": 3}


class Threaded:
    """A sync face, each call in a thread, so that one script drives every face."""

    def __init__(self, face):
        self._face = face

    def __getattr__(self, name):
        found = getattr(self._face, name)
        if not inspect.ismethod(found):
            return found
        if name == "instance":
            return lambda *args: Threaded(found(*args))

        async def call(*args, **kwargs):
            return _threaded(await asyncio.to_thread(found, *args, **kwargs))

        return call


def _threaded(answer):
    if isinstance(answer, SyncBinding | SyncInstance):
        return Threaded(answer)
    return tuple(map(_threaded, answer)) if isinstance(answer, tuple) else answer


class Record:
    """What a script's verbs gave, in a form that can be compared."""

    def __init__(self):
        self.lines = []

    async def ask(self, name, asked):
        """Await a verb, and note what it gave or how it refused."""
        try:
            answer = await asked
        except KeepstepError as error:
            self.lines.append(
                (name, type(error).__name__, error.code, str(error), getattr(error, "issues", None))
            )
            return None
        self.lines.append((name, plain(answer)))
        return answer

    def misuse(self, name, call):
        """Note how a call is refused that is refused before it is awaited."""
        with pytest.raises(KeepstepError) as caught:
            call()
        self.lines.append((name, type(caught.value).__name__, caught.value.code, str(caught.value)))

    def without_wording(self):
        """The lines; of values that do not fit, only where: pydantic says it in other words for JSON."""
        for line in self.lines:
            issues = line[-1] if len(line) == 5 else None
            yield (*line[:3], [issue["path"] for issue in issues]) if issues else line


def plain(answer):
    """An answer without handles and types that faces may differ in."""
    if isinstance(answer, BaseModel):
        return answer.model_dump()
    if hasattr(answer, "send_event"):
        return ("instance", answer.workflow, answer.id)
    if hasattr(answer, "items") and hasattr(answer, "cursor"):
        return [(plain(each.instance), each.details) for each in answer.items], answer.cursor is None
    if isinstance(answer, History):  # over HTTP an event that was given no id has one all the same
        return replace(answer, events=tuple(replace(each, id=_own(each.id)) for each in answer.events))
    return tuple(map(plain, answer)) if isinstance(answer, tuple) else answer


def _own(event_id):
    return event_id if event_id is None or event_id.startswith("e-") else None


async def beginnings(record, orders, nothings, app):
    """Creating, finding, listing, and every way to get it wrong (E2, C10)."""
    ask = record.ask
    await ask("create", orders.create(id="o-1", params=LAMP))
    await ask("create again", orders.create(id="o-1", params=LAMP))
    await ask("return it", orders.create("o-1", {"item": "rug"}, if_exists="return"))
    await ask("bad if_exists", orders.create("o-9", LAMP, if_exists="ignore"))
    await ask("bad id", orders.create(id="not an id", params=LAMP))
    await ask("long id", orders.create(id="x" * 101, params=LAMP))
    await ask("bad params", orders.create(id="o-2", params={"item": 7, "quantity": "many"}))
    await ask("no params", orders.create(id="o-2"))
    await ask("too large", orders.create(id="o-2", params={"item": "x" * 1_100_000}))
    await ask("batch", orders.create_batch([{"id": "o-1", "params": LAMP}, {"id": "b", "params": LAMP}] * 2))
    await ask("bad batch", orders.create_batch([{"id": "c", "params": LAMP}, {"id": "d", "params": {}}]))
    await ask("bad item", orders.create_batch([{"name": "c"}]))
    await ask("batch of 101", nothings.create_batch([{"id": f"n-{n}"} for n in range(101)]))
    await ask("empty batch", nothings.create_batch([]))
    await ask("get", orders.get("o-1"))
    await ask("get nothing", orders.get("gone"))
    await ask("get no id", orders.get("-"))
    record.misuse("handle of no id", lambda: orders.instance("-"))
    await nothings.create_batch([{"id": f"n-{n}"} for n in range(3)])
    await ask("no status", orders.list(status="done"))
    await ask("no limit", orders.list(limit=0))
    await ask("no cursor", orders.list(cursor="garbage"))
    await ask("list by status", nothings.list(status="complete"))
    found, cursor = [], None
    while cursor or not found:
        page = await nothings.list(limit=2, cursor=cursor)
        found, cursor = [*found, *(each.id for each in page.items)], page.cursor
    record.lines.append(("pages", sorted(found)))


async def lives(record, orders, nothings, app):
    """Steering, events, reading, ends (D4-D7, E1-E7)."""
    ask = record.ask
    await orders.create(id="o-1", params=LAMP)
    instance = orders.instance("o-1")
    await ask("early", instance.send_event(Approval(approved=True), if_waiting=True))
    await app.run_until_idle()
    for name in ("status", "details", "why", "history"):
        await ask(name, getattr(instance, name)())
    await ask("result", instance.result(timeout=0))
    await ask("result soon", instance.result(timeout="soon"))
    await ask("no type", instance.send_event("rejection"))
    await ask("bad type", instance.send_event("not a type"))
    await ask("bad payload", instance.send_event("approval", {"approved": "perhaps"}))
    await ask("bad event id", instance.send_event("approval", {"approved": True}, id=""))
    await ask("pause", instance.pause())
    await ask("pause again", instance.pause())
    await ask("event", instance.send_event(Approval(approved=True), id="e-1"))
    await ask("event again", instance.send_event("approval", {"approved": True}, id="e-1"))
    await ask("event conflict", instance.send_event("approval", {"approved": False}, id="e-1"))
    await ask("no id", instance.send_event("approval", {"approved": True}))
    await ask("paused", instance.details())
    await ask("resume", instance.resume())
    await app.run_until_idle()
    await ask("result", instance.result(timeout=30))
    await ask("status", instance.status())
    await ask("history", instance.history(run=1))
    await ask("no run", instance.history(run=3))
    await ask("too late", instance.pause())
    await ask("event too late", instance.send_event(Approval(approved=True)))


async def second_lives(record, orders, nothings, app):
    """Restarts, and ends that are asked for (E5, E6)."""
    ask = record.ask
    await orders.create(id="o-1", params=LAMP)
    instance = orders.instance("o-1")
    await app.run_until_idle()
    await ask("restart", instance.restart({"item": "rug"}))
    await ask("restart from", instance.restart(from_step="do:charge"))
    await ask("restart from nothing", instance.restart(from_step="do:other"))
    await ask("restart twofold", instance.restart(LAMP, from_step="do:charge"))
    await ask("restart badly", instance.restart({"quantity": 1}))
    await ask("long reason", instance.terminate("x" * 1001))
    await ask("terminate", instance.terminate("fraud"))
    await ask("terminated", instance.result())
    await ask("again", orders.restart_or_create("o-1"))
    await ask("again, alive", orders.restart_or_create("o-1"))
    await ask("again, run", orders.restart_or_create("o-1", LAMP, if_status_in=["active"], if_run=1))
    await ask("again, no status", orders.restart_or_create("o-1", if_status_in=["alive"]))
    await ask("anew", orders.restart_or_create("o-2", LAMP))
    await ask("anew, badly", orders.restart_or_create("o-3"))
    await app.run_until_idle()
    await ask("cancel", instance.cancel("changed my mind"))
    await app.run_until_idle()
    await ask("cancelled", instance.result())
    await ask("list", orders.list())
    gone = orders.instance("gone")
    for name in (
        "status",
        "details",
        "why",
        "history",
        "result",
        "pause",
        "resume",
        "cancel",
        "terminate",
        "restart",
    ):
        await ask(f"{name} of nothing", getattr(gone, name)())
    await ask("event to nothing", gone.send_event(Approval(approved=True)))
    await ask("retry of nothing", gone.retry_failed_step())


async def failures(record, orders, nothings, app):
    """An instance that errors, and goes on (C5, E6)."""
    ask = record.ask
    await nothings.create(id="n-1")
    await app.run_until_idle()
    await ask("none", nothings.instance("n-1").result(timeout="30 seconds"))
    await ask("no step failed", nothings.instance("n-1").retry_failed_step())
    Shop.broken = True
    await orders.create(id="o-1", params=LAMP)
    instance = orders.instance("o-1")
    await app.run_until_idle()
    await ask("failed", instance.result())
    await ask("details", instance.details())
    await ask("why", instance.why())
    Shop.broken = False
    await ask("retry", instance.retry_failed_step())
    await app.run_until_idle()
    await ask("history", instance.history())


SCRIPTS = (beginnings, lives, second_lives, failures)


@pytest.fixture
async def reference(tmp_path, shop):
    """An app of its own, whose bindings are asked in the process."""
    url = f"sqlite:///{tmp_path}/reference.db"
    app = App(url, workflows={"ORDER": order, "NOTHING": nothing}, dispatcher=None, clock=Clock())
    await app.migrate()
    yield app
    await app.stop()


def faces(kind, app):
    """The two bindings of a face, and what to close."""
    asgi = app.routes(authorize=lambda request, access: True)
    base = "http://shop.test"
    if kind == "HTTP, sync":
        client = Client(base, transport=FromThread(asgi, asyncio.get_running_loop()))
        return Threaded(client.sync.binding(order)), Threaded(client.sync.binding(nothing))
    client = Client(base, transport=httpx.ASGITransport(asgi))
    if kind == "HTTP, async":
        return client.binding(order), client.binding(nothing)
    if kind == "HTTP, typed by hand":
        described = client.workflow("order", params=Order, output=Receipt, events=[Approval])
        return described, client.workflow("nothing", params=None)
    return client.workflow("order"), client.workflow("nothing")


@pytest.mark.parametrize("kind", ["HTTP, async", "HTTP, sync", "HTTP, typed by hand", "HTTP, without types"])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda each: each.__name__)
async def test_every_face_does_the_same(script, kind, app, reference, shop):
    """A script of verbs and misuses has equal results, messages, codes and issues on every face (H)."""
    expected, found = Record(), Record()
    await script(expected, reference.workflows.ORDER, reference.workflows.NOTHING, reference)
    await script(found, *faces(kind, app), app)
    assert [line[0] for line in found.lines] == [line[0] for line in expected.lines]
    if kind == "HTTP, without types":
        assert list(found.without_wording()) == list(expected.without_wording())
    else:
        assert found.lines == expected.lines
