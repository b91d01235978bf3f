"""Real processes, really killed: nothing is lost, at most the step in flight is repeated (B1, B2, B8)."""

from __future__ import annotations

from pathlib import Path
from random import Random

from soak.checker import ALWAYS, Expected, broken, read_effects, repeats
from soak.client import client_of
from soak.processes import Process, fleet, pause, until
from soak.verdict import verdict

RUNS = 100
KILLS = 4


async def test_kill_minus_nine_with_100_runs_in_flight(database_url: str, tmp_path: Path) -> None:
    """B1, B2, B8: after SIGKILL every run ends right, and each run repeats one step at most."""
    async with client_of(database_url):
        with fleet(database_url, tmp_path, "--lease", "3s", "--pause-ms", "30") as runners:
            first = runners.start("--create", "walk", "0", str(RUNS))

            def in_flight() -> bool:
                assert first.alive, first.text
                began = read_effects(runners.effects)
                return len({each.instance for each in began}) == RUNS and len(began) >= 2 * RUNS

            await until(in_flight, "every run has begun and is about in its middle")
            first.kill()
            assert len(read_effects(runners.effects)) < 5 * RUNS, "everything was over before the kill"
            await runners.started(1)
            found = await verdict(runners, Expected([("walk", number) for number in range(RUNS)]))
            assert found, found
            repeated = repeats(read_effects(runners.effects))
            per_run = [instance for instance, *_ in repeated.elements()]
            assert len(per_run) == len(set(per_run)), f"more than the step in flight was repeated: {repeated}"


async def test_random_kills_under_load(database_url: str, tmp_path: Path) -> None:
    """B1-B3, B8: runners die at random while work comes in; every run ends as its model says, and nothing that was durable runs again."""
    chance = Random(7)
    async with client_of(database_url) as client:
        with fleet(database_url, tmp_path, "--lease", "1s", "--pause-ms", "20") as runners:
            await runners.started(2)
            for number in range(KILLS):
                victim: Process = chance.choice(runners.alive)
                replacement = runners.start()
                await client.begin(100 * number, walk=40, fan=20, talk=20, pay=20, fail=20)
                await pause(chance.uniform(0, 0.3))
                victim.kill()
                assert not broken(database_url, *ALWAYS)
                await until(lambda new=replacement: new.said("running"), "the replacement runs")
            found = await verdict(runners, client.expected)
            assert found, found
