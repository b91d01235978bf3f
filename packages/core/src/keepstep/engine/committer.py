"""Group commit: boundaries of all runs in flight share one transaction, and each wins or loses alone (B1, B3).

    idle ──submit──▶ scheduled (call_soon) ──▶ in flight ──▶ durable: verdicts ──▶ next group, or idle
                        ▲ gathers what is runnable now      └ what arrives meanwhile is the next group

There is no timer and no artificial delay: a lone boundary commits at once, and the slower the disk, the larger the
groups. Database trouble is not a verdict: the group is tried again until it goes through or the lease is given up
(C5). Trying again is safe after an unknown outcome: what was written is recognised (a resolved step row, a creation
with its own id), and what released its task loses its guard, so its run is read afresh.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from keepstep.engine.backoff import Backoff
from keepstep.engine.probe import probe
from keepstep.errors import StoreConflictError, StoreUnavailableError
from keepstep.model.plan import Boundary, Creation
from keepstep.store.api import Store
from keepstep.store.boundaries import commit_group, commit_leased
from keepstep.store.group import GroupResult
from keepstep.store.script import Script

log = logging.getLogger(__name__)

LANES_MAX = 4
"""Groups on their way at once, where the store says that it is not busy with the first."""
BUSY_PAUSE_S = 0.005
BUSY_PAUSE_MAX_S = 0.2
"""How long a run waits that somebody else's transaction has locked."""


class Verdict(enum.Enum):
    """What became of a boundary or creation."""

    KEPT = "kept"
    REFUSED = "refused"
    """Its guard no longer held, or a creation's id exists already."""
    DROPPED = "dropped"
    """The runner gave its lease up before the group went through."""
    BROKEN = "broken"
    """The database cannot take it for what it contains: trying again would not help."""


Done = Callable[[Verdict], None]


_LeaseName = tuple[int, int]
"""A runner's id and epoch: what was planned under one lease is not written under the next."""


@dataclass(slots=True, eq=False)
class _Submitted:
    plan: Boundary | Creation
    done: Done
    run_id: int
    joined: bool = False
    pause: float = BUSY_PAUSE_S


class Committer:
    """The single writer of one runner's boundaries.

    Args:
        store: where they go.
        group_max: most plans in one transaction.
        on_epoch_lost: called when the runner's own guard failed: somebody took its lease over.
        on_changes: called after a commit with changes that are to be published (F3); None = none ever are.
    """

    def __init__(
        self,
        store: Store,
        group_max: int,
        on_epoch_lost: Callable[[], None],
        on_changes: Callable[[], None] | None = None,
    ) -> None:
        self._store = store
        self._group_max = group_max
        self._on_epoch_lost = on_epoch_lost
        self._on_changes = on_changes
        self._queue: deque[_Submitted] = deque()
        self._resting: dict[_Submitted, asyncio.TimerHandle] = {}
        self._flights: set[asyncio.Task[None]] = set()
        self._open = False
        self.runner_id = 0
        self.epoch = 0

    def open(self, runner_id: int, epoch: int) -> None:
        """Commit under this lease from now on."""
        self.runner_id, self.epoch, self._open = runner_id, epoch, True

    def drop(self) -> None:
        """The lease is given up: nothing that waits may be written any more."""
        self._open = False
        waiting, self._queue = [*self._queue, *self._resting], deque()
        for handle in self._resting.values():
            handle.cancel()
        self._resting.clear()
        for submitted in waiting:
            _tell(submitted, Verdict.DROPPED)

    @property
    def flights(self) -> frozenset[asyncio.Task[None]]:
        """What commits now; each goes on until nothing is queued."""
        return frozenset(self._flights)

    async def drained(self) -> None:
        """Wait until nothing is queued or in flight."""
        while self._flights:
            await asyncio.wait(self._flights)

    def leased(self, boundary: Boundary) -> Script[bool]:
        """What writes a boundary in a step's own transaction, under this lease (C8)."""
        return commit_leased(self._store.dialect, self.runner_id, self.epoch, boundary)

    def submit(self, plan: Boundary | Creation, done: Done, *, joined: bool = False) -> None:
        """Take a plan into the next group; ``done`` is called with its verdict, never before this returns.

        A ``joined`` creation is in one group with what was submitted just before it: both are written or neither is.
        """
        self._enqueue(_Submitted(plan, done, plan.run_id, joined))

    def _enqueue(self, submitted: _Submitted) -> None:
        self._queue.append(submitted)
        if not self._flights or (len(self._flights) < LANES_MAX and not self._store.busy):
            flight = asyncio.get_running_loop().create_task(self._fly(), name="keepstep-committer")
            self._flights.add(flight)

    async def _fly(self) -> None:
        flight = asyncio.current_task()
        assert flight is not None
        try:
            while self._queue:
                await self._settle(self._next_group(), (self.runner_id, self.epoch))
        finally:
            self._flights.discard(flight)  # now: what is submitted from here on needs another one

    def _next_group(self) -> list[_Submitted]:
        """What is queued, up to the limit and what joins the last; a second plan of one run waits for the group after."""
        group: dict[int, _Submitted] = {}
        while self._queue and self._queue[0].run_id not in group:
            if len(group) >= self._group_max and not self._queue[0].joined:
                break
            submitted = self._queue.popleft()
            group[submitted.run_id] = submitted
        return list(group.values())

    async def _settle(self, group: list[_Submitted], lease: _LeaseName) -> None:
        """Commit a group and tell its verdicts; one that cannot be committed is halved, so that one plan loses alone."""
        try:
            result = await self._commit(group, lease)
        except Exception:
            cut = _middle(group)
            if cut:
                await self._settle(group[:cut], lease)
                await self._settle(group[cut:], lease)
                return
            log.exception("this boundary cannot be committed: %r", group[0].plan)
            for submitted in group:
                _tell(submitted, Verdict.BROKEN)
            return
        if result is None:
            for submitted in group:
                _tell(submitted, Verdict.DROPPED)
            return
        kept, _, busy = result
        for submitted in group:
            if submitted.run_id in kept:
                _tell(submitted, Verdict.KEPT)
            elif submitted.run_id in busy:
                self._rest(submitted)
            else:
                _tell(submitted, Verdict.REFUSED)
        if not result.epoch_held and self._holds(lease):
            self._on_epoch_lost()

    async def _commit(self, group: list[_Submitted], lease: _LeaseName) -> GroupResult | None:
        """One group's result, however long the database is away; None when the lease was given up meanwhile."""
        boundaries = [each.plan for each in group if isinstance(each.plan, Boundary)]
        creations = [each.plan for each in group if isinstance(each.plan, Creation)]
        backoff = Backoff()
        while self._holds(lease):
            script = commit_group(self._store.dialect, *lease, boundaries, creations, wait=False)
            probe("committing", boundaries=boundaries)
            try:
                result = await self._store.transaction("commit", script, "single")
            except (StoreUnavailableError, StoreConflictError) as error:
                log.warning("commit of %d runs is tried again: %s", len(group), error)
                await backoff.wait()
            else:
                probe("committed", boundaries=boundaries, kept=result.kept, creations=creations)
                if self._on_changes is not None and any(each.changes for each in boundaries):
                    self._on_changes()
                return result
        return None

    def _rest(self, submitted: _Submitted) -> None:
        """A host's transaction has the run locked: others go on, and this one comes again shortly (B3)."""
        loop = asyncio.get_running_loop()
        self._resting[submitted] = loop.call_later(submitted.pause, self._submit_again, submitted)
        submitted.pause = min(submitted.pause * 2, BUSY_PAUSE_MAX_S)

    def _submit_again(self, submitted: _Submitted) -> None:
        del self._resting[submitted]
        self._enqueue(submitted)

    def _holds(self, lease: _LeaseName) -> bool:
        return self._open and lease == (self.runner_id, self.epoch)


def _middle(group: list[_Submitted]) -> int:
    """Where a group is best cut in two; 0 where all of it belongs together."""
    cuts = [place for place, each in enumerate(group) if place and not each.joined]
    return min(cuts, key=lambda place: abs(2 * place - len(group)), default=0)


def _tell(submitted: _Submitted, verdict: Verdict) -> None:
    try:
        submitted.done(verdict)
    except Exception:
        log.exception("what follows a commit failed; other runs go on")
