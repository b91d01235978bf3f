"""Other engines, each in an environment of its own, measured by the program beside this file.

The programs use the engines' public interfaces in their best documented settings and copy none of their code.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.databases import CACHE
from bench.workload import Dialect

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = CACHE / "peers"
INSTALL_S = 300


@dataclass(frozen=True)
class Peer:
    """An engine to compare with.

    Attributes:
        name: as the report calls it.
        packages: what is installed; pinned, so that runs can be compared.
        databases: what it works on.
    """

    name: str
    packages: tuple[str, ...]
    databases: tuple[Dialect, ...]

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return ENVIRONMENTS / self.name / "bin" / "python"

    @property
    def program(self) -> Path:
        """What measures it."""
        return Path(__file__).parent / f"{self.name}_program.py"


PEERS = (
    Peer("dbos", ("dbos==3.4.0", "psycopg[binary]==3.3.9", "uvloop==0.23.0"), ("sqlite", "postgresql")),
    # absurdctl is its command line, and carries the schema that the SDK needs
    Peer(
        "absurd",
        ("absurd-sdk==0.5.1", "absurdctl==0.5.1", "psycopg[binary]==3.3.9", "uvloop==0.23.0"),
        ("postgresql",),
    ),
)


def install(peer: Peer) -> str | None:
    """Make its environment unless that is there; why it cannot be done, or None."""
    note = ENVIRONMENTS / peer.name / "installed"
    wanted = "\n".join(peer.packages)
    if note.exists() and note.read_text() == wanted:
        return None
    folder = ENVIRONMENTS / peer.name
    shutil.rmtree(folder, ignore_errors=True)
    uv = next(iter(sorted(ROOT.glob(".tools/uv-*/bin/uv"))), None) or shutil.which("uv")
    if uv:
        commands = [
            [uv, "venv", "--quiet", "--python", sys.executable, folder],
            [uv, "pip", "install", "--quiet", "--python", peer.python, *peer.packages],
        ]
    else:
        commands = [
            [sys.executable, "-m", "venv", folder],
            [peer.python, "-m", "pip", "install", "--quiet", *peer.packages],
        ]
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if done.returncode:
            return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"
    note.write_text(wanted)
    return None
