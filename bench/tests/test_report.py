"""The report says what was measured, and whether a goal is met."""

from __future__ import annotations

import json

import pytest

from bench import report
from bench.workload import DIALECTS, Figure
from bench.workloads import WORKLOADS

KEYS = {"workload", "database", "figure", "unit", "limit", "peer", "peer_figure", "ratio", "goal", "met"}
STEPS = Figure("W2 128 in flight", "steps/s", "higher", lambda raw: raw["rows"])
STEP = Figure("W3 p50 per step", "ms", "lower")


def test_each_peer_has_a_row_with_its_ratio_and_goal():
    """A ratio tells how many times better we are, and a goal against one peer is not asked of another."""
    peers = {"dbos": {STEPS.key: 500.0}, "absurd": {STEPS.key: 4_000.0}}
    dbos, absurd = report.rows_of(STEPS, "postgresql", {STEPS.key: 48_000.0}, {"rows": 1e5}, peers)
    assert (dbos.ratio, dbos.goal, dbos.met) == (96, "≥ 40,000, ≥ 60×", True)
    assert (absurd.ratio, absurd.goal, absurd.met) == (12, "≥ 40,000, ≥ 18×", False)
    assert dbos.limit == 1e5


def test_less_is_better_where_the_figure_is_a_time():
    """A latency's ratio is turned round."""
    (row,) = report.rows_of(STEP, "sqlite", {STEP.key: 0.2}, {}, {"dbos": {STEP.key: 1.2}})
    assert (row.ratio, row.met) == (pytest.approx(6), True)


def test_a_failed_workload_is_a_goal_missed():
    """What could not be measured stays in the table."""
    (row,) = report.rows_of(STEP, "sqlite", {}, {}, {})
    assert (row.figure, row.met) == (None, False)
    assert "NO" in report.as_table([row])


def test_json_has_the_promised_keys():
    """`latest.json` is a list of flat objects."""
    rows = report.rows_of(STEP, "sqlite", {STEP.key: 0.2}, {}, {})
    assert [set(each) for each in json.loads(report.as_json(rows))] == [KEYS]


def test_every_goal_is_of_a_figure_that_exists():
    """A renamed figure cannot lose its goal silently."""
    known = {
        (figure.key, database)
        for workload in WORKLOADS.values()
        for figure in workload.figures
        for database in workload.databases
    }
    goals = json.loads(report.GOALS.read_text())
    assert {(goal["figure"], goal["database"]) for goal in goals} <= known
    assert {goal["database"] for goal in goals} == set(DIALECTS)


def test_the_readme_keeps_what_stands_around_the_table(tmp_path, monkeypatch):
    """Only the part between the markers is made anew."""
    path = tmp_path / "README.md"
    path.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "README", path)
    report.write_readme("| new |", {"cores": "2"}, ["dbos is LEFT OUT"])
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| new |" in text
    assert "dbos is LEFT OUT" in text
