"""What runs leave behind, without what chance draws: equal for two plays that differ in nothing that counts (A6)."""

from __future__ import annotations

from typing import Any

from keepstep_testing.sim.oracle.ghost import Ghost


def histories(ghost: Ghost) -> str:
    """Every run's end and steps, in the order in which they were resolved; keys of the database are left out."""
    runs = sorted(ghost.runs.values(), key=lambda run: (run.instance_id, run.run_number))
    return "\n".join(line for run in runs for line in (_run(run), *_steps(ghost, run)))


def _run(run: Any) -> str:
    return f"{run.instance_id}/{run.run_number} {run.status} {run.output} {run.error}"


def _steps(ghost: Ghost, run: Any) -> list[str]:
    rows = sorted(ghost.steps[run.id].values(), key=lambda row: (row.seq is None, row.seq or 0, row.key))
    return [f"  {row.seq} {row.key} {row.status} {row.attempt} {row.result} {row.error}" for row in rows]
