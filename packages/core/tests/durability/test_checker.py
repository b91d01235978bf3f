"""The checker itself: each of its rules sees what breaks it, and an untouched database breaks none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from soak.checker import (
    ALWAYS,
    AT_REST,
    ENDED,
    Effect,
    Expected,
    broken,
    repeats,
    wrong_effects,
    wrong_outcomes,
)
from soak.client import client_of
from soak.processes import errors_in
from soak.rows import execute
from soak.workflows import Outside

COMPLETE = "(SELECT id FROM keepstep_run WHERE instance_id = 'walk-0')"
WAITS = "(SELECT id FROM keepstep_run WHERE instance_id = 'talk-1')"
DAMAGE = [
    ("a terminal run has no task", f"UPDATE keepstep_task SET run_id = {COMPLETE}"),
    ("a live run has its task", "DELETE FROM keepstep_task"),
    ("a task has its run", "UPDATE keepstep_task SET run_id = 1"),
    ("owned by nobody", "UPDATE keepstep_task SET owner = 7"),
    ("one latest run", "UPDATE keepstep_run SET latest = false WHERE status = 'complete'"),
    ("numbered from 1", "UPDATE keepstep_run SET run_number = 2"),
    ("only the latest run", "UPDATE keepstep_run SET latest = false WHERE status = 'waiting'"),
    ("an end has its time", f"UPDATE keepstep_run SET completed_at = NULL WHERE id = {COMPLETE}"),
    ("a live run has none", f"UPDATE keepstep_run SET output = '1' WHERE id = {WAITS}"),
    ("numbered 1 to n", f"DELETE FROM keepstep_run_step WHERE run_id = {COMPLETE} AND seq = 2"),
    ("a resolved step has its time", "UPDATE keepstep_run_step SET error = '{}' WHERE seq = 1"),
    ("without a place in the order", "UPDATE keepstep_run_step SET status = 'completed' WHERE seq IS NULL"),
    ("loop time never goes back", "UPDATE keepstep_run_step SET at = at + 3600000 WHERE seq = 1"),
    ("belong to a run", f"DELETE FROM keepstep_run WHERE id = {COMPLETE}"),
    ("consumed by a completed wait", "UPDATE keepstep_event SET consumed_by = 'wait:none'"),
    ("completed wait consumed one event", "UPDATE keepstep_event SET consumed_by = NULL"),
    ("counters never fall", "UPDATE keepstep_task SET takeovers = -1"),
    ("by a runner that is gone", "UPDATE keepstep_task SET owner = 7"),
    ("waits for an event that it has", "UPDATE keepstep_event SET consumed_by = NULL, run_id = " + WAITS),
    ("owned by anybody", "UPDATE keepstep_task SET owner = 7"),
    ("is left", "INSERT INTO keepstep_runner VALUES (7, 1, 0, 'host', 1, 0)"),
]


@pytest.mark.parametrize(("rule", "damage"), DAMAGE, ids=[rule for rule, _ in DAMAGE])
async def test_each_rule_sees_what_breaks_it(rule: str, damage: str, tmp_path: Path) -> None:
    """Invariants that no damage can break prove nothing."""
    database = f"sqlite:///{tmp_path}/keepstep.db"
    Outside.open(tmp_path / "effects", 0)
    async with client_of(database) as client:
        await client.begin(0, walk=1, talk=1)
        await client.create("talk", [1])
        await client.app.run_until_idle()
        rules = (*ALWAYS, *AT_REST, *ENDED)
        assert broken(database, *rules) == []
        execute(database, damage)
        assert any(rule in each for each in broken(database, *rules))


async def test_outcomes_are_compared_with_their_models(tmp_path: Path) -> None:
    """Wrong, missing and surplus instances and rows of the user's are told apart."""
    database = f"sqlite:///{tmp_path}/keepstep.db"
    Outside.open(tmp_path / "effects", 0)
    async with client_of(database) as client:
        await client.begin(0, walk=2, pay=1)
        await client.app.run_until_idle()
        assert wrong_outcomes(database, client.expected) == []
        execute(database, "UPDATE keepstep_run SET output = '11' WHERE instance_id = 'walk-0'")
        execute(database, "INSERT INTO soak_row VALUES ('pay-0', 'transaction:own')")
        found = wrong_outcomes(database, Expected([("walk", 0), ("walk", 2), ("pay", 0)]))
        assert [each.split(":")[0] for each in found] == [
            "nobody asked for ('walk', 'walk-1')",
            "('walk', 'walk-0')",
            "('walk', 'walk-2')",
            "the user's row ('pay-0', 'transaction",
        ]


def effects(*steps: tuple[int, int]) -> list[Effect]:
    """Effects of one walk: step and process."""
    return [Effect("walk", "walk-0", f"do:step-{number}", 1, pid) for number, pid in steps]


ALL = [(number, 1) for number in range(5)]


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        (ALL, None),
        ([(0, 1), (0, 2), *ALL[1:]], None),
        ([*ALL, (1, 1)], "came again although it was durable"),
        ([*ALL, (1, 9)], None),
        (ALL[:4], "never took place"),
        ([*ALL, (5, 1)], "nobody asked for"),
    ],
)
def test_effects_may_come_again_only_while_they_are_not_durable(steps, complaint):
    """A7, C2: the step in flight may be repeated; what was followed by another one may not, but by who stood still."""
    found = wrong_effects(effects(*steps), Expected([("walk", 0)]), stood_still={9})
    assert [complaint] == [complaint for each in found if complaint in each] if complaint else found == []


def test_repeats_are_counted():
    """B8: how often an effect came too often."""
    assert repeats(effects((0, 1), (1, 1), (1, 2), (1, 3))) == Counter({("walk-0", "do:step-1", 1): 2})


def test_a_log_is_read_by_records():
    """Errors and tracebacks are found, warnings are not, and what drivers say of cancelled work is passed over."""
    head = "2026-01-01 00:00:00,000"
    log = (
        f"running\n{head} WARNING keepstep.engine: trouble\nTraceback (most recent call last):\n"
        f"{head} ERROR keepstep.engine: a defect\nTraceback (most recent call last):\n  here\n"
        f"{head} ERROR sqlalchemy.pool.impl: closing\n"
    )
    assert errors_in(log) == [
        f"{head} ERROR keepstep.engine: a defect\nTraceback (most recent call last):\n  here"
    ]
    assert errors_in("Traceback (most recent call last):\n  there") == [
        "Traceback (most recent call last):\n  there"
    ]
    assert errors_in("running\n") == []
