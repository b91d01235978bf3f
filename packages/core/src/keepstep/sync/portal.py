"""The way from sync code to the event loop on which an app lives: an own thread's, or that of a running host."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, ParamSpec, TypeVar

from keepstep.errors import UsageError

A = ParamSpec("A")
T = TypeVar("T")


class Portal:
    """Calls coroutine functions from sync code and waits for their results.

    Args:
        home: the loop on which the app lives already, or None while it lives nowhere.
        at_exit: called as the process ends, if an own thread lives then.
    """

    def __init__(
        self, home: Callable[[], asyncio.AbstractEventLoop | None], at_exit: Callable[[], None]
    ) -> None:
        self._home = home
        self._at_exit = at_exit
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._own: asyncio.AbstractEventLoop | None = None

    @property
    def has_thread(self) -> bool:
        """Whether the app lives on this portal's own thread."""
        return self._thread is not None

    def call(self, fn: Callable[A, Coroutine[Any, Any, T]], *args: A.args, **kwargs: A.kwargs) -> T:
        """Run a coroutine function on the app's loop, and wait for it.

        Raises:
            UsageError: this is the loop's own thread: waiting here would wait for ever. Or the portal was closed
                meanwhile.
        """
        with self._guard:  # a close comes before this call or after it, never between
            loop = self._loop()
            if _running_here() is loop:
                raise UsageError(
                    "app.sync was called on the event loop on which the app runs, and would wait for itself; "
                    "await app.workflows there, or call app.sync from a thread (asyncio.to_thread)"
                )
            asked = asyncio.run_coroutine_threadsafe(fn(*args, **kwargs), loop)
        try:
            return asked.result()
        except CancelledError:
            raise UsageError(
                "app.sync was stopped while this call waited; whether it took effect is unknown"
            ) from None
        except BaseException:
            asked.cancel()  # an interrupt of the wait ends the work too; after a result it does nothing
            raise

    def close(self) -> None:
        """End the portal's own thread, if there is one. Idempotent."""
        with self._guard:
            thread, loop = self._thread, self._own
            self._thread = self._own = None
        if thread is not None and loop is not None:
            atexit.unregister(self._at_exit)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _loop(self) -> asyncio.AbstractEventLoop:
        if self._own is not None:
            return self._own
        home = self._home()
        if home is None:
            return self._begin()
        if not home.is_running():
            raise UsageError(
                "the app was opened on an event loop that runs no more: "
                "await app.stop() on a loop before it ends, then call app.sync"
            )
        return home

    def _begin(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()

        def live() -> None:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.get_loop().run_forever()

        # A daemon does not keep the process from ending, and is alive still when exit handlers are called.
        self._thread = threading.Thread(target=live, name="keepstep-sync", daemon=True)
        self._own = loop
        self._thread.start()
        atexit.register(self._at_exit)
        return loop


def _running_here() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
