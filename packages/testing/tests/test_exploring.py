"""``@sim_test`` and the command line: what fails is made smaller, saved, named, and fails again when it is replayed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from keepstep_testing import Simulation, explore, sim_test
from keepstep_testing.exploring import play
from keepstep_testing.runs import Run, drawn
from tests.support import mistakes
from tests.support.sources import ROOT

TESTS = """
from keepstep_testing import Simulation, sim_test
from tests.support import mistakes

@sim_test(budget="20s", schedules=400)
async def test_pays_once(sim: Simulation) -> None:
    sim.effect(mistakes.charge, returns="n-1")
    order = await sim.start(mistakes.in_thread, 5, id="o-1")
    await sim.settle()

async def test_plain(sim: Simulation) -> None:
    sim.stub("take", returns="n-1")
    assert await (await sim.start(mistakes.in_thread, 5)).result() == "n-1"
"""


async def _pays(sim: Simulation) -> None:
    sim.effect(mistakes.charge, returns="n-1")
    order = await sim.start(mistakes.in_thread, 5, id="o-1")
    sim.client(order.terminate)
    await sim.settle()


def test_runs_repeat_themselves() -> None:
    """The same seed gives the same trace, twice; so does what was recorded of it."""
    for seed in range(1, 6):
        first, second = (play(_pays, drawn(seed), traced=True) for _ in range(2))
        assert first.trace == second.trace
        assert play(_pays, first.replay, traced=True).trace == first.trace


def test_what_a_client_may_do_is_done_in_some_runs() -> None:
    """The seed decides; a run that is played again decides alike, and the calm one does it."""

    async def some(sim: Simulation) -> None:
        sim.effect(mistakes.charge, returns="n-1")
        order = await sim.start(mistakes.good, 5, id="o-1")
        sim.client(order.terminate, maybe=True)
        await sim.settle()
        sim.sometimes("terminated", (await order.status()).status == "terminated")

    done = [play(some, run).reached["terminated"] for run in (Run(), *map(drawn, range(1, 13)))]
    assert done[0] == 1
    assert 2 < sum(done) < 11
    outcomes = [play(some, drawn(seed)) for seed in range(1, 5)]
    assert [play(some, each.replay).reached for each in outcomes] == [each.reached for each in outcomes]


def test_a_budget_of_runs_is_kept() -> None:
    """The report counts them, and what was never reached."""

    async def never(sim: Simulation) -> None:
        sim.stub("take", returns="n-1")
        await (await sim.start(mistakes.in_thread, 5)).result()
        sim.sometimes("pigs fly", False)

    found = explore(never, schedules=4, name="never")
    assert found.schedules == 4
    assert "never reached: pigs fly" in str(found)


def test_a_test_without_sim_is_refused() -> None:
    """At decoration."""
    with pytest.raises(TypeError, match="takes no `sim`"):
        sim_test()(lambda: None)  # pyright: ignore[reportArgumentType]


def pytest_says(folder: Path, *arguments: str) -> tuple[int, str]:
    """A session of its own, without any configuration."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:schemathesis",
        *arguments,
    ]
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_a_failing_run_is_saved_and_replayed(tmp_path: Path) -> None:
    """From the command line that the failure prints; kept beside the test, it fails before anything is explored."""
    (tmp_path / "test_mine.py").write_text(TESTS)
    status, said = pytest_says(tmp_path, "test_mine.py")
    assert status == 1, said
    assert "1 failed, 1 passed" in said
    assert "charge was done" in said
    assert "for one step" in said
    saved = next((tmp_path / ".sim_failures").glob("test_pays_once-*.json"))
    assert f"--sim-replay=.sim_failures/{saved.name}" in said
    kept = json.loads(saved.read_text())
    assert kept["said"].startswith("DurabilityError: charge was done")
    (tmp_path / "sim_corpus").mkdir()
    saved.rename(tmp_path / "sim_corpus" / saved.name)
    status, said = pytest_says(tmp_path, "test_mine.py", "-k", "pays_once")
    assert status == 1, said
    assert "fails in schedule 2" in said


def test_a_run_without_anything_is_calm() -> None:
    """The first run of each exploration."""
    outcome = play(_pays, Run())
    assert outcome.error is None
    assert not outcome.fired
