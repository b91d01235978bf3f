"""What a refused operation says: subject, state, what was asked, what to do (H). Decides nothing."""

from __future__ import annotations

from keepstep.errors import InstanceTerminalError
from keepstep.model.records import RunRecord


def subject(run: RunRecord) -> str:
    """Name the run in a message."""
    return f"workflow {run.workflow!r} instance {run.instance_id!r}"


def ended(run: RunRecord, asked: str) -> InstanceTerminalError:
    """Build the error for an operation that needs a live instance. ``asked`` is like ``"it cannot be paused"``."""
    return InstanceTerminalError(
        f"{subject(run)} is {run.status} (run {run.run_number}): it has ended, so {asked}; "
        "restart() begins its next run"
    )
