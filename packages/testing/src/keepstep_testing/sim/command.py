"""``python -m keepstep_testing sim``: play seeds, show what fails and how to play it again."""

from __future__ import annotations

import argparse
import sys
import time

from keepstep_testing.sim.campaign import Campaign


def main(arguments: list[str]) -> int:
    """Play; 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m keepstep_testing sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--n", type=int, default=None, help="how many seeds; else as many as the time allows")
    parser.add_argument("--seconds", type=float, default=120.0, help="for how long, without --n")
    parser.add_argument("--trace", action="store_true", help="print the trace of each failure, and of a single seed")
    options = parser.parse_args(arguments)
    campaign = Campaign()
    started = time.perf_counter()
    seed = options.seed
    while (options.n is None and time.perf_counter() - started < options.seconds) or (
        options.n is not None and seed < options.seed + options.n
    ):
        campaign.play_seed(seed)
        seed += 1
    sys.stdout.write(campaign.report(time.perf_counter() - started, trace=options.trace))
    return 1 if campaign.failed else 0
