"""What others did to runs that this runner holds: events, pauses, cancellations, terminations, takeovers (B6, E5).

A held run is compared with the database when one of its boundaries was refused, when a hint says that something
happened, and twice a second in any case. One query tells which of all held runs were steered; those are read whole.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Sequence

from keepstep.engine.advancer import Advancer
from keepstep.engine.backoff import Backoff
from keepstep.engine.leases import Lease
from keepstep.engine.parts import Parts
from keepstep.errors import StoreError
from keepstep.store.claims import look_held
from keepstep.store.held import give_back, read_held

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""How often held runs are compared with the database without any hint."""
IDLE_LOOK_S = 5.0
"""How often a runner that holds nothing looks whether it owns something all the same."""


class News:
    """Keeps held runs in step with what others wrote.

    Args:
        on_wake: called when a look should follow now.
    """

    def __init__(self, parts: Parts, lease: Lease, advancer: Advancer, on_wake: Callable[[], None]) -> None:
        self._store = parts.store
        self._clock = parts.seams.clock
        self._lease = lease
        self._advancer = advancer
        self._on_wake = on_wake
        self._hinted = False
        self._looked_at = -math.inf
        self._doubts: set[int] = set()
        self._settling: asyncio.Task[None] | None = None
        self._strangers: set[tuple[int, int]] = set()  # run and fence

    def hint(self) -> None:
        """Somebody may have steered a held run: the next look compares at once."""
        self._hinted = True

    def unsure(self) -> None:
        """An answer of the database was lost, perhaps of a claim: the next look compares at once."""
        self._looked_at = -math.inf

    def doubt(self, run_id: int) -> None:
        """A boundary of this run was refused: read it again now."""
        self._doubts.add(run_id)
        if self._settling is None:
            self._settling = asyncio.get_running_loop().create_task(self._settle(), name="keepstep-reread")

    async def look(self, expected: Collection[int]) -> None:
        """Compare held runs with their task rows, if it is time to.

        Args:
            expected: runs that may be ours already, by a commit whose answer is on its way.
        """
        now = self._clock.monotonic()
        pause = LOOK_S if self._advancer.held or self._strangers else IDLE_LOOK_S
        if not (self._hinted and self._advancer.held) and now < self._looked_at + pause:
            return
        self._hinted, self._looked_at = False, now
        tasks = await self._store.transaction("look_held", look_held(self._lease.runner_id), "read")
        known = {task.run_id: task for task in tasks}
        steered = [
            run_id
            for run_id, execution in self._advancer.held.items()
            if run_id not in known
            or known[run_id].fence != execution.fence
            or known[run_id].wake_seq != execution.wake_seq
        ]
        ours = self._advancer.held.keys() | set(expected)
        await self._give_back_strangers(
            {(each.run_id, each.fence) for each in tasks if each.run_id not in ours}
        )
        await self._reread(steered)  # last: what it finds strange is newer than these rows

    async def _give_back_strangers(self, strangers: set[tuple[int, int]]) -> None:
        """Release what the row says is ours and we know nothing of, if it was so under this fence at the last look.

        It happens when an answer of the database was lost: a claim or a creation that we believe failed. A run that
        was let go while its row was being read looks alike; but if it is so again, it was claimed in between.
        """
        lasting = strangers & self._strangers
        self._strangers = strangers - lasting
        if lasting:
            log.warning("%d runs are given back that this runner owns without holding them", len(lasting))
            run_ids = sorted(run_id for run_id, _ in lasting)
            await self._store.transaction("give_back", give_back(self._lease.runner_id, run_ids))

    async def close(self) -> None:
        """Stop reading."""
        self._doubts.clear()
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.wait([self._settling])
            self._settling = None

    async def _settle(self) -> None:
        backoff = Backoff()
        try:
            while self._doubts and self._lease.held:
                doubts = list(self._doubts)
                self._doubts.clear()
                try:
                    await self._reread(doubts)
                except StoreError as error:
                    log.warning("%d steered runs could not be read yet: %s", len(doubts), error)
                    self._doubts.update(doubts)
                    await backoff.wait()
        finally:
            self._settling = None

    async def _reread(self, run_ids: Sequence[int]) -> None:
        if not run_ids:
            return
        found = await self._store.transaction("reread", read_held(self._store.dialect, run_ids), "read")
        for run_id in run_ids:
            held = found.get(run_id)
            if run_id not in self._advancer.held and held is not None:
                self._strangers.add((run_id, held.task.fence))  # it was given up: the next look gives it back
                self._looked_at = -math.inf
                self._on_wake()
            elif held is None:
                self._advancer.steered(run_id, None, None, [])
            else:
                self._advancer.steered(run_id, held.task, held.run, held.events)
