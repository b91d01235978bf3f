"""Probes: places at which a simulation looks in. No-ops in production, under 50 ns each.

A harness replaces the functions held in :data:`probes`; the engine never reads anything back from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class _Probes:
    """The two hooks; ``None`` in production."""

    __slots__ = ("on_probe", "on_sometimes")

    def __init__(self) -> None:
        self.on_probe: Callable[[str, dict[str, Any]], None] | None = None
        self.on_sometimes: Callable[[str, bool], None] | None = None


probes = _Probes()
"""What a harness installs itself into."""


def probe(label: str, **facts: Any) -> None:
    """Tell a harness that ``label`` was passed, with ``facts`` for its ghost state."""
    if probes.on_probe is not None:
        probes.on_probe(label, facts)


def sometimes(name: str, condition: bool) -> None:
    """Tell a harness whether a state that a campaign must reach was reached."""
    if probes.on_sometimes is not None:
        probes.on_sometimes(name, condition)
