"""A place for a SQLite file where room runs out and comes back: a small volume, or a limit on the process's files."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

VOLUME_MB = 24
LIMIT_BYTES = 256 * 1024


class Room(Protocol):
    """Where the database is.

    Attributes:
        folder: for the file.
        complaint: what a runner says when there is no room.
    """

    folder: Path
    complaint: str

    def use_up(self, pid: int) -> None:
        """Leave no room for the process."""
        ...

    def give_back(self, pid: int) -> None:
        """Make room again."""
        ...


class Volume:
    """A file system of a few megabytes; a file of nothing fills it."""

    complaint = "the disk is full"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def use_up(self, pid: int) -> None:  # noqa: ARG002  # the volume is everybody's
        """Fill it to the last byte."""
        with self._filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass

    def give_back(self, pid: int) -> None:  # noqa: ARG002  # likewise
        """Remove what fills it."""
        self._filler.unlink(missing_ok=True)


class Limit:
    """The runner may not write beyond a length of any file: needs no rights. SQLite calls that a disk error."""

    complaint = "the disk reported an error"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def use_up(self, pid: int) -> None:
        """Let it write only where short files have been."""
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))

    def give_back(self, pid: int) -> None:
        """Lift that, if the process has not ended meanwhile."""
        with contextlib.suppress(ProcessLookupError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextlib.contextmanager
def limit() -> Iterator[Room]:
    """A folder for a runner whose files can be limited."""
    with tempfile.TemporaryDirectory(prefix="keepstep-soak-") as name:
        yield Limit(Path(name))


@contextlib.contextmanager
def volume() -> Iterator[Room]:
    """A small volume where we may mount one, else a limit."""
    with tempfile.TemporaryDirectory(prefix="keepstep-soak-") as name:
        if not _mounted(Path(name)):
            yield Limit(Path(name))
            return
        try:
            yield Volume(Path(name))
        finally:
            subprocess.run([shutil.which("umount") or "umount", name], check=True)


def _mounted(folder: Path) -> bool:
    program = shutil.which("mount")
    if program is None or os.geteuid() != 0:
        return False
    command = [program, "-t", "tmpfs", "-o", f"size={VOLUME_MB}m", "keepstep-soak", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
