"""The two sides of a wake-up, as protocols: who decides when to look, and who looks.

A dispatcher decides *when* a runner looks, never what it does. Wake-ups are hints and level-triggered: a wake means
"look at what is due", so lost, doubled, reordered and late ones cost time, never work. No dispatcher may live here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable


class Looker(Protocol):
    """What a dispatcher sees of a runner."""

    @property
    def workflows(self) -> tuple[str, ...]:
        """The names of the workflows that it can advance."""
        ...

    async def look(self) -> float | None:
        """Make one pass: rescue expired leases, claim what is due, look at the runs in hand.

        Never raises for trouble with the database (C5). Passes of one runner must not overlap.

        Returns:
            Seconds until the next time at which something is known to be due (0 = now), None when nothing is.
        """
        ...

    async def next_due(self, workflows: Collection[str]) -> datetime | None:
        """When the next run of these workflows falls due, or the next lease on one expires; advances nothing.

        Raises:
            StoreUnavailableError: the database is away.
        """
        ...

    async def listen(self, on_hint: Callable[[], None]) -> None:
        """Call ``on_hint`` on the running loop when another process may have made work: a hint, never a promise."""
        ...


class Dispatcher(Protocol):
    """Decides when a runner looks."""

    async def start(self, runner: Looker) -> None:
        """Begin to wake ``runner``, with a first look now. Idempotent."""
        ...

    async def wake(self, at: datetime | None = None) -> None:
        """Have the runner look no later than ``at`` (None = now). Called after a commit; earlier is allowed."""
        ...

    async def stop(self) -> None:
        """Wake no more, and return when the look in flight has ended. Idempotent."""
        ...


@runtime_checkable
class RemoteDispatcher(Dispatcher, Protocol):
    """A dispatcher somewhere else, whose looks arrive as requests that end in ``App.tick`` (B9).

    An app on it starts no runner: no lease is held and nothing executes between two ticks, so that its process may
    be frozen or ended at any time. :meth:`start` gets the runner as something to ask, not to look with.
    """

    remote: Literal[True]
