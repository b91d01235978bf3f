"""PostgreSQL goes away under load, and comes back: by itself, or as the standby that took over (C5, defect 9)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from soak.client import client_of
from soak.cluster import pair, server, url_of_both
from soak.processes import fleet, pause
from soak.verdict import verdict

pytestmark = pytest.mark.timeout(600)  # on a machine that others use, too

OUTAGE_S = 10


async def test_a_server_that_crashes_and_is_away_for_ten_seconds(tmp_path: Path) -> None:
    """C5, B2, B4, defect 9: runs go on after an outage, whether their runner's lease outlived it or not; nothing acknowledged is lost."""
    with server() as away:
        async with client_of(away.url) as client:
            with fleet(away.url, tmp_path, "--pause-ms", "50") as runners:
                await runners.started(1, "--lease", "2s")
                await runners.started(1, "--lease", "60s")
                await client.begin(0, walk=60, fan=30, talk=30, pay=30, fail=30)
                await pause(0.1)
                away.stop()
                waves = asyncio.create_task(client.begin(100, walk=60, fan=30, talk=30, pay=30, fail=30))
                await pause(OUTAGE_S)
                assert not waves.done()
                assert all(each.alive for each in runners.all)
                away.start()
                await waves
                found = await verdict(runners, client.expected)
                assert found, found
                assert client.troubles


async def test_a_standby_is_promoted_when_the_primary_dies(tmp_path: Path) -> None:
    """C5, B1, defect 9: with both hosts in the URL runs go on at the new primary, and no committed boundary is lost."""
    with pair() as (primary, standby):
        url = url_of_both(primary, standby, "postgres")
        async with client_of(url) as client:
            with fleet(url, tmp_path, "--pause-ms", "50", "--lease", "2s") as runners:
                await runners.started(2)
                waves = asyncio.create_task(client.begin(0, walk=300, fan=100, talk=50, pay=100, fail=100))
                await pause(0.5)
                primary.kill()
                standby.promote()
                await waves
                found = await verdict(runners, client.expected)
                assert found, found
                assert client.troubles
