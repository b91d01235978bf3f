"""``python -m mutants``: put faults into the engine, one at a time, and fail if one of them is not noticed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from mutants import report
from mutants.automatic import Change, changes, sample
from mutants.campaign import Campaign, FalseAlarmError, Judged
from mutants.catalogue import MUTANTS
from mutants.fault import Mutant
from mutants.judges import Verdict

T = TypeVar("T", Mutant, Change)

NOTICED_MIN = 0.9
"""The part of the automatic mutants that must be noticed."""


def main() -> int:
    """Read the command line, judge, print, write the page."""
    given = _parser().parse_args()
    if given.list:
        print("\n".join(f"{each.name}: {each.breaks}" for each in MUTANTS.values()))
        return 0
    try:
        return _automatic(given) if given.auto else _by_hand(given)
    except FalseAlarmError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("--mutant", default="", help="only those whose names contain this")
    parser.add_argument("--seconds", type=float, default=60, help="for the simulation of one mutant")
    parser.add_argument("--auto", type=int, default=0, help="so many automatic mutants, not the catalogue")
    parser.add_argument("--seed", type=int, default=1, help="of the sample of automatic mutants")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--untested", action="store_true", help="unit tests judge nothing")
    parser.add_argument("--again", action="store_true", help="tests judge again what they let pass")
    parser.add_argument("--list", action="store_true", help="name the catalogue's mutants")
    parser.add_argument(
        "--log", type=Path, help="keep verdicts here; who is killed there is not judged again"
    )
    return parser


def _by_hand(given: argparse.Namespace) -> int:
    wanted = [each for each in MUTANTS.values() if given.mutant in each.name]
    judged, campaign = _resumed(given, wanted)
    judged += _told(campaign.by_hand(_without(wanted, judged)), given.log)
    if not given.mutant and not given.untested:  # a page says "nobody" only of what every judge has let pass
        report.write("by hand", report.by_hand(judged, given.seconds))
    killed = sum("killed" in {verdict.state for verdict in each.verdicts} for each in judged)
    print(f"{killed} of {len(judged)} killed")
    return 0 if killed == len(judged) else 1


def _automatic(given: argparse.Namespace) -> int:
    every = [each for each in changes() if given.mutant in each.name]
    chosen = every if given.mutant else sample(given.auto, given.seed)
    judged, campaign = _resumed(given, chosen)
    judged += _told(campaign.automatic(_without(chosen, judged)), given.log)
    order = {each.name: number for number, each in enumerate(every)}
    judged.sort(key=lambda each: order[each.mutant.name])
    if not given.mutant and not given.untested:
        report.write("automatic", report.automatic(judged, given.seconds, given.seed, len(every)))
    noticed = sum(each.caught for each in judged)
    print(f"{noticed} of {len(judged)} noticed")
    return 0 if noticed >= NOTICED_MIN * len(judged) else 1


def _resumed(given: argparse.Namespace, mutants: Iterable[Mutant | Change]) -> tuple[list[Judged], Campaign]:
    """What an earlier run has killed, and a campaign for the rest."""
    judged: dict[str, Judged] = {}
    passed: dict[str, Verdict] = {}
    wanted = {each.name: each for each in mutants}
    lines = given.log.read_text().splitlines() if given.log is not None and given.log.exists() else []
    for line in map(json.loads, lines):
        simulated = Verdict(**line["simulated"])
        found = [simulated, *([Verdict(**line["tested"])] if line["tested"] else [])]
        if line["name"] not in wanted:
            continue
        if found[-1].state == "killed" or (line["tested"] and not given.again):
            judged[line["name"]] = Judged(wanted[line["name"]], *found)
        elif simulated.state == "survived" and simulated.seconds >= given.seconds:
            passed[line["name"]] = simulated
    campaign = Campaign(given.seconds, given.jobs, tested=not given.untested, passed=passed)
    return list(judged.values()), campaign


def _without(mutants: Sequence[T], judged: Iterable[Judged]) -> list[T]:
    known = {each.mutant.name for each in judged}
    return [each for each in mutants if each.name not in known]


def _told(judged: Iterable[Judged], log: Path | None) -> list[Judged]:
    """All of them, each printed as it comes."""
    done: list[Judged] = []
    for each in judged:
        done.append(each)
        verdict = each.verdicts[-1]
        print(
            f"{verdict.state:9} {verdict.schedules:7,} {verdict.seconds:6.1f} s  {each.mutant.name}\n"
            f"{'':28}{verdict.by} {verdict.detail[:200]}",
            flush=True,
        )
        if log is not None:
            tested = None if each.tested is None else each.tested.fields
            line = {"name": each.mutant.name, "simulated": each.simulated.fields, "tested": tested}
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
    return done


if __name__ == "__main__":
    sys.exit(main())
