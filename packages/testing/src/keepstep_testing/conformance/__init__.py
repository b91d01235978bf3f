"""Conformance suites: what a store, a dispatcher or a whole engine must do, as test classes to inherit from.

A suite is a class of pytest tests. A subclass provides one fixture, the thing under test, and gets every test of it.
Coroutine tests run through anyio on asyncio; time is virtual wherever the thing takes a clock.
"""

import pytest

pytest.register_assert_rewrite(
    "keepstep_testing.conformance.dispatchers",
    "keepstep_testing.conformance.engines",
    "keepstep_testing.conformance.stores",
)
