"""Who waits in this process for a run to change: ``result()`` sleeps here instead of polling the database hard."""

from __future__ import annotations

import asyncio
from typing import Self

from keepstep.model.records import RunRecord

REMEMBERED_MAX = 10_000
"""Runs of which watches know what was told; beyond that they take any for changed."""


class Changes:
    """Tells those who listen that a run may have changed: a hint, upon which they read the database again.

    Only an end that is durable is told as a fact: the run's row comes with it, and there is nothing more to read.
    """

    def __init__(self) -> None:
        self._listeners: dict[int, set[Listener]] = {}
        self._watches = 0
        self._told: dict[int, tuple[int, RunRecord | None]] = {}  # run -> when, counted, and its end
        self._count = self._forgotten = 0

    def anybody_listens(self, run_id: int) -> bool:
        """Whether :meth:`notify` would reach somebody."""
        return self._watches > 0 or run_id in self._listeners

    def notify(self, run_id: int, ended: RunRecord | None = None) -> None:
        """Tell those who listen for this run.

        Args:
            run_id: the run.
            ended: its row, if it has ended durably.
        """
        for listener in self._listeners.pop(run_id, ()):
            listener.tell(ended)
        if self._watches:
            self._note(run_id, ended)

    def watch(self) -> Watch:
        """Note what is told within a ``with`` block, to listen from its beginning for a run that is read in it."""
        return Watch(self)

    def listen(self, run_id: int) -> Listener:
        """Listen for a run, until the end of a ``with`` block."""
        return Listener(self._listeners, run_id)

    # --- for watches

    def begin_noting(self) -> int:
        """Remember what is told from now on; returns the present, for :meth:`noted`."""
        self._watches += 1
        return self._count

    def end_noting(self) -> None:
        """One watch fewer; nobody needs what only it remembered."""
        self._watches -= 1
        if not self._watches:
            self._told.clear()

    def noted(self, run_id: int, since: int) -> tuple[bool, RunRecord | None]:
        """Whether something may have been told of a run since then, and its end if that was."""
        at, ended = self._told.get(run_id, (0, None))
        return (True, ended) if at > since else (since < self._forgotten, None)

    def _note(self, run_id: int, ended: RunRecord | None) -> None:
        self._count += 1
        if len(self._told) >= REMEMBERED_MAX:
            self._told.clear()
            self._forgotten = self._count
        self._told[run_id] = (self._count, ended)


class Listener:
    """One who listens, from its making to the end of a ``with`` block."""

    __slots__ = ("_all", "_news", "_run_id")

    def __init__(self, listeners: dict[int, set[Listener]], run_id: int) -> None:
        self._all = listeners
        self._run_id = run_id
        self._news: asyncio.Future[RunRecord | None] = asyncio.get_running_loop().create_future()
        listeners.setdefault(run_id, set()).add(self)

    def __enter__(self) -> Self:
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
        """Return when the run may have changed since listening began, or after ``timeout`` seconds.

        Returns:
            The run's row, if it has ended.
        """
        if not self._news.done():
            await asyncio.wait([self._news], timeout=timeout)
        return self._news.result() if self._news.done() else None


class Watch:
    """Knows what was told while a run was read of which only the database knew which it is."""

    __slots__ = ("_changes", "_since")

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    def __enter__(self) -> Self:
        self._since = self._changes.begin_noting()
        return self

    def __exit__(self, *_: object) -> None:
        self._changes.end_noting()

    def listener(self, run_id: int) -> Listener:
        """Listen for a run, from the beginning of the watch on."""
        listener = self._changes.listen(run_id)
        told, ended = self._changes.noted(run_id, self._since)
        if told:
            listener.tell(ended)
        return listener
