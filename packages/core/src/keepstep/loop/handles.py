"""What the workflow loop hands out: scheduled calls, timers, futures and tasks that behave alike on every replay.

asyncio keeps tasks and futures in sets (``asyncio.wait``, ``TaskGroup``) and walks them in hash order. The default hash
is an address, so that order would change from process to process, and with it the order in which a body asks for
steps. Tasks and futures of the workflow loop therefore hash by the order in which the body made them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keepstep.loop.eventloop import WorkflowLoop
    from keepstep.loop.opened import OpenedTimer


class Ready(asyncio.Handle):
    """A call in the ready queue."""

    __slots__ = ("args", "callback", "context", "live")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context) -> None:
        # The base's fields stay unset: this is made for every wake-up of a task.
        self.callback = callback
        self.args = args
        self.context = context
        self.live = True

    def cancel(self) -> None:
        """Do not run it."""
        self.live = False

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return not self.live

    def get_context(self) -> Context:
        """The context it runs in."""
        return self.context

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{'' if self.live else ' cancelled'}>"


class LoopTimer(asyncio.TimerHandle):
    """A call at a time of the loop: a durable timer once it is set (A1).

    Attributes:
        due_at: loop time in ms from which on it may run.
        call: what is put into the ready queue then.
        opened: its open command; the journal's business.
    """

    __slots__ = ("at", "call", "due_at", "loop", "opened")

    def __init__(self, loop: WorkflowLoop, at: float, due_at: int, call: Ready) -> None:
        self.loop = loop
        self.at = at
        self.due_at = due_at
        self.call = call
        self.opened: OpenedTimer | None = None

    def cancel(self) -> None:
        """Do not run it; its durable timer is given up."""
        call = self.call
        if call.live:
            call.live = False
            self.loop.timer_cancelled(self)
            call.callback, call.args = _nothing, ()  # a timeout holds its timer, and its timer the timeout

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return not self.call.live

    def when(self) -> float:
        """The loop time that was asked for, in seconds."""
        return self.at

    def get_context(self) -> Context:
        """The context it runs in."""
        return self.call.context

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{'' if self.call.live else ' cancelled'} when={self.at}>"


def _nothing(*_args: object) -> None:
    """Stands for the callback of a cancelled timer."""


class LoopFuture(asyncio.Future[Any]):
    """A future that hashes by the order in which the body made it."""

    __slots__ = ("order",)
    order: int

    def __hash__(self) -> int:
        return self.order


class LoopTask(asyncio.Task[Any]):
    """A task that hashes by the order in which the body made it."""

    __slots__ = ("order",)
    order: int

    def __hash__(self) -> int:
        return self.order
