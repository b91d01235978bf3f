"""``python -m keepstep_testing COMMAND``: what can be done with workflows outside of a test."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from keepstep.errors import KeepstepError
from keepstep_testing.commands import export, replay
from keepstep_testing.sim import command as sim


class Command(Protocol):
    """A module with these names."""

    @property
    def NAME(self) -> str:  # noqa: N802  # a module's constant
        """How it is called."""
        ...

    @property
    def HELP(self) -> str:  # noqa: N802  # likewise
        """What it does, in a line."""
        ...

    @property
    def add_arguments(self) -> Callable[[argparse.ArgumentParser], None]:
        """Adds what it takes."""
        ...

    @property
    def run(self) -> Callable[[argparse.Namespace], int]:
        """Does it; gives the exit code."""
        ...


COMMANDS: tuple[Command, ...] = (export, replay, sim)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 2 when it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m keepstep_testing", description=__doc__)
    listed = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        added = listed.add_parser(command.NAME, help=command.HELP, description=command.HELP)
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    given = parser.parse_args(arguments)
    try:
        return given.run(given)
    except KeepstepError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
