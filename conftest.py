"""What every test of the workspace gets: the asyncio backend, and databases to run on."""

from pathlib import Path

import pytest

pytest_plugins = ["tests.support.postgres"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Coroutine tests run on asyncio."""
    return "asyncio"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database; a test that asks for it runs once on each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/keepstep.db"
    return request.getfixturevalue("postgres_database")
