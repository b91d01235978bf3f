"""The client where a network is between: what is sent again and what is not, what it says when nobody answers."""

import asyncio
import json

import httpx
import pytest

import keepstep.client
from keepstep import Bindings, InstanceAlreadyExistsError, ResultTimeoutError, Retry, UsageError
from keepstep.client import Client
from keepstep.errors import (
    ForbiddenError,
    InstanceTerminalError,
    InvalidDurationError,
    KeepstepError,
    RemoteAnswerError,
    RemoteUnavailableError,
    StoreUnavailableError,
    UnauthenticatedError,
    WorkflowNotFoundError,
)
from keepstep.model.outcome import Accepted
from tests.support.asgi import Flaky, FromThread
from tests.support.shop import Approval, Order, Receipt, order

BASE = "http://shop.test"
LAMP = Order(item="lamp", quantity=3)
SOON = Retry(max_attempts=3, delay="1ms", backoff="constant")


@pytest.fixture
async def client(network):
    """A client that tries three times, quickly."""
    async with Client(BASE, transport=network, retry=SOON) as client:
        yield client


@pytest.fixture
def orders(client):
    """The binding of the shop's workflow."""
    return client.binding(order)


async def test_a_read_is_sent_again(orders, network):
    """Reads are safe, whatever went wrong."""
    await orders.create(id="o-1", params=LAMP)
    for troubles in (["lost", "503"], ["refused", "502"], ["429", "504"]):
        network.fails(*troubles)
        assert (await orders.instance("o-1").status()).status == "active"
    network.fails("lost", "lost", "lost")
    with pytest.raises(RemoteUnavailableError, match="got no answer in 3 attempts: ReadTimeout"):
        await orders.instance("o-1").status()


async def test_an_instance_without_an_id_is_begun_once(app, orders, network):
    """The id is made here, so that a second sending finds the first one's instance (E2)."""
    network.fails("lost", "503")
    instance = await orders.create(params=LAMP)
    bodies = [json.loads(body) for _, _, body in network.seen]
    assert [each["id"] for each in bodies] == [instance.id] * 3
    assert [each["if_exists"] for each in bodies] == ["error", "return", "return"]
    assert [each.id for each in (await app.workflows.ORDER.list()).items] == [instance.id]


async def test_an_id_of_the_callers_is_not_sent_again_blindly(orders, network):
    """Another instance of that id would look like one's own; what never arrived is sent again."""
    network.fails("refused", "fine")
    await orders.create(id="o-1", params=LAMP)
    network.fails("lost")
    with pytest.raises(RemoteUnavailableError, match="may have been done all the same"):
        await orders.create(id="o-2", params=LAMP)
    with pytest.raises(InstanceAlreadyExistsError):
        await orders.create(id="o-2", params=LAMP)
    network.fails("lost", "fine")
    assert (await orders.create(id="o-3", params=LAMP, if_exists="return")).id == "o-3"


async def test_an_event_is_accepted_once(app, orders, network):
    """Each event carries an id; only a repeat of the caller's own is a duplicate (D7)."""
    instance = await orders.create(id="o-1", params=LAMP)
    network.fails("lost")
    assert await instance.send_event(Approval(approved=True)) == Accepted(duplicate=False)
    network.fails("lost")
    assert await instance.send_event(Approval(approved=True), id="e-1") == Accepted(duplicate=True)
    assert len((await app.workflows.ORDER.instance("o-1").history()).events) == 2


async def test_what_steers_is_not_sent_again(orders, network):
    """Whether it was done is not known: the caller decides."""
    instance = await orders.create(id="o-1", params=LAMP)
    for trouble, said in (("lost", "may have been done"), ("503", "answered with 503")):
        network.fails(trouble)
        with pytest.raises(RemoteUnavailableError, match=said):
            await instance.restart()
    network.fails("refused", "429", "fine")
    await instance.restart()
    assert (await instance.details()).run_number == 3
    network.fails("lost")
    with pytest.raises(RemoteUnavailableError):
        await orders.create_batch([{"id": "b", "params": LAMP}])


async def test_a_refusal_is_not_sent_again(orders, network):
    """A 409 stays one."""
    instance = await orders.create(id="o-1", params=LAMP)
    await instance.terminate()
    network.seen.clear()
    with pytest.raises(InstanceTerminalError, match="has ended"):
        await instance.pause()
    assert len(network.seen) == 1


async def test_a_result_is_waited_for(app, orders):
    """The server holds the request until the instance ends; the result has its type (C3)."""
    instance = await orders.create(id="o-1", params=LAMP)
    with pytest.raises(ResultTimeoutError, match="is still active after"):
        await instance.result(timeout="5ms")
    waiting = asyncio.create_task(instance.result(timeout=30))
    await instance.send_event(Approval(approved=True))
    await app.run_until_idle()
    assert await waiting == Receipt(total=75, note="True")


async def test_a_result_comes_from_a_server_that_holds_nothing(app):
    """Then it is asked for from time to time."""
    asgi = app.routes(authorize=lambda request, access: True, wait_max="0ms")
    async with Client(BASE, transport=httpx.ASGITransport(asgi)) as client:
        instance = await client.binding(order).create(params=LAMP)
        with pytest.raises(ResultTimeoutError):
            await instance.result(timeout="120ms")
        await instance.send_event(Approval(approved=False))
        waiting = asyncio.create_task(instance.result())
        await app.run_until_idle()
        assert (await waiting).note == "False"


async def test_ticks_can_be_asked_for(app, client, orders):
    """Where the server offers them (B9)."""
    await orders.create(params=LAMP)
    done = await client.tick(max_instances=5)
    assert (done.processed, done.next_due) == (1, (await app.tick()).next_due)
    assert (await asyncio.to_thread(sync_client(app).tick)).processed == 0
    without = Client(BASE, transport=httpx.ASGITransport(app.routes(authorize=lambda request, access: True)))
    with pytest.raises(RemoteAnswerError, match=r"POST /_runner/tick was answered with 404"):
        await without.tick()


def sync_client(app):
    """The sync side of a client, to be called in a thread."""
    asgi = app.routes(authorize=lambda request, access: True, tick=True)
    return Client(BASE, transport=FromThread(asgi, asyncio.get_running_loop())).sync


async def test_bindings_are_typed_in_three_ways(client):
    """By the definition, by a class of them, by what is said of a workflow whose code is elsewhere."""

    class Workflows(Bindings):
        order = order

    described = client.workflow("order", params=Order, output=Receipt, events=[Approval])
    for binding in (client.binding(order), client.bindings(Workflows).order, described):
        assert binding.name == "order"
        assert (await binding.create(params=LAMP)).workflow == "order"
    with pytest.raises(UsageError, match="characters that are not allowed"):
        client.workflow("../secrets")
    with pytest.raises(WorkflowNotFoundError, match="no workflow is named 'oder'"):
        await client.workflow("oder").create()


async def test_headers_are_sent_with_every_request(app):
    """A function gives them anew each time, for tokens that change."""
    tokens = iter(["good", "bad"])

    def check(request, access):
        if "authorization" not in request.headers:
            raise UnauthenticatedError("who are you?")
        return request.headers["authorization"] == "good"

    network = Flaky(app.routes(authorize=check))
    instance = (
        Client(BASE, transport=network, headers={"authorization": "good"}).binding(order).instance("o-1")
    )
    with pytest.raises(KeepstepError, match="does not exist"):
        await instance.status()
    changing = Client(BASE, transport=network, headers=lambda: {"authorization": next(tokens)})
    await changing.binding(order).list()
    with pytest.raises(ForbiddenError, match="may not read here"):
        await changing.binding(order).list()
    with pytest.raises(UnauthenticatedError, match="who are you"):
        await Client(BASE, transport=network).binding(order).list()


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (200, b"<html>", RemoteAnswerError, "does not answer; is the address right"),
        (200, b"[" * 100_000, RemoteAnswerError, "does not answer"),
        (200, b'{"instances": 7}', RemoteAnswerError, "does not answer"),
        (404, b"<html>nothing here", RemoteAnswerError, "answered with 404: <html>nothing here"),
        (302, b"", RemoteAnswerError, "answered with 302"),
        (401, b"", UnauthenticatedError, "answered with 401"),
        (403, b"forbidden", ForbiddenError, "answered with 403: forbidden"),
        (500, b'{"code": "INTERNAL"}', RemoteAnswerError, "answered with 500"),
        (
            503,
            b'{"type":"about:blank","title":"x","status":503,"detail":"away","code":"STORE_UNAVAILABLE"}',
            StoreUnavailableError,
            "away",
        ),
        (
            409,
            b'{"type":"about:blank","title":"x","status":409,"detail":"odd","code":"STEP_FAILED"}',
            RemoteAnswerError,
            "answered with 409: odd",
        ),
    ],
)
async def test_what_is_not_keepsteps_is_told_as_such(status, body, error, said):
    """A proxy, another site, a failure: errors of their own, never a driver's (H)."""

    async def answer(request):
        return httpx.Response(status, content=body)

    client = Client(BASE, transport=httpx.MockTransport(answer), retry=Retry(max_attempts=1))
    with pytest.raises(error, match=said):
        await client.workflow("order").list()


async def test_nobody_there(network):
    """A server that is not reached is named by what was asked."""
    network.fails("refused")
    client = Client(BASE, transport=network, retry=Retry(max_attempts=1))
    with pytest.raises(
        RemoteUnavailableError, match=r"GET /workflows/order/instances got no answer: ConnectError"
    ):
        await client.workflow("order").list()


@pytest.mark.parametrize("url", ["shop.test", "ftp://shop.test", "http://", "http://shop\n", 7])
def test_an_address_is_one(url):
    """Refused when it is given (H)."""
    with pytest.raises(UsageError, match="base_url is an address"):
        Client(url)


def test_a_timeout_is_a_duration():
    """Refused when it is given (D1)."""
    with pytest.raises(InvalidDurationError, match="timeout"):
        Client(BASE, timeout="soon")


async def test_transports_have_a_colour(app, network):
    """One that cannot serve the caller's is refused, and says what can."""
    with pytest.raises(UsageError, match="await the client's own verbs"):
        Client(BASE, transport=network).sync.tick()
    sync = FromThread(app.routes(), asyncio.get_running_loop())
    with pytest.raises(UsageError, match=r"use client\.sync"):
        await Client(BASE, transport=sync).tick()


async def test_a_client_is_closed_with_its_block(app, client, orders):
    """And opens again when it is asked again."""
    await orders.list()
    await client.close()
    await client.close()
    assert (await orders.list()).items == ()
    with sync_client(app) as sync:
        assert (await asyncio.to_thread(sync.workflow("order").list)).items == ()


def test_the_client_is_looked_up_when_it_is_asked_for():
    """`keepstep.client` has no other name of this kind."""
    assert repr(Client(BASE + "/keepstep/")) == "<Client of http://shop.test/keepstep>"
    with pytest.raises(AttributeError, match="has no attribute 'Klient'"):
        _ = keepstep.client.Klient
