"""Who waits in this process for a run to change: ``result()`` sleeps here instead of polling the database hard."""

from __future__ import annotations

import asyncio
from typing import Self

from keepstep.model.records import RunRecord


class Changes:
    """Tells those who listen that a run may have changed: a hint, upon which they read the database again.

    Only an end that is durable is told as a fact: the run's row comes with it, and there is nothing more to read.
    """

    def __init__(self) -> None:
        self._listeners: dict[int, set[Listener]] = {}

    def notify(self, run_id: int, ended: RunRecord | None = None) -> None:
        """Tell those who listen for this run.

        Args:
            run_id: the run.
            ended: its row, if it has ended durably.
        """
        for listener in self._listeners.pop(run_id, ()):
            listener.tell(ended)

    def listen(self, run_id: int) -> Listener:
        """Listen for a run within a ``with`` block."""
        return Listener(self._listeners, run_id)


class Listener:
    """One who listens, from the beginning of the ``with`` block to its end."""

    __slots__ = ("_all", "_news", "_run_id")

    def __init__(self, listeners: dict[int, set[Listener]], run_id: int) -> None:
        self._all = listeners
        self._run_id = run_id

    def __enter__(self) -> Self:
        self._news: asyncio.Future[RunRecord | None] = asyncio.get_running_loop().create_future()
        self._all.setdefault(self._run_id, set()).add(self)
        return self

    def __exit__(self, *_: object) -> None:
        others = self._all.get(self._run_id)
        if others is not None:
            others.discard(self)
            if not others:
                del self._all[self._run_id]

    def tell(self, ended: RunRecord | None) -> None:
        """The run may have changed."""
        if not self._news.done():
            self._news.set_result(ended)

    async def heard(self, timeout: float) -> RunRecord | None:
        """Return when the run may have changed since the block began, or after ``timeout`` seconds.

        Returns:
            The run's row, if it has ended.
        """
        await asyncio.wait([self._news], timeout=timeout)
        return self._news.result() if self._news.done() else None
