"""An app on each database that runs nothing by itself: tests tick, and move its clock."""

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
def lamp():
    """Params that fit."""
    return Order(item="lamp", quantity=3)


@pytest.fixture
def approval():
    """An event that fits."""
    return Approval(approved=True)


@pytest.fixture
def receipt():
    """What the workflow returns for :func:`lamp` and :func:`approval`."""
    return Receipt(total=75, note="True")
