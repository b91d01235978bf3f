"""SQLite without room on its disk: a clear complaint, nothing damaged, and work goes on when there is room again."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from keepstep.errors import StoreUnavailableError
from soak.checker import ALWAYS, broken
from soak.client import client_of
from soak.processes import fleet, pause, until
from soak.room import Room, limit, volume
from soak.rows import count, rows
from soak.verdict import verdict

pytestmark = pytest.mark.timeout(600)  # on a machine that others use, too

LEASE_S = 1


@pytest.mark.parametrize("place", [volume, limit])
async def test_a_full_disk(place: Callable[[], AbstractContextManager[Room]], tmp_path: Path) -> None:
    """B1, C5, H: a full disk fails no run; the runner says what is wrong, and goes on by itself when there is room."""
    with place() as room:
        url = f"sqlite:///{room.folder}/keepstep.db"
        async with client_of(url) as client:
            with fleet(url, tmp_path, "--lease", f"{LEASE_S}s", "--pause-ms", "20") as runners:
                (runner,) = await runners.started(1)
                await client.begin(0, walk=1_200, fan=50, talk=20, pay=50, fail=50)
                room.use_up(runner.pid)
                await until(lambda: runner.said(room.complaint), f"the runner says: {room.complaint}")
                await pause(2 * LEASE_S)  # what still fits is written; what does not is tried again
                assert runner.alive
                assert not broken(url, *ALWAYS)
                room.give_back(runner.pid)
                found = await verdict(runners, client.expected)
                assert found, found
                assert rows(url, "PRAGMA integrity_check") == [("ok",)]


async def test_a_client_is_told_that_the_disk_is_full(tmp_path: Path) -> None:
    """H: a verb for which there is no room raises an error that says so, and writes nothing; later ones succeed."""
    with volume() as room:
        async with client_of(f"sqlite:///{room.folder}/keepstep.db") as client:
            create = client.app.workflows.WALK.create
            room.use_up(os.getpid())
            made: list[str] = []

            async def create_until_it_is_full() -> None:
                while len(made) < 10_000:
                    made.append((await create(params=1)).id)

            try:
                with pytest.raises(StoreUnavailableError, match=room.complaint):
                    await create_until_it_is_full()
            finally:
                room.give_back(os.getpid())
            assert count(client.database, "SELECT count(*) FROM keepstep_run") == len(made)
            await create(params=1)
            assert not broken(client.database, *ALWAYS)
            assert rows(client.database, "PRAGMA integrity_check") == [("ok",)]
