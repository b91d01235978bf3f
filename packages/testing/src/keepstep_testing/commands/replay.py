"""``replay``: replays recorded histories against today's code; exit code 1 when one does not fit."""

from __future__ import annotations

import argparse
import sys

from keepstep_testing.commands.targets import workflows_of
from keepstep_testing.histories import replay_histories

NAME = "replay"
HELP = "replay recorded histories against today's code; exit code 1 when one does not fit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="what export wrote")
    parser.add_argument("--app", required=True, metavar="MODULE:APP", help="the code, like shop.main:app")


def run(given: argparse.Namespace) -> int:
    """Replay; the exit code."""
    report = replay_histories(given.file, workflows_of(given.app))
    sys.stdout.write(f"{report}\n")
    return 0 if report.fits else 1
