"""PostgreSQL servers of our own: stopped, killed, started again, followed by a standby that is promoted."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.support.postgres import PrivateServer

_SETTINGS = (
    "-h 127.0.0.1",
    "-k ''",
    "-F",
    "-c max_connections=200",
    "-c wal_level=replica",
    "-c max_wal_senders=4",
)
_FOLLOWED = ("-c synchronous_commit=on", "-c synchronous_standby_names='*'", "-c wal_keep_size=512MB")


class Server(PrivateServer):
    """A private server that keeps its port over restarts. It lets processes die, not machines: it never flushes."""

    def __init__(self, folder: Path) -> None:
        """Name the server; nothing is started yet."""
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._options: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """Host and port, as a URL has them."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Its maintenance database."""
        return f"postgresql://postgres@{self.address}/postgres"

    def create(self, *options: str) -> None:
        """Make its files, and start it with these settings."""
        self._install()
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--username=postgres", "--no-sync")
        self._options = options
        self.start()

    def follow(self, primary: Server) -> None:
        """Become a standby: a copy of the primary's files, then its stream."""
        self._install()
        source = f"host=127.0.0.1 port={primary.port} user=postgres"
        self._run("pg_basebackup", "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        self._options = ("-c hot_standby=on",)
        self.start()

    def start(self) -> str:
        """Start it on its port."""
        options = " ".join((f"-p {self.port}", *_SETTINGS, *self._options))
        self._run("pg_ctl", "-w", "-l", f"{self.folder}/files/log", "-o", options, "start")
        return self.url

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: ``immediate`` is a crash, ``fast`` ends transactions."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def kill(self) -> None:
        """Kill its first process; the others end by themselves when they notice."""
        os.kill(int((self.folder / "files/postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def promote(self) -> None:
        """Make a standby the primary."""
        self._run("pg_ctl", "-w", "promote")

    @property
    def running(self) -> bool:
        """Whether it answers."""
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """A server that runs, gone after the block."""
    with _folder() as folder:
        alone = Server(folder / "server")
        try:
            alone.create()
            yield alone
        finally:
            _gone(alone)


@contextlib.contextmanager
def pair() -> Iterator[tuple[Server, Server]]:
    """A primary whose commits wait for its standby, and that standby; both gone after the block."""
    with _folder() as folder:
        primary, standby = Server(folder / "primary"), Server(folder / "standby")
        try:
            primary.create(*_FOLLOWED)
            standby.follow(primary)
            wait_for_sync(primary)
            yield primary, standby
        finally:
            _gone(primary)
            _gone(standby)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder that the server's user can reach, too."""
    with tempfile.TemporaryDirectory(prefix="keepstep-soak-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def wait_for_sync(primary: Server, seconds: float = 20) -> None:
    """Wait until the primary's commits wait for a standby."""
    deadline = time.monotonic() + seconds
    with psycopg.connect(primary.url, autocommit=True) as connection:
        while not connection.execute("SELECT FROM pg_stat_replication WHERE sync_state = 'sync'").fetchall():
            assert time.monotonic() < deadline, "the standby does not follow"
            time.sleep(0.05)


def url_of_both(one: Server, other: Server, database: str) -> str:
    """The database on whichever of the two takes writes."""
    return f"postgresql://postgres@{one.address},{other.address}/{database}?target_session_attrs=read-write"


def _gone(server: Server) -> None:
    if (server.folder / "files/postmaster.pid").exists():
        with contextlib.suppress(AssertionError):  # killed before: its note is all that is left
            server.stop()
