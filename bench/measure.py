"""The process in which one workload is measured: `python -m bench.measure W2 URL OUT`. Its parent is `bench.__main__`."""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import gc
import io
import json
import pstats
from collections.abc import Generator
from pathlib import Path

from bench import limits
from bench.loops import LOOPS, run
from bench.workload import Bed
from bench.workloads import WORKLOADS

TOP = 45


def main() -> None:
    """Measure, and write the samples as JSON to the file OUT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload")
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--loop", choices=LOOPS, default=LOOPS[0])
    parser.add_argument("--profile", type=Path)
    args = parser.parse_args()
    measure = limits.measure if args.workload == "limits" else WORKLOADS[args.workload].measure
    settle_collector()
    with profiled(args.profile):
        samples = run(measure(Bed(args.url, args.quick)), args.loop)
    args.out.write_text(json.dumps({"samples": samples}))


def settle_collector() -> None:
    """What docs/how-to/operate.md advises for busy processes: the collector leaves alone what start-up made, and looks seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@contextlib.contextmanager
def profiled(out: Path | None) -> Generator[None]:
    """Write a profile as text: what costs most by itself, then what costs most with what it calls."""
    if out is None:
        yield
        return
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        text = io.StringIO()
        stats = pstats.Stats(profile, stream=text).strip_dirs()
        stats.sort_stats("tottime").print_stats(TOP)
        stats.sort_stats("cumtime").print_stats(TOP)
        out.write_text(text.getvalue().rstrip() + "\n")


if __name__ == "__main__":
    main()
