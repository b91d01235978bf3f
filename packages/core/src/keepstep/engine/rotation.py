"""Whose turn it is, where there is less room than workflows that have due runs (B2, decision 0018)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random


class Rotation:
    """Orders workflows: who was served longest ago comes first.

    The first order is drawn, so that processes which look only once do not all begin with the same workflow.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._served: dict[str, float] = {}
        self._count = 0

    def order(self, names: Sequence[str]) -> list[str]:
        """The names, in order of their turns."""
        for name in names:
            if name not in self._served:
                self._served[name] = -self._random.random()
        return sorted(names, key=self._served.__getitem__)

    def serve(self, names: Iterable[str]) -> None:
        """These had their turn."""
        self._count += 1
        self._served.update(dict.fromkeys(names, self._count))
