"""An app that serves its routes to everybody, without a network; nothing runs by itself."""

import pytest

from keepstep import App
from keepstep_testing.conformance.engines import Clock
from tests.support.asgi import Flaky
from tests.support.shop import Shop, nothing, order


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
def network(app):
    """A network between a client and the app, that fails when told to."""
    return Flaky(app.routes(authorize=lambda request, access: True, tick=True))
