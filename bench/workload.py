"""What a workload is, and the bed that it is measured in. No workload lives here."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from keepstep import App, RunnerOptions

Dialect = Literal["sqlite", "postgresql"]
DIALECTS: tuple[Dialect, ...] = ("sqlite", "postgresql")

Sample = dict[str, float]
"""One round's figures, by their keys."""
Raw = Mapping[str, float]
"""What ``bench.limits`` measured on the same database in the same run."""

ROUNDS = 3


@dataclass(frozen=True)
class Figure:
    """One number that a workload gives.

    Attributes:
        key: names it in tables, in ``goals.json`` and in the peers' programs.
        unit: of the number.
        better: which direction is good.
        limit: the physical limit to print beside it, from the raw measurements; None = there is none.
    """

    key: str
    unit: str
    better: Literal["higher", "lower"]
    limit: Callable[[Raw], float] | None = None


@dataclass(frozen=True)
class Workload:
    """One workload; each module of ``bench.workloads`` has one, called ``WORKLOAD``.

    Attributes:
        name: what ``W=`` selects.
        title: one line that says what is measured.
        figures: what ``measure`` gives.
        measure: warms up, then returns one sample a round. Runs in a process and a database of its own.
        databases: on which it makes sense.
        peers: whether the peers' programs know it.
        by_default: False = only when asked for by name.
        timeout_s: after this the process is killed and the workload counts as failed.
    """

    name: str
    title: str
    figures: tuple[Figure, ...]
    measure: Callable[[Bed], Awaitable[list[Sample]]]
    databases: tuple[Dialect, ...] = DIALECTS
    peers: bool = False
    by_default: bool = True
    timeout_s: float = 120


@dataclass(frozen=True)
class Bed:
    """Where a workload is measured.

    Attributes:
        url: an empty database.
        quick: a few rounds of a few instances: shows that it works, measures nothing.
    """

    url: str
    quick: bool = False

    @property
    def dialect(self) -> Dialect:
        """Which kind of database it is."""
        return "sqlite" if self.url.startswith("sqlite") else "postgresql"

    def app(self, *workflows: Any, **options: Any) -> App[Any]:
        """An app of these workflows; ``runner`` options are given by name, the app's own too."""
        own = {name: options.pop(name) for name in ("dispatcher", "limits") if name in options}
        by_key = {each.name.replace("-", "_"): each for each in workflows}
        return App(self.url, workflows=by_key, runner=RunnerOptions(**options), **own)

    def size(self, full: int, quick: int) -> int:
        """How many, in a real run and in a quick one."""
        return quick if self.quick else full

    async def rounds(self, play: Callable[[int], Awaitable[Sample]], size: int) -> list[Sample]:
        """Warm up with a tenth of ``size``, then play the rounds; a quick bed plays one round."""
        await play(max(1, size // 10))
        return [await play(size) for _ in range(1 if self.quick else ROUNDS)]


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; ``share`` is 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def rows_100(raw: Raw) -> float:
    """The limit of throughput: raw rows a second, 100 a commit."""
    return raw["rows/s, 100 a commit"]


def commit_ms(raw: Raw) -> float:
    """The limit of latency: one row in a commit of its own, in milliseconds."""
    return 1000 / raw["rows/s, 1 a commit"]
