"""What a group commit answers. The scripts that write a group live in ``boundaries.py`` and ``boundaries_pg.py``."""

from __future__ import annotations

from typing import NamedTuple


class GroupResult(NamedTuple):
    """Which of a group survived its guards (B3): losers lose alone, and nothing of a loser is written."""

    kept: frozenset[int]
    """Ids of the runs whose boundary or creation was written."""
    epoch_held: bool
    """Whether the runner's lease is still its own; if not, nothing was written."""
    busy: frozenset[int] = frozenset()
    """Runs that a foreign transaction held locked at this moment: nothing of them is written or lost. Commit them
    again; only a group that was told not to wait has any."""
