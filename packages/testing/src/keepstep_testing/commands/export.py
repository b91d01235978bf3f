"""``export``: writes recorded histories to a file."""

from __future__ import annotations

import argparse
import asyncio
import sys

from keepstep import App
from keepstep.errors import UsageError
from keepstep_testing.commands.targets import named, workflows_of
from keepstep_testing.histories import export_histories

NAME = "export"
HELP = "write the histories of a database to a file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("database", metavar="DATABASE", help="sqlite:///path or postgresql://user@host/name")
    parser.add_argument("file", metavar="FILE", help="where to write; a file that is there is replaced")
    parser.add_argument("--app", metavar="MODULE:APP", help="export this app's workflows only")
    parser.add_argument(
        "--workflow", action="append", metavar="NAME", help="export this one only; repeatable"
    )
    parser.add_argument("--limit", type=int, default=1_000, help="most runs of each (default: %(default)s)")
    parser.add_argument(
        "--redact", metavar="MODULE:FUNCTION", help="called with each payload; gives its stand-in"
    )


def run(given: argparse.Namespace) -> int:
    """Export; the exit code."""
    names: list[str] | None = given.workflow
    if given.app is not None:
        app = workflows_of(given.app)
        if not isinstance(app, App):
            raise UsageError(f"--app {given.app!r} must name an App")
        known = app._engine.registry.names  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        unknown = [name for name in names or () if name not in known]
        if unknown:
            raise UsageError(f"{given.app!r} has no workflow {unknown[0]!r}; it has {', '.join(known)}")
        names = names or list(known)
    redact = None if given.redact is None else named(given.redact, "shop.privacy:redact")
    exporting = export_histories(given.database, given.file, names, limit=given.limit, redact=redact)
    count = asyncio.run(exporting)
    sys.stdout.write(f"{count} histories written to {given.file}\n")
    return 0
