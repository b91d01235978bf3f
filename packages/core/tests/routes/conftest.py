"""An app behind its routes, without a network; every answer is compared with the OpenAPI document."""

import re

import httpx
import pytest

from keepstep import App
from keepstep_testing.conformance.engines import Clock
from tests.support.shop import Approval, Order, Receipt, Shop, nothing, order


@pytest.fixture
def clock():
    """The app's clock."""
    return Clock()


@pytest.fixture
def shop():
    """The outside world, whole again."""
    Shop.charges, Shop.broken = 0, False
    return Shop


@pytest.fixture
async def app(database_url, clock, shop):
    """A migrated app that is not started."""
    app = App(database_url, workflows={"ORDER": order, "NOTHING": nothing}, dispatcher=None, clock=clock)
    await app.migrate()
    yield app
    await app.stop()


@pytest.fixture
def types():
    """The shop's models."""
    return {"params": Order, "output": Receipt, "approval": Approval}


def talks_to(asgi):
    """A client of the routes; an answer that their document does not name fails the test."""
    paths = {
        re.compile(re.sub(r"{\w+}", "[^/]+", path)): operations
        for path, operations in asgi.document()["paths"].items()
    }

    async def documented(response):
        request = response.request
        found = [each for path, each in paths.items() if path.fullmatch(request.url.path)]
        method = "get" if request.method == "HEAD" else request.method.lower()
        operation = next((each[method] for each in found if method in each), None)
        if operation is None:
            assert response.status_code in {204, 404, 405}, request
        else:
            described = operation["responses"][str(response.status_code)]
            assert response.headers["content-type"] in described["content"], request

    transport = httpx.ASGITransport(asgi)
    hooks = {"response": [documented]}
    return httpx.AsyncClient(transport=transport, base_url="http://shop.test", event_hooks=hooks)


@pytest.fixture
async def http(app):
    """A client that everything is allowed to."""
    async with talks_to(app.routes(authorize=lambda request, access: True, tick=True)) as client:
        yield client
