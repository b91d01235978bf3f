"""The shop's own endpoint and the mounted routes, seen by customers, the support team and strangers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from examples.fastapi_host.host import Approval, make_host, order
from keepstep.client import Client
from keepstep.errors import ForbiddenError, UnauthenticatedError

ADA, BOB, SUPPORT = ({"authorization": f"Bearer token-of-{name}"} for name in ("ada", "bob", "support"))


@pytest.fixture
async def host(database_url: str) -> AsyncIterator[FastAPI]:
    """The shop, open."""
    host = make_host(database_url)
    async with host.router.lifespan_context(host):
        yield host


def client(host: FastAPI, headers: dict[str, str]) -> Client:
    """A client of the mounted routes."""
    return Client(
        "http://shop.test/workflows-of-the-shop", headers=headers, transport=httpx.ASGITransport(host)
    )


async def place(host: FastAPI, headers: dict[str, str]) -> httpx.Response:
    """Order a lamp."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(host), base_url="http://shop.test") as http:
        return await http.post("/orders/1", params={"item": "lamp"}, headers=headers)


async def test_a_customer_orders_and_approves(host: FastAPI) -> None:
    """The shop begins the instance, the customer's program sends the event and waits for the result."""
    assert (await place(host, ADA)).json() == (await place(host, ADA)).json() == {"order": "ada-1"}
    async with client(host, ADA) as ada:
        instance = await ada.binding(order).get("ada-1")
        await instance.send_event(Approval(approved=True))
        assert await instance.result(timeout=30) == "lamp for ada"


async def test_everybody_else_is_kept_out(host: FastAPI) -> None:
    """Other customers, and strangers; the support team steers, and approves nothing (G3)."""
    await place(host, ADA)
    assert (await place(host, SUPPORT)).status_code == 403
    assert (await place(host, {})).status_code in {401, 403}
    async with client(host, BOB) as bob, client(host, {}) as stranger, client(host, SUPPORT) as support:
        with pytest.raises(ForbiddenError):
            await bob.binding(order).get("ada-1")
        with pytest.raises(ForbiddenError):
            await bob.binding(order).list()
        with pytest.raises(UnauthenticatedError, match="send the token"):
            await stranger.binding(order).get("ada-1")
        [found] = (await support.binding(order).list()).items
        with pytest.raises(ForbiddenError):
            await found.instance.send_event(Approval(approved=True))
        await found.instance.terminate("the customer called")
        assert (await found.instance.status()).status == "terminated"
