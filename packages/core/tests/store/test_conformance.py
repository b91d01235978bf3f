"""Both executors keep what the conformance suite asks of a store."""

import pytest

from keepstep_testing.conformance.stores import StoreConformance


class TestStores(StoreConformance):
    """On SQLite and on PostgreSQL."""

    @pytest.fixture
    def store(self, store):
        """That of ``conftest.py``, once on each database."""
        return store
