"""The bounded thread pool of synchronous step callbacks (A4). The only place of the engine that starts threads."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any


class Workers:
    """Runs synchronous callbacks off the host's loop, with the caller's context variables.

    Args:
        threads_max: how many callbacks run at once; further ones queue.
    """

    def __init__(self, threads_max: int) -> None:
        self._threads_max = threads_max
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``fn`` in a thread and return what it returns.

        When the awaiting task is cancelled the thread goes on: a thread cannot be stopped (C6).
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads_max, thread_name_prefix="keepstep-step")
        context = contextvars.copy_context()
        call = partial(context.run, _call, fn, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Start no more callbacks; those that run are left to end."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _call(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``fn``; what would end the loop or could not be raised through a future is an error like any other."""
    try:
        return fn(*args, **kwargs)
    except (StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        raise RuntimeError(f"the callback raised {type(error).__name__}: {error}") from error
