"""Where an app stands: its database, the transactions of its user, the clock and the randomness of its process."""

from __future__ import annotations

from dataclasses import dataclass

from keepstep.engine.seams import Seams
from keepstep.store.api import Store
from keepstep.store.sessions import Sessions


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Given to an app in place of a database, it replaces all of the world that the app would find by itself.

    Simulations use it: a whole app, whatever it is composed of, runs in a world of theirs. Its schema is in place:
    the app checks it and does not migrate.

    Attributes:
        store: runs the engine's scripts.
        sessions: opens the transactions of steps that write tables of the user's own (C8).
        seams: clock, randomness, process identity.
    """

    store: Store
    sessions: Sessions
    seams: Seams
