"""The table of wakes in docs/explanation/dispatchers.md, from the last `make bench W=wake`: `python -m bench.latency`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bench.databases import CACHE
from bench.peers import ROOT
from bench.report import shown
from bench.workload import DIALECTS
from bench.workloads.wake import KINDS, WAYS

PAGE = ROOT / "docs/explanation/dispatchers.md"
BEGIN, END = "<!-- begin: wakes -->", "<!-- end: wakes -->"
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
DISPATCHERS = {
    "polling": "PollingDispatcher",
    "APScheduler": "APSchedulerDispatcher",
    "Cloudflare": "CloudflareDispatcher",
}
assert set(DISPATCHERS) == set(KINDS)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One row a dispatcher and database: p50 / p99 of each way; what a commit took stands below.

    Raises:
        KeyError: the run did not measure everything.
    """
    found = {(row["workload"], row["database"]): row for row in rows}
    lines = ["| | event of the same app | event of another app | timer |", "|---|---|---|---|"]
    for kind, name in DISPATCHERS.items():
        for database in DIALECTS:
            cells = [
                " / ".join(
                    shown(found[f"{kind}, {way} {share}", database]["figure"]) for share in ("p50", "p99")
                )
                for way in WAYS
            ]
            lines.append(f"| {name}, {NAMES[database]} | {' | '.join(cells)} |")
    commits = (
        f"{shown(found[f'polling, {WAYS[0]} p50', database]['limit'])} ms on {NAMES[database]}"
        for database in DIALECTS
    )
    lines += [
        "",
        f"In the same run a bare driver needed {' and '.join(commits)} for one row in a commit of its own.",
    ]
    return "\n".join(lines)


def main() -> int:
    """Write the table between the markers of the page."""
    rows = json.loads((CACHE / "latest.json").read_text())
    try:
        made = table(rows)
    except KeyError as error:
        print(f"the last run has no {error.args[0]}: make bench W=wake PEERS=no", file=sys.stderr)
        return 1
    head, rest = PAGE.read_text().split(BEGIN)
    tail = rest.split(END)[1]
    PAGE.write_text(f"{head}{BEGIN}\n\n{made} Made {datetime.now(UTC):%Y-%m-%d}.\n\n{END}{tail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
