"""Gates: the named places at which a process waits for the world to let it go on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process


class Key(NamedTuple):
    """Names a gate in a way that small edits of code and schedule do not change."""

    actor: str
    label: str
    """A transaction's label and its point, like ``commit:committed``; or ``client``, ``step``, ``thread``, ``wake``."""
    occurrence: int
    """The how-manieth time this actor comes to this label, from 1."""

    def __str__(self) -> str:
        return f"{self.actor} {self.label}#{self.occurrence}"


CLOCK = Key("clock", "advance", 0)
"""The option to let time pass."""


@dataclass(slots=True, eq=False)
class Gate:
    """A process that waits to be let go on.

    Attributes:
        key: its name.
        process: whose it is.
        future: resolved when it may go on.
        order: rises with each gate of the world.
        after_us: not before this time (a slow commit, a step that takes its time).
        facts: what the trace shows of it.
        fails: raised at the gate instead of going on.
    """

    key: Key
    process: Process
    future: asyncio.Future[None]
    order: int
    after_us: int = 0
    facts: str = ""
    fails: BaseException | None = field(default=None)

    def open(self) -> None:
        """Let the process go on."""
        if self.future.done():
            return
        if self.fails is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(self.fails)


@dataclass(slots=True, eq=False)
class Message:
    """A wake-up on its way: the world delivers, loses, doubles and delays it.

    Attributes:
        key: its name.
        process: that it is for.
        deliver: what its arrival does.
        order: rises with each message and gate.
        after_us: not before this time.
    """

    key: Key
    process: Process
    deliver: Any
    order: int
    after_us: int = 0
    facts: str = ""

    def open(self) -> None:
        """Arrive."""
        if self.process.alive:
            self.deliver()


Option = Gate | Message
"""What can be chosen beside the clock."""
