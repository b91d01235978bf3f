"""The table of wakes is made of a run's rows, and refuses half a run."""

import pytest

from bench.latency import BEGIN, END, PAGE, table
from bench.workload import DIALECTS
from bench.workloads.wake import WORKLOAD


def rows(left_out=None):
    """A run in which every figure is the length of its name."""
    return [
        {"workload": figure.key, "database": database, "figure": float(len(figure.key)), "limit": 0.25}
        for figure in WORKLOAD.figures
        for database in DIALECTS
        if figure.key != left_out
    ]


def test_each_dispatcher_and_database_has_a_row():
    """p50 and p99 of the three ways, and what a commit took."""
    lines = table(rows()).splitlines()
    assert len(lines) == 2 + 6 + 2
    assert lines[2] == "| PollingDispatcher, SQLite | 21 / 21 | 24 / 24 | 18 / 18 |"
    assert "0.25 ms on SQLite and 0.25 ms on PostgreSQL" in lines[-1]


def test_half_a_run_makes_no_table():
    """A figure that is missing is named."""
    with pytest.raises(KeyError, match="Cloudflare, timer p99"):
        table(rows(left_out="Cloudflare, timer p99"))


def test_the_page_has_its_place():
    """The markers stand in the page once."""
    assert [PAGE.read_text().count(mark) for mark in (BEGIN, END)] == [1, 1]
