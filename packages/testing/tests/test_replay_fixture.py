"""The fixture ``replay``: recorded histories against the code of today, in a project's own tests (A2, E10)."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.outcomes import Failed

from keepstep import App, WorkflowEvent, WorkflowStep, workflow
from keepstep.errors import UsageError
from keepstep_testing.histories import export_histories
from keepstep_testing.histories.fixture import Replayer


async def work(order: str) -> str:
    """A step."""
    return order


def of_steps(*names: str):
    """A workflow of one name that does these steps."""

    @workflow(name="order")
    async def order(event: WorkflowEvent[str], step: WorkflowStep) -> str:
        for each in names:
            await step.do(each, work, event.payload)
        return "done"

    return order


@pytest.fixture
async def recorded(sqlite_database: str, tmp_path: Path) -> Path:
    """A folder with the history of one run that charged and shipped."""
    app = App(sqlite_database, workflows={"ORDER": of_steps("charge", "ship")}, dispatcher=None)
    await app.workflows.ORDER.create("o-1", params="lamp")
    await app.run_until_idle()
    (tmp_path / "histories").mkdir()
    await export_histories(app, tmp_path / "histories" / "2026.jsonl")
    await app.stop()
    return tmp_path


async def test_code_that_fits_passes(recorded: Path) -> None:
    """By the file's name beside the test, and by its folder's."""
    replay = Replayer(recorded)
    for path in ("histories/2026.jsonl", "histories", recorded / "histories"):
        report = replay(path, {"ORDER": of_steps("charge", "ship")})
        assert [each.history.run.instance_id for each in report.verdicts] == ["o-1"]


async def test_code_that_does_not_fit_fails_with_the_difference(recorded: Path) -> None:
    """What is recorded, what the code asks for, and where."""
    with pytest.raises(Failed) as failed:
        Replayer(recorded)("histories", {"ORDER": of_steps("bill", "ship")})
    told = str(failed.value)
    assert "order 'o-1', run 1 (complete): DOES NOT FIT" in told
    assert "the history has: do:charge (completed), do:ship (completed)" in told
    assert f"{Path(__file__).name}:" in told


def test_a_folder_without_histories_proves_nothing(tmp_path: Path) -> None:
    """It does not pass in silence."""
    with pytest.raises(UsageError, match="holds no history"):
        Replayer(tmp_path)(".", {"ORDER": of_steps("charge")})


def test_a_test_gets_it_from_its_folder(replay: Replayer) -> None:
    """Paths begin beside the test's file."""
    with pytest.raises(UsageError, match=f"{Path(__file__).parent}/nothing.jsonl"):
        replay("nothing.jsonl", {"ORDER": of_steps("charge")})
