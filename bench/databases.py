"""Databases for the bench: a SQLite file, or a database on a PostgreSQL server that really flushes."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg

from bench.workload import Dialect
from tests.support.databases import fresh_database
from tests.support.postgres import USUAL_URL, PrivateServer

CACHE = Path(__file__).parent / ".cache"
"""Everything that a run leaves behind; ignored by git."""


class DurableServer(PrivateServer):
    """The tests' private server, but it flushes: a bench without flushes measures nothing."""

    def start(self) -> str:
        """Start it on a free port and return its URL."""
        self._install()
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--username=postgres")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = f"-h 127.0.0.1 -p {port} -k '' -c max_connections=200 -c autovacuum_naptime=15s"
        self._run("pg_ctl", "-w", "-l", f"{self.folder}/files/log", "-o", options, "start")
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def postgres_server() -> Generator[str]:
    """The server that ``KEEPSTEP_TEST_POSTGRES`` names, else the usual one, else a private one for this run."""
    wanted = os.environ.get("KEEPSTEP_TEST_POSTGRES", "")
    if wanted not in {"", "private"}:
        yield wanted
    elif not wanted and _reachable(USUAL_URL):
        yield USUAL_URL
    else:
        folder = Path(tempfile.mkdtemp(prefix="keepstep-bench-"))
        server = DurableServer(folder)
        url = server.start()
        try:
            yield url
        finally:
            server.stop()
            shutil.rmtree(folder)


@contextlib.contextmanager
def empty_database(dialect: Dialect, server: str | None) -> Generator[str]:
    """The URL of an empty database, gone afterwards."""
    if dialect == "postgresql":
        assert server is not None
        with fresh_database(server) as url:
            yield url
        return
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="sqlite-") as folder:
        yield f"sqlite:///{folder}/bench.db"


def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements on the bare driver, in one transaction; the last one's rows."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as connection:
            rows = [connection.execute(each).fetchall() for each in statements][-1]
            connection.commit()
            return rows
    with psycopg.connect(url) as connection:
        cursor = connection.cursor()
        for each in statements:
            cursor.execute(each.encode())
        return cursor.fetchall() if cursor.description else []


def _reachable(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True
