"""How runs come into a runner's hands: claimed in batches, loaded with one query per table, replayed (B2, B7, A6)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from keepstep.engine.advancer import Advancer
from keepstep.engine.committer import Committer, Done, Verdict
from keepstep.engine.execution import Execution
from keepstep.engine.leases import Lease
from keepstep.engine.marks import Marks
from keepstep.engine.parked import Parked, resume
from keepstep.engine.parts import Parts
from keepstep.kernel.changes import tell_boundary
from keepstep.kernel.create import unclaimed
from keepstep.kernel.takeover import crash_loop
from keepstep.loop.body import Body
from keepstep.model.plan import Boundary, Creation, Finish
from keepstep.model.records import EventRecord, RunRecord, StepRecord, TaskRecord
from keepstep.store.claims import CLAIM_MODE, Claimed, Claims, claim
from keepstep.store.runs import load_events, load_steps
from keepstep.store.script import Script

T = TypeVar("T")

CLAIM_MAX = 256
STARTS_PER_TURN = 64
"""Bodies begun before the host's loop gets a turn."""


class _Loaded(NamedTuple):
    """A claimed run with all that its body needs."""

    task: TaskRecord
    run: RunRecord
    steps: list[StepRecord]
    events: list[EventRecord]
    parked: Parked | None


def _is_first_claim(claimed: Claimed) -> bool:
    """Whether nobody can have recorded a step of the run: a restart may begin with recorded steps (E6)."""
    return claimed.task.fence == 1 and claimed.run.run_number == 1


class Intake:
    """Claims and loads runs, and hands them to the advancer.

    Attributes:
        adopting: runs that a commit under way creates and claims.
        marks: where the queues begin.
        full: there was no room for all that was due. What is created meanwhile queues behind it (B2).
        room: how many runs may be held at the same time.
    """

    def __init__(self, parts: Parts, lease: Lease, committer: Committer, advancer: Advancer) -> None:
        self._parts = parts
        self._store = parts.store
        self._lease = lease
        self._committer = committer
        self._advancer = advancer
        self._expected = 0
        self.marks = Marks(parts.store.dialect == "postgresql", parts.seams.clock.monotonic)
        self.adopting: set[int] = set()
        self.full = False
        self.room = parts.options.concurrency

    @property
    def free(self) -> int:
        """How many more runs may be held now."""
        if not self._lease.held or self._advancer.draining:
            return 0
        return max(0, self.room - len(self._advancer.held) - self._expected)

    async def claim_batch(self) -> bool:
        """Claim and begin what is due; whether more may be due."""
        limit = min(CLAIM_MAX, self.free)
        lease = self._lease
        runner_id = lease.runner_id
        turns = self._parts.rotation.order(self._parts.registry.names)
        script = claim(self._store.dialect, runner_id, lease.epoch, limit, turns, since=self.marks.since())
        self._expected += limit
        try:
            asked_at = self._parts.clock.monotonic()
            claims = await self._store.transaction("claim", script, CLAIM_MODE[self._store.dialect])
            self._parts.clock.observe(claims.now, asked_at)
            self.marks.took(claims.claimed)
            self._parts.rotation.serve({each.run.workflow for each in claims.claimed})
            loaded = await self._load_all(claims)
        finally:
            self._expected -= limit
        await self._take(loaded, runner_id)
        return claims.more

    def adopt(self, eager: Creation, done: Done, *, joined: bool) -> bool:
        """Write a creation with the next group; whether the same commit claims it (eager start), as there is room.

        It is planned as claimed by this runner. A ``joined`` one is written with the creation that was adopted just
        before it, or neither is.
        """
        if self.full or not self.free:
            self._committer.submit(unclaimed(eager), done, joined=joined)
            return False
        run_id, runner_id = eager.run.id, self._lease.runner_id
        self.adopting.add(run_id)
        self._expected += 1

        def written(verdict: Verdict) -> None:
            self.adopting.discard(run_id)
            self._expected -= 1
            if verdict is Verdict.KEPT and self._still(runner_id):
                self._hold(_Loaded(eager.task, eager.run, [], [], None))
            done(verdict)

        self._committer.submit(eager, written, joined=joined)
        return True

    async def _load_all(self, claims: Claims) -> list[_Loaded]:
        claimed = [each for each in claims.claimed if not self._ended_by_crash_loop(each, claims.now)]
        parked = {each.run.id: self._parts.cache.take(each.task, each.run) for each in claimed}
        woken = [each.run.id for each in claimed if each.task.wake_seq]
        events = await self._load(load_events(self._store.dialect, woken), woken)
        begun = [each.run.id for each in claimed if not parked[each.run.id] and not _is_first_claim(each)]
        steps = await self._load(load_steps(self._store.dialect, begun), begun)
        return [
            _Loaded(*each, steps.get(each.run.id, []), events.get(each.run.id, []), parked[each.run.id])
            for each in claimed
        ]

    async def _take(self, loaded: list[_Loaded], runner_id: int) -> None:
        for count, each in enumerate(loaded, 1):
            if not self._still(runner_id):
                return
            self._hold(each)
            if count % STARTS_PER_TURN == 0:
                await asyncio.sleep(0)

    def _still(self, runner_id: int) -> bool:
        """Whether the lease under which something was claimed is still held (B4)."""
        return self._lease.holds() and self._lease.runner_id == runner_id

    async def _load(self, script: Script[dict[int, list[T]]], run_ids: Sequence[int]) -> dict[int, list[T]]:
        return await self._store.transaction("load", script, "read") if run_ids else {}

    def _hold(self, loaded: _Loaded) -> None:
        task, run, steps, events, parked = loaded
        if parked is not None:
            self._advancer.hold(resume(task, run, parked, events), fresh=False)
            return
        body = Body(self._parts.registry.by_name(run.workflow), run, steps, self._parts.limits)
        self._advancer.hold(Execution(task, run, body, steps, events), fresh=True)

    def _ended_by_crash_loop(self, claimed: Claimed, now: int) -> bool:
        task, run = claimed.task, claimed.run
        end: Finish | None = crash_loop(task, self._parts.limits.takeovers_max)
        if end is None:
            return False
        boundary = Boundary(run.id, task.fence, task.wake_seq, run.version, now, end=end)
        boundary = tell_boundary(self._parts.registry.by_name(run.workflow).changes, run, boundary)
        self._committer.submit(boundary, lambda _: self._parts.changes.notify(run.id))
        return True
