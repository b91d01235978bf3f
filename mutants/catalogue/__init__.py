"""The faults that were thought of by hand, by what they break. A list, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from mutants.catalogue.commits import COMMITS
from mutants.catalogue.events import EVENTS
from mutants.catalogue.leases import LEASES
from mutants.catalogue.lifecycle import LIFECYCLE
from mutants.catalogue.outbox import OUTBOX
from mutants.catalogue.replay import REPLAY
from mutants.catalogue.steps import STEPS
from mutants.catalogue.timers import TIMERS
from mutants.fault import Mutant

CATALOGUE: Mapping[str, tuple[Mutant, ...]] = {
    "Leases and fences": LEASES,
    "Commits": COMMITS,
    "Replay": REPLAY,
    "Steps and attempts": STEPS,
    "Events": EVENTS,
    "Timers": TIMERS,
    "Life cycle": LIFECYCLE,
    "Outbox": OUTBOX,
}
"""Themes, and their mutants in the order of the page."""

MUTANTS: Mapping[str, Mutant] = {each.name: each for theme in CATALOGUE.values() for each in theme}
"""All of them by name."""
