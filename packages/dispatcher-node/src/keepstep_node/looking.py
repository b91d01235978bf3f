"""What the dispatchers of this package share: looking again and again at one runner, and listening for it.

When to look next is the dispatcher's to say; here is only that looks never overlap, that none of them ends the loop,
and that a stop lets the one in flight end. Time is the running loop's. No timer may live here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from keepstep.engine.dispatch import Looker
from keepstep.errors import UsageError

logger = logging.getLogger("keepstep.dispatcher")


class Looking:
    """Looks, pauses, looks: level-triggered, so any number of wakes during a look make one more.

    Args:
        owner: the dispatcher's name, for messages.
        first_s: the wait after a look or a listening that failed; it doubles,
        longest_s: up to this.
        pause: waits until ``woken`` is set, or as long as it finds right; it is given the seconds until something is
            known to be due (0 = now, None = nothing is).

    Attributes:
        woken: set = look again. It is replaced at each start, which may be on another loop.
    """

    def __init__(
        self,
        owner: str,
        *,
        first_s: float,
        longest_s: float,
        pause: Callable[[float | None], Awaitable[None]],
    ) -> None:
        self._owner = owner
        self._first_s = first_s
        self._longest_s = longest_s
        self._pause = pause
        self._failures = 0
        self._stopping = False
        self._runner: Looker | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self.woken = asyncio.Event()

    def serves(self, runner: Looker) -> bool:
        """Whether it looks at this runner already.

        Raises:
            UsageError: it looks at another one; each app needs a dispatcher of its own.
        """
        if self._runner is None or self._runner is runner:
            return self._runner is runner
        raise UsageError(f"this {self._owner} serves another app already; give each app its own")

    def start(self, runner: Looker) -> None:
        """Look now, and go on looking."""
        self._runner, self._stopping, self._failures = runner, False, 0
        self.woken = asyncio.Event()
        self._tasks = (
            asyncio.create_task(self._keep_looking(runner), name="keepstep dispatcher"),
            asyncio.create_task(self._keep_listening(runner), name="keepstep dispatcher hints"),
        )

    async def stop(self) -> None:
        """Let the look in flight end, start no other. A second stop changes nothing."""
        self._stopping = True
        self.woken.set()
        try:
            if self._tasks:
                _, listening = self._tasks
                listening.cancel()
                await asyncio.wait(self._tasks)
        finally:  # of a stop that is given up, too: no look is left behind
            for each in self._tasks:
                each.cancel()
            self._tasks, self._runner = (), None

    async def _keep_looking(self, runner: Looker) -> None:
        while not self._stopping:
            self.woken.clear()
            due_s = await self._look_once(runner)
            if due_s is not None and due_s <= 0:
                await asyncio.sleep(0)  # more is due now; others have their turn
            if not self._stopping:
                await self._pause(due_s)

    async def _look_once(self, runner: Looker) -> float | None:
        try:
            due_s = await runner.look()
        except Exception:
            # A look does not raise for the database's troubles, so this is a defect; stopping would strand runs.
            delay_s = min(self._first_s * 2 ** min(self._failures, 16), self._longest_s)
            self._failures += 1
            logger.exception(
                "a look failed %d time(s) in a row; the next is in %g s", self._failures, delay_s
            )
            return delay_s
        self._failures = 0
        return due_s

    async def _keep_listening(self, runner: Looker) -> None:
        """Be told by other processes; without that the dispatcher still finds everything."""
        delay_s = self._first_s
        while True:
            try:
                await runner.listen(self.woken.set)
            except Exception:
                logger.exception("cannot hear other processes' hints; next try in %g s", delay_s)
            else:
                return
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, self._longest_s)
