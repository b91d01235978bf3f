"""Many runners on one database, none of which dies: each step's effect takes place once."""

from __future__ import annotations

from pathlib import Path

from soak.checker import Expected
from soak.client import client_of
from soak.processes import fleet, until
from soak.verdict import Verdict, verdict


async def calm(database: str, folder: Path, processes: int, runs: int) -> Verdict:
    """Half of the runs are there before, the other half is begun by the runners themselves, each a share."""
    queued, share = runs // 2, runs // 2 // processes
    async with client_of(database) as client:
        await client.create("walk", range(queued))
        with fleet(database, folder) as runners:
            own = [
                runners.start("--create", "walk", str(queued + share * each), str(share))
                for each in range(processes)
            ]
            for each in own:
                await until(
                    lambda each=each: each.said("created") or not each.alive, "a runner has begun its share"
                )
            found = await verdict(
                runners, Expected([("walk", number) for number in range(queued + share * processes)])
            )
            assert found, found
            worked = [each for each in own if each.pid in found.pids]
            assert len(worked) == processes, "a runner had nothing to do"
            return found


async def test_four_runners_on_one_postgresql(postgres_database: str, tmp_path: Path) -> None:
    """B2, B3: 2,000 runs on four runners; each of 10,000 effects takes place once."""
    found = await calm(postgres_database, tmp_path, processes=4, runs=2_000)
    assert (found.runs, found.effects, found.repeated) == (2_000, 10_000, 0)


async def test_three_runners_on_one_sqlite_file(tmp_path: Path) -> None:
    """B2, B3: 1,200 runs on three runners; each of 6,000 effects takes place once."""
    found = await calm(f"sqlite:///{tmp_path}/keepstep.db", tmp_path, processes=3, runs=1_200)
    assert (found.runs, found.effects, found.repeated) == (1_200, 6_000, 0)
