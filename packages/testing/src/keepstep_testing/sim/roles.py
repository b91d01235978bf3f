"""Who has a part in a world: what picks, what watches, what strikes. Nothing here does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from keepstep_testing.sim.database import Change
    from keepstep_testing.sim.gates import Option
    from keepstep_testing.sim.process import Process
    from keepstep_testing.sim.store import Transaction
    from keepstep_testing.sim.world import World


class Chooser(Protocol):
    """Picks what happens next."""

    def pick(self, options: Sequence[Option], default: Option | None, *, can_tick: bool) -> Option | None:
        """One of ``options``; None = the clock, which ``can_tick`` allows. ``default`` continues without preemption."""
        ...


class Watcher(Protocol):
    """Sees what happens; the oracle."""

    def committed(self, transaction: Transaction, changes: Sequence[Change]) -> None:
        """A transaction is durable."""
        ...

    def crashed(self, process: Process) -> None:
        """A process is gone."""
        ...


class Disaster(Protocol):
    """What strikes; the fault plan."""

    def strike(self, world: World, option: Option) -> bool:
        """Do to ``option`` what is planned for it; True when it must not be opened now."""
        ...

    def before_commit(self, process: Process, label: str) -> bool:
        """Whether a transaction of this label is to stop before its COMMIT."""
        ...

    def user_trouble(self, process: Process) -> str | None:
        """``"before"`` or ``"after"``: what happens to a user's transaction."""
        ...


class Calm:
    """No faults."""

    def strike(self, world: World, option: Option) -> bool:
        """Nothing."""
        return False

    def before_commit(self, process: Process, label: str) -> bool:
        """No."""
        return False

    def user_trouble(self, process: Process) -> str | None:
        """None."""
        return None
