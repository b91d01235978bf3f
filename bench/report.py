"""Rows of the report: a figure beside its limit, a peer and its goal; as a table, as JSON, and in README.md."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.workload import Dialect, Figure, Raw, Sample

HERE = Path(__file__).parent
README, LATEST, GOALS = HERE / "README.md", HERE / "latest.json", HERE / "goals.json"
BEGIN, END = "<!-- begin: the last run -->", "<!-- end: the last run -->"
HEADINGS = ("workload", "database", "figure", "unit", "limit", "peer", "its figure", "ratio", "goal", "met")


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        workload: the figure's key.
        database: which kind.
        figure: ours, the median of the rounds; None when the workload failed.
        unit: of all figures.
        limit: what the disk and the bare driver do.
        peer: the other engine's name; None when there is none.
        peer_figure: its figure.
        ratio: how many times better ours is; below 1 the peer is better.
        goal: in words; None when there is none.
        met: whether all of it is; None without a goal.
    """

    workload: str
    database: str
    figure: float | None
    unit: str
    limit: float | None
    peer: str | None
    peer_figure: float | None
    ratio: float | None
    goal: str | None
    met: bool | None


@dataclass(frozen=True)
class Goal:
    """What a figure is to reach, by itself and against a peer."""

    at_least: float | None = None
    at_most: float | None = None
    times: float | None = None

    @property
    def text(self) -> str | None:
        """In words."""
        parts = [
            *([f"≥ {shown(self.at_least)}"] if self.at_least is not None else []),
            *([f"≤ {shown(self.at_most)}"] if self.at_most is not None else []),
            *([f"≥ {shown(self.times)}×"] if self.times is not None else []),
        ]
        return ", ".join(parts) or None

    def met(self, figure: float | None, ratio: float | None) -> bool | None:
        """Whether all of it is reached; a peer that could not be measured does not count."""
        if self.text is None:
            return None
        if figure is None:
            return False
        return (
            (self.at_least is None or figure >= self.at_least)
            and (self.at_most is None or figure <= self.at_most)
            and (self.times is None or ratio is None or ratio >= self.times)
        )


def goal_of(figure: str, database: str, peer: str | None) -> Goal:
    """The goal of a figure, with its ratio if there is one against this peer."""
    for each in json.loads(GOALS.read_text()):
        if (each["figure"], each["database"]) == (figure, database):
            times = each.get("times", {}).get(peer)
            return Goal(each.get("at_least"), each.get("at_most"), times)
    return Goal()


def medians(samples: Iterable[Sample]) -> Sample:
    """The median of each figure over the rounds."""
    found = list(samples)
    keys = dict.fromkeys(key for sample in found for key in sample)  # in their order
    return {key: statistics.median([sample[key] for sample in found if key in sample]) for key in keys}


def rows_of(
    figure: Figure, database: Dialect, ours: Sample, raw: Raw, peers: Mapping[str, Sample]
) -> list[Row]:
    """One row for each peer that has the figure, else one without a peer."""
    value = ours.get(figure.key)
    limit = figure.limit(raw) if figure.limit is not None and raw else None
    beside = [name for name, sample in peers.items() if figure.key in sample] or [None]
    rows: list[Row] = []
    for peer in beside:
        other = None if peer is None else peers[peer][figure.key]
        ratio = _ratio(figure, value, other)
        goal = goal_of(figure.key, database, peer)
        met = goal.met(value, ratio)
        rows.append(Row(figure.key, database, value, figure.unit, limit, peer, other, ratio, goal.text, met))
    return rows


def _ratio(figure: Figure, ours: float | None, other: float | None) -> float | None:
    if not ours or not other:
        return None
    return ours / other if figure.better == "higher" else other / ours


def as_json(rows: Sequence[Row]) -> str:
    """What ``latest.json`` holds."""
    return json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False) + "\n"


def as_table(rows: Sequence[Row]) -> str:
    """A table that reads well as Markdown and in a terminal."""
    lines = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    return "\n".join([text[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *text[1:]])


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.workload,
        row.database,
        shown(row.figure),
        row.unit,
        shown(row.limit),
        row.peer or "",
        shown(row.peer_figure),
        f"{shown(row.ratio)}×" if row.ratio is not None else "",
        row.goal or "",
        "" if row.met is None else ("yes" if row.met else "NO"),
    )


def shown(value: float | None) -> str:
    """Three significant digits, thousands apart."""
    if value is None:
        return ""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def limits_text(raw: Raw) -> str:
    """The raw measurements in one line."""
    return ", ".join(f"{shown(value)} {name}" for name, value in raw.items())


def write_readme(table: str, about: Mapping[str, Any], notes: Sequence[str]) -> None:
    """Put the run between the markers of README.md."""
    head, rest = README.read_text().split(BEGIN)
    tail = rest.split(END)[1]
    facts = "\n".join(f"- {name}: {value}" for name, value in about.items())
    said = "".join(f"\n> {note}\n" for note in notes)
    made = f"{datetime.now(UTC):%Y-%m-%d}, by `make bench`"
    README.write_text(f"{head}{BEGIN}\n\nMade {made}.\n\n{facts}\n{said}\n{table}\n\n{END}{tail}")
