"""What happened, in order, for people: time, actor, gate, what was seen. A digest of it tells whether two runs agree."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple


class Line(NamedTuple):
    """One thing that happened.

    Attributes:
        us: when, true time.
        actor: who.
        label: at which gate.
        facts: what was seen.
        remark: in somebody's words; it is no part of the digest.
    """

    us: int
    actor: str
    label: str
    facts: str
    remark: str


class Trace:
    """A list of lines, and a digest of them.

    Args:
        wanted: keep the lines.
        digested: keep a digest of them.

    Attributes:
        listens: whether a line is worth its making.
    """

    def __init__(self, *, wanted: bool = False, digested: bool = True) -> None:
        self.wanted = wanted
        self.listens = wanted or digested
        self.lines: list[Line] = []
        self._digest = 0

    def add(self, us: int, actor: str, label: str, facts: str = "", remark: str = "") -> None:
        """One more line."""
        self._digest = zlib.crc32(f"{us} {actor} {label} {facts}".encode(), self._digest)
        if self.wanted:
            self.lines.append(Line(us, actor, label, facts, remark))

    @property
    def digest(self) -> int:
        """Equal for equal traces."""
        return self._digest

    def text(self, last: int | None = None) -> str:
        """The lines, the newest ``last`` of them."""
        return text_of(self.lines if last is None else self.lines[-last:])


def text_of(lines: Sequence[Line]) -> str:
    """A line each: seconds, actor, gate, what was seen."""
    return "\n".join(
        f"{us / 1e6:12.6f}  {actor:<10} {label:<24} {facts} {remark}".rstrip()
        for us, actor, label, facts, remark in lines
    )
