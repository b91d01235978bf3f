"""``python -m keepstep_testing sim``: play seeds, show what fails, make it small, and keep it."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from keepstep_testing.sim.campaign import COMPARED, Campaign
from keepstep_testing.sim.corpus import Case, read_case, write_case
from keepstep_testing.sim.exhaustive import every_fault_at_every_gate, up_to_two_preemptions
from keepstep_testing.sim.lanes import LANES, play_in_both
from keepstep_testing.sim.schedule import Result, play
from keepstep_testing.sim.shrink import Shrinker, preemptions

TRACE_LINES = 150


NAME = "sim"
HELP = "play seeds of the engine's own simulation, show what fails, make it small, and keep it"


def run(options: argparse.Namespace) -> int:
    """Play; 0 when nothing was found."""
    campaign = Campaign(options.lane, options.compare)
    started = time.perf_counter()
    if options.replay is not None:
        return _replay(campaign, options.replay)
    if options.exhaustive:
        return _exhaust(campaign, options.seed)
    seed = options.seed
    while _goes_on(options, seed, time.perf_counter() - started):
        campaign.play_seed(seed)
        seed += 1
    sys.stdout.write(campaign.report(time.perf_counter() - started))
    for result in campaign.failures[:3]:
        _show(campaign, result, trace=options.trace, keep=options.keep)
    if options.trace and options.n == 1 and not campaign.failures:
        again = play(campaign.last.scenario, campaign.database, wanted=True)
        sys.stdout.write(again.trace.text() + "\n")
    return 1 if campaign.failed else 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--n", type=int, default=None, help="how many seeds; else as many as the time allows")
    parser.add_argument("--seconds", type=float, default=120.0, help="for how long, without --n")
    parser.add_argument(
        "--lane", choices=list(LANES), default="sqlite", help="the database that schedules are played on"
    )
    parser.add_argument(
        "--compare", type=int, default=COMPARED, help="how many of the first seeds are played in both lanes"
    )
    parser.add_argument(
        "--trace", action="store_true", help="print the trace of a single seed or of failures"
    )
    parser.add_argument("--keep", type=Path, default=None, help="a folder: write what fails there, shrunk")
    parser.add_argument("--replay", type=Path, default=None, help="a file that --keep wrote: play it")
    parser.add_argument(
        "--exhaustive", action="store_true", help="every fault at every gate of a seed, then two preemptions"
    )


def _goes_on(options: argparse.Namespace, seed: int, seconds: float) -> bool:
    return seconds < options.seconds if options.n is None else seed < options.seed + options.n


def _show(campaign: Campaign, result: Result, *, trace: bool, keep: Path | None) -> None:
    """Make a failure small and print it."""
    assert result.violation is not None
    started = time.perf_counter()
    shrinker = Shrinker(result, campaign.database, campaign.twin)
    small = shrinker.shrink()
    seconds = time.perf_counter() - started
    again = shrinker.play(small, wanted=True)
    sys.stdout.write(
        f"\nseed {small.seed}, shrunk in {shrinker.runs} runs, {seconds:.1f} s:"
        f" {len(small.faults)} faults, {len(preemptions(small.deviations))} preemptions\n{again.violation}\n"
        f"machines {small.machines}\nclients {small.clients}\nfaults {small.faults}\n"
    )
    sys.stdout.write(again.trace.text(None if trace else 60) + "\n")
    if keep is not None:
        path = keep / f"seed-{small.seed}-{result.violation.rule}.json"
        write_case(path, Case(str(again.violation), result.violation.rule, small))
        sys.stdout.write(f"python -m keepstep_testing sim --replay {path}\n")


def _replay(campaign: Campaign, path: Path) -> int:
    case = read_case(path)
    result = play_in_both(case.scenario, campaign.database, campaign.twin, wanted=True)
    sys.stdout.write(f"{result.trace.text(TRACE_LINES)}\n{result.violation or 'nothing is broken'}\n")
    return 1 if result.violation is not None else 0


def _exhaust(campaign: Campaign, seed: int) -> int:
    started, played, failed = time.perf_counter(), 0, 0
    for plays in (every_fault_at_every_gate, up_to_two_preemptions):
        for result in plays(seed, campaign.database):
            played += 1
            if result.violation is not None:
                failed += 1
                sys.stdout.write(f"{result.scenario.faults} {result.deviations}: {result.violation}\n")
        sys.stdout.write(
            f"{plays.__name__}: {played} in {time.perf_counter() - started:.1f} s, {failed} failed\n"
        )
    return 1 if failed else 0
