"""``python -m soak --minutes 20``: play faults for so long, print what they left behind, fail if that is wrong."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from soak.campaign import Campaign, table


def main() -> int:
    """Read the command line and play."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    campaign = Campaign(given.seed, time.monotonic() + 60 * given.minutes)
    report = asyncio.run(campaign.run())
    print(table(report))
    if report.kept is not None:
        print(f"the runners' output is in {report.kept}")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
