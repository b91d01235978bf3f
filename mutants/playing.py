"""``python -m mutants.playing SECONDS``: play seed after seed, from 1, until one fails or the time is over; in a judge's process.

The time is the processor's: what else the machine does makes no mutant live longer.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from keepstep_testing.sim.campaign import Campaign
from mutants import origin

LAST_S = 20.0
"""What the last schedule may take beyond the time, of the processor's time."""


def main(seconds: float) -> None:
    """Play, and print one line of JSON."""
    origin.check()
    end = int(seconds + LAST_S)
    resource.setrlimit(resource.RLIMIT_CPU, (end, end + 1))  # a schedule that goes round in circles ends here
    campaign = Campaign()
    by = detail = ""
    seed = 0
    while not by and time.process_time() < seconds:
        seed += 1
        by, detail = _played(campaign, seed)
    found = {"by": by, "detail": detail, "schedules": seed, "seconds": time.process_time()}
    sys.stdout.write(f"\nVERDICT {json.dumps(found)}\n")


def _played(campaign: Campaign, seed: int) -> tuple[str, str]:
    """Which invariant a seed breaks, and how; empty = none."""
    try:
        violation = campaign.play_seed(seed).violation
    except Exception as error:  # noqa: BLE001  # the engine's defect breaks the harness itself
        return "the harness", f"{type(error).__name__}: {error}"
    if violation is not None:
        return violation.rule, violation.text
    return ("45", "two runs of one seed differ") if campaign.unequal else ("", "")


if __name__ == "__main__":
    main(float(sys.argv[1]))
