"""What every test of the workspace gets: the asyncio backend, and databases to run on."""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.databases import make_tables

pytest_plugins = ["tests.support.postgres"]

MEMORY = Path("/dev/shm")  # noqa: S108  # a folder of its own in it, as pytest makes them
MEMORY_MIN = 2 << 30
"""Bytes that must be free in it."""


def pytest_configure() -> None:
    """Have `tmp_path` in memory where there is room: SQLite waits for a disk at each commit, and no test cuts the power."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_MIN:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Coroutine tests run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with keepstep's tables, to be copied."""
    path = tmp_path_factory.mktemp("template") / "keepstep.db"
    make_tables(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_database(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a SQLite database with keepstep's tables and no rows."""
    shutil.copy(sqlite_template, tmp_path / "keepstep.db")
    return f"sqlite:///{tmp_path}/keepstep.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database with keepstep's tables and no rows; a test that asks for it runs once on each kind."""
    return request.getfixturevalue("sqlite_database" if request.param == "sqlite" else "postgres_database")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without anything in it, on each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/keepstep.db"
    return request.getfixturevalue("empty_postgres_database")
