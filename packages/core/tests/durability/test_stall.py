"""A runner that stands still for longer than its lease, and then goes on as if nothing had happened (B3, B4)."""

from __future__ import annotations

from pathlib import Path

from soak.client import client_of
from soak.faults import stand_still
from soak.processes import fleet, pause, until
from soak.rows import rows
from soak.verdict import all_ended, verdict

TABLES = (
    "run ORDER BY id",
    "run_step ORDER BY run_id, key",
    "event ORDER BY id",
    "log ORDER BY run_id, number",
)


def everything(database: str) -> list[object]:
    """All rows that a run leaves."""
    return [rows(database, f"SELECT * FROM keepstep_{table}") for table in TABLES]


async def test_a_runner_that_stood_still_commits_nothing_of_what_was_taken_over(
    database_url: str, tmp_path: Path
) -> None:
    """B3, B4: after SIGCONT not one row of a run that others took over and ended changes, and the runner is of use again."""
    async with client_of(database_url) as client:
        with fleet(database_url, tmp_path, "--lease", "1s", "--pause-ms", "200") as runners:
            (sleeper,) = await runners.started(1)
            await client.begin(0, walk=40, fan=40, talk=20, pay=20, fail=20)
            await pause(0.2)
            await stand_still(sleeper, database_url)
            in_flight = rows(database_url, "SELECT run_id FROM keepstep_task WHERE owner IS NOT NULL")
            assert in_flight
            (other,) = await runners.started(1)
            await all_ended(database_url, 100)
            other.ask_to_end()
            assert other.ended() == 0
            before = everything(database_url)
            sleeper.go_on()
            await until(lambda: sleeper.said("lost its lease"), "it notices")
            await pause(0.5)
            assert everything(database_url) == before
            await client.begin(1000, walk=10)
            found = await verdict(runners, client.expected, {sleeper.pid})
            assert found, found
            assert sleeper.pid in found.pids
