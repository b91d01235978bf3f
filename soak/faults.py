"""What is done to runners and databases. Each fault ends by itself; what it leaves behind is the checker's business."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

import psycopg

from soak.cluster import Server
from soak.processes import Fleet, Process, pause, until
from soak.room import Room

LEASE_S = 2.0
"""Of the runners that the campaign starts."""
TRIES_MAX = 200


@dataclass
class Scene:
    """Where a fault takes place.

    Attributes:
        runners: on one database.
        chance: what is left to chance.
        stood_still: pids of runners that were stopped: what they had begun may come late.
        server: the PostgreSQL they use, if it is ours alone.
        standby: follows it.
        room: where the SQLite file is.
    """

    runners: Fleet
    chance: Random
    stood_still: set[int]
    server: Server | None = None
    standby: Server | None = None
    room: Room | None = None

    def anyone(self) -> Process:
        """One of the runners."""
        return self.chance.choice(self.runners.alive)


Fault = Callable[[Scene], Awaitable[None]]


async def no_fault(scene: Scene) -> None:
    """Nothing at all."""


async def kill_one(scene: Scene) -> None:
    """SIGKILL to a runner; another starts in its place."""
    scene.anyone().kill()
    await scene.runners.started(1)


async def kill_all(scene: Scene) -> None:
    """SIGKILL to all runners at once; as many start again."""
    victims = scene.runners.alive
    for each in victims:
        each.kill()
    await scene.runners.started(len(victims))


async def kill_at_start(scene: Scene) -> None:
    """SIGKILL to a runner that is starting, while it registers, rescues and claims for the first time."""
    newcomer = scene.runners.start()
    await until(lambda: newcomer.said("running") or not newcomer.alive, "a runner has started")
    await pause(scene.chance.uniform(0, 0.05))
    newcomer.kill()


async def drain_one(scene: Scene) -> None:
    """SIGTERM to a runner in the middle of its work; another starts in its place."""
    runner = scene.anyone()
    runner.ask_to_end()
    await scene.runners.started(1)
    assert await runner.gone() == 0, runner.text


async def stall_long(scene: Scene) -> None:
    """SIGSTOP for longer than the lease, then SIGCONT."""
    await _stall(scene, scene.chance.uniform(1.5, 3) * LEASE_S)


async def stall_about_a_lease(scene: Scene) -> None:
    """SIGSTOP for about as long as the lease."""
    await _stall(scene, scene.chance.uniform(0.8, 1.2) * LEASE_S)


async def stall_short(scene: Scene) -> None:
    """SIGSTOP for less than the lease."""
    await _stall(scene, scene.chance.uniform(0.05, 0.25) * LEASE_S)


async def _stall(scene: Scene, seconds: float) -> None:
    runner = scene.anyone()
    await stand_still(runner, scene.runners.database)
    scene.stood_still.add(runner.pid)
    await pause(seconds)
    runner.go_on()


async def stand_still(runner: Process, database: str) -> None:
    """Have a runner stand still, but not while it holds SQLite's write lock: then nobody could write (SQLite has one).

    Raises:
        TimeoutError: it always held the lock.
    """
    for _ in range(TRIES_MAX):
        runner.stop()
        if _writable(database):
            return
        runner.go_on()
        await pause(0.003)
    raise TimeoutError("the runner never let go of the write lock")


def _writable(database: str) -> bool:
    if not database.startswith("sqlite"):
        return True
    with contextlib.closing(_sqlite(database, 0.05)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


async def crash_server(scene: Scene) -> None:
    """PostgreSQL crashes and is away for some seconds."""
    await _away(scene, "immediate", scene.chance.uniform(0.5, 10))


async def restart_server(scene: Scene) -> None:
    """PostgreSQL is restarted in order."""
    await _away(scene, "fast", 0)


async def _away(scene: Scene, mode: str, seconds: float) -> None:
    assert scene.server is not None
    await asyncio.to_thread(scene.server.stop, mode)
    await pause(seconds)
    await asyncio.to_thread(scene.server.start)


async def drop_connections(scene: Scene) -> None:
    """All connections of all runners are cut, five times."""
    for _ in range(5):
        with psycopg.connect(scene.runners.database, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await pause(scene.chance.uniform(0, 0.2))


async def lock_tasks(scene: Scene) -> None:
    """Somebody else's transaction holds all task rows locked, for longer than runners wait for a lock."""
    await asyncio.to_thread(_hold_tasks, scene.runners.database, scene.chance.uniform(0.5, 6))


def _hold_tasks(database: str, seconds: float) -> None:
    """In a thread: the client on this loop may have to commit first."""
    with psycopg.connect(database) as connection:
        connection.execute("SET lock_timeout = '2s'")
        with contextlib.suppress(psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            connection.execute("SELECT FROM keepstep_task FOR UPDATE")
        time.sleep(seconds)
        connection.rollback()


async def promote_standby(scene: Scene) -> None:
    """The primary dies, the standby is promoted."""
    assert scene.server is not None
    assert scene.standby is not None
    scene.server.kill()
    await pause(scene.chance.uniform(0, 2))
    await asyncio.to_thread(scene.standby.promote)


async def fill_disk(scene: Scene) -> None:
    """There is no room for SQLite for some seconds."""
    assert scene.room is not None
    runner = scene.anyone()
    scene.room.use_up(runner.pid)
    await pause(scene.chance.uniform(1, 4))
    scene.room.give_back(runner.pid)


async def lock_database(scene: Scene) -> None:
    """Another process holds SQLite's write lock for seconds, up to longer than runners try."""
    await asyncio.to_thread(_hold_database, scene.runners.database, scene.chance.uniform(1, 12))


def _hold_database(database: str, seconds: float) -> None:
    """In a thread, as above."""
    with contextlib.closing(_sqlite(database, 10)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")


def _sqlite(database: str, timeout_s: float) -> sqlite3.Connection:
    return sqlite3.connect(database.removeprefix("sqlite:///"), timeout=timeout_s, isolation_level=None)


EVERYWHERE: tuple[Fault, ...] = (
    no_fault,
    kill_one,
    kill_one,
    kill_all,
    kill_at_start,
    drain_one,
    stall_long,
    stall_about_a_lease,
    stall_short,
)
ON_SQLITE: tuple[Fault, ...] = (*EVERYWHERE, fill_disk, lock_database)
ON_POSTGRESQL: tuple[Fault, ...] = (
    *EVERYWHERE,
    crash_server,
    restart_server,
    drop_connections,
    lock_tasks,
)
