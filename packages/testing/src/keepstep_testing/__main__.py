"""The commands of ``python -m keepstep_testing``: each is a module with a ``main`` that takes the remaining arguments."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {"sim": "keepstep_testing.sim.command"}
"""By name."""


def main(arguments: list[str]) -> int:
    """Run a command; its exit status."""
    if not arguments or arguments[0] not in COMMANDS:
        sys.stderr.write(f"usage: python -m keepstep_testing {{{','.join(COMMANDS)}}} …\n")
        return 2
    return import_module(COMMANDS[arguments[0]]).main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
