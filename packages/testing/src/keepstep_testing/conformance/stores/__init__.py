"""The conformance suite of stores: what every executor makes of the engine's own scripts (B1-B9, E1-E7).

    class TestMyStore(StoreConformance):
        @pytest.fixture
        async def store(self, clock, tmp_path):
            store = MyStore(tmp_path / "my.db", clock=clock)
            await store.open()
            yield store
            await store.close()

The database is empty but for keepstep's tables (``keepstep.store.tables.metadata``, or ``App.migrate()``).
"""

from __future__ import annotations

import pytest

from keepstep.store.api import Store
from keepstep_testing.conformance.stores.claims import Claims, Shares
from keepstep_testing.conformance.stores.ends import Ends
from keepstep_testing.conformance.stores.guards import Guards
from keepstep_testing.conformance.stores.leases import Leases
from keepstep_testing.conformance.stores.runs import Runs
from keepstep_testing.conformance.stores.transactions import Transactions
from keepstep_testing.conformance.stores.world import SetClock, StoreWorld

__all__ = ["SetClock", "StoreConformance", "StoreWorld"]


@pytest.mark.anyio
class StoreConformance(Transactions, Claims, Shares, Ends, Guards, Leases, Runs):
    """Inherit and override the fixture ``store``; see the module's head."""

    @pytest.fixture(scope="session")
    @classmethod
    def anyio_backend(cls) -> str:
        """Coroutine tests run on asyncio."""
        return "asyncio"

    @pytest.fixture
    def clock(self) -> SetClock:
        """The time that the store must take for the database's: tests set it."""
        return SetClock()

    @pytest.fixture
    def store(self) -> Store:
        """The store under test, open, on an empty database that has keepstep's tables.

        Raises:
            NotImplementedError: the subclass gives none.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must override the fixture 'store': an open store on an empty database with"
            " keepstep's tables, whose database time is the fixture 'clock'"
        )

    @pytest.fixture
    def world(self, store: Store, clock: SetClock) -> StoreWorld:
        """The store with the shorthand of its tests."""
        return StoreWorld(store, clock)
