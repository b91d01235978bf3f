"""What goes wrong in a body where no await of its own raises it: said aloud, never swallowed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from keepstep.loop.handles import Ready
from keepstep.loop.outside import Outside

_KEPT_MAX = 20
_log = logging.getLogger("keepstep.loop")
Handler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]


class ComplainingLoop(Outside):
    """The part of the loop that reports errors.

    Attributes:
        entered_by: the thread that is advancing the body, 0 = none.
        complaints: the errors so far, as text; they become the instance's warnings.
        replaying: what happens now has happened before, and was logged then; the journal sets it.
    """

    __slots__ = ("_closed", "_handler", "complaints", "entered_by", "replaying")

    def __init__(self) -> None:
        self.complaints: list[str] | None = None
        self.replaying = False
        self.entered_by = 0
        self._closed = False
        self._handler: Handler | None = None

    def get_exception_handler(self) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None:
        """What the body set with ``set_exception_handler``."""
        return self._handler

    def set_exception_handler(
        self, handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None
    ) -> None:
        """Let the body see errors that no await of its own raises."""
        self._handler = handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log the error, and keep its text for the instance's warnings."""
        self.complain(
            context.get("message") or "unhandled error in the workflow body", context.get("exception")
        )

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an error that no await raises.

        A body that is closed has nothing to report any more, and one that rests may go without being closed: its
        pending tasks are nothing to report.
        """
        if self._closed or not (self.entered_by or context.get("exception")):
            return
        if self._handler is None or not self.entered_by:
            self.default_exception_handler(context)
            return
        try:
            self._handler(self, context)
        except Exception as error:  # noqa: BLE001 - the body's own handler may raise anything
            self.complain("the body's exception handler raised", error)

    def call_failed(self, call: Ready, error: BaseException) -> None:
        """A scheduled call raised."""
        name = getattr(call.callback, "__qualname__", repr(call.callback))
        self.call_exception_handler(
            {"message": f"{name} raised in the workflow body", "exception": error, "handle": call}
        )

    def complain(self, message: str, error: BaseException | None) -> None:
        """Log an error and keep its text."""
        text = message if error is None else f"{message}: {type(error).__name__}: {error}"
        self.complaints = [*(self.complaints or ())[-_KEPT_MAX + 1 :], text]
        if not self.replaying:
            _log.error(text, exc_info=error)
