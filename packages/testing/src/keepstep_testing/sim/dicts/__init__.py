"""The dict lane: keepstep's database once more, as dicts of rows, beside the real one (invariant 43).

A store answers scripts by what each statement promises, not by its SQL: the two were written apart, so that a mistake
in one of them is a difference between them. ``table.py`` and ``database.py`` are the database, ``statements/`` says what
each statement does, ``store.py`` runs scripts, ``lane.py`` is all of it in the simulator.
"""

from keepstep_testing.sim.dicts import statements as _  # noqa: F401  # registers the answers
from keepstep_testing.sim.dicts.database import DictDatabase
from keepstep_testing.sim.dicts.store import DictStore

__all__ = ["DictDatabase", "DictStore"]
