"""Changes to a file: one line of JSON each, durable before the sink's place moves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import orjson

from keepstep.errors import StateError
from keepstep.model.change import Change

_LOOK_BACK = 64 * 1024
"""How much of the end of the file is read to find its last line; a change is a few hundred bytes."""


class NdjsonFile:
    """Appends each change as a line of JSON, and flushes it to the disk before the place in the stream moves.

    A crash between the two does not repeat lines: those whose ``pub_seq`` the file has already are left out, and a line
    that was torn is cut off. One process at a time writes; give each host that may run the app a file system that the
    others see too, or a sink of its own.

    Args:
        name: under which its place in the stream is kept: never change it.
        path: of the file. It is made when there is none; its folder must exist. Rename it at any time to begin another.
        batch: how many lines at most are flushed at once.
    """

    def __init__(self, name: str, path: str | os.PathLike[str], *, batch: int = 500) -> None:
        self.name = name
        self.path = Path(path)
        self.batch = batch

    def __repr__(self) -> str:
        return f"<NdjsonFile {self.name!r} at {self.path}>"

    async def deliver(self, changes: Sequence[Change]) -> None:
        """Append what the file does not have."""
        await asyncio.to_thread(self._append, changes)

    def _append(self, changes: Sequence[Change]) -> None:
        new = not self.path.exists()
        with self.path.open("a+b") as file:
            last = _last_number(file, self.path)
            lines = [each.model_dump_json().encode() + b"\n" for each in changes if each.pub_seq > last]
            file.seek(0, os.SEEK_END)
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
        if new:
            _flush_folder(self.path.parent)


def _last_number(file: BinaryIO, path: Path) -> int:
    """The number of the last whole line, 0 in an empty file; what is torn behind it is cut off."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _LOOK_BACK)
    file.seek(start)
    tail = file.read()
    whole = tail[: tail.rfind(b"\n") + 1]
    if not whole and start:
        raise StateError(f"the end of {path} is no line of JSON: it is not this sink's file; move it away")
    if len(whole) < len(tail):
        file.truncate(start + len(whole))
    if not whole:
        return 0
    last = whole[:-1].rpartition(b"\n")[2]
    try:
        return int(orjson.loads(last)["pub_seq"])
    except (ValueError, KeyError, TypeError):
        raise StateError(
            f"the last line of {path} is no change: it is not this sink's file; move it away"
        ) from None


def _flush_folder(folder: Path) -> None:
    """Make a new file's name durable, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
