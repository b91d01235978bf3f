"""Randomness that a replay repeats: drawn from the workflow, instance and run, never from outside (A3)."""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from uuid import UUID

from keepstep.model.records import RunRecord


class Draws:
    """The random sources of one run.

    Args:
        run: its workflow, instance and number are the seed.
    """

    __slots__ = ("_made", "_randoms", "_run")

    def __init__(self, run: RunRecord) -> None:
        self._run = run
        self._made: dict[str, int] | None = None
        self._randoms: dict[str, Random] | None = None

    def random(self, scope: str) -> Random:
        """The generator of a scope: the same one at each call. A scope's draws do not shift another's (C1)."""
        if self._randoms is None:
            self._randoms = {}
        found = self._randoms.get(scope)
        if found is None:
            found = self._randoms[scope] = Random(self._seed(scope))  # noqa: S311 - repeatable is what is wanted
        return found

    def uuid4(self, scope: str) -> UUID:
        """The scope's next UUID."""
        if self._made is None:
            self._made = {}
        n = self._made[scope] = self._made.get(scope, 0) + 1
        digest = blake2b(f"{self._seed(scope)}\0{n}".encode(), digest_size=16).digest()
        return UUID(bytes=digest, version=4)

    def _seed(self, scope: str) -> str:
        run = self._run
        return f"{run.workflow}\0{run.instance_id}\0{run.run_number}\0{scope}"
