"""What each statement of the store does to the tables, and what it answers; a file beside each file of ``keepstep.store``.

Written from what a statement is for. Where a statement leaves an order open, rows come by key.
"""

from keepstep_testing.sim.dicts.statements import (
    boundaries,
    changes,
    claims,
    ends,
    held,
    histories,
    hooks,
    reading,
    rescue,
    runs,
)

__all__ = [
    "boundaries",
    "changes",
    "claims",
    "ends",
    "held",
    "histories",
    "hooks",
    "reading",
    "rescue",
    "runs",
]
