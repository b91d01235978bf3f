"""Virtual time for the tests of this package."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from keepstep_testing.conformance.dispatchers import Time


@pytest.fixture
def run_virtually() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a coroutine to its end in virtual time."""

    def run(main: Coroutine[Any, Any, None]) -> None:
        Time().run(lambda: main)

    return run
