"""The command runs a workload in a process of its own and writes what it found."""

from __future__ import annotations

import json
import subprocess
import sys

from bench.databases import CACHE
from bench.peers import ROOT


def test_one_workload_runs_from_the_command_line():
    """`python -m bench` measures one workload on SQLite in a few seconds, without the peers."""
    command = [
        sys.executable,
        "-m",
        "bench",
        "--workload",
        "W3",
        "--database",
        "sqlite",
        "--peers",
        "no",
        "--quick",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((CACHE / "latest.json").read_text())
    assert (row["workload"], row["database"], row["unit"]) == ("W3 p50 per step", "sqlite", "ms")
    assert row["figure"] > 0
    assert row["limit"] > 0
    assert "W3 p50 per step" in done.stdout
