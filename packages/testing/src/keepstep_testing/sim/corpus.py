"""The corpus: failures once found, as JSON files that are played again for ever.

Gates are named in them, so that small edits of the code leave them meaningful.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from keepstep_testing.sim.scenario import Scenario, of_json


@dataclass(frozen=True, slots=True)
class Case:
    """One kept failure.

    Attributes:
        found: what was wrong when it was kept, for readers.
        rule: the invariant that it broke.
        scenario: plays it.
    """

    found: str
    rule: str
    scenario: Scenario


def read_case(path: Path) -> Case:
    """Read a file of the corpus."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    return Case(raw["found"], raw["rule"], of_json(json.dumps(raw["scenario"])))


def write_case(path: Path, case: Case) -> None:
    """Write a file of the corpus."""
    raw = {"found": case.found, "rule": case.rule, "scenario": asdict(case.scenario)}
    path.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
