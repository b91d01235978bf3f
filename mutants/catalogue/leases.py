"""Who may advance a run, and until when: claims, leases, fences (B2-B4, B7)."""

from __future__ import annotations

from mutants.fault import mutant

LEASES = (
    mutant(
        "fence-by-owner-only",
        "a boundary is let through to whoever owns the task, under whichever claim it was planned",
        "B3",
        "1 6",
        ("store/boundaries.py", "boundary.fence == fence", "True"),
    ),
    mutant(
        "fence-not-raised-by-claim",
        "a claim takes the task and leaves its fence as it was",
        "B2 B3",
        "1 3",
        (
            "store/claims.py",
            'owner=bindparam("runner"), fence=task.c.fence + fixed(1)',
            'owner=bindparam("runner"), fence=task.c.fence',
        ),
    ),
    mutant(
        "fence-begins-anew-on-retry",
        "a run that is opened again begins with fence 0, below what an earlier holder has in memory",
        "B3 E6",
        "3",
        ("kernel/again.py", "fence=run.version * _FENCES_PER_VERSION", "fence=0"),
    ),
    mutant(
        "fence-not-raised-by-tick",
        "an optimistic tick writes and leaves the fence as it was",
        "B9",
        "1 3",
        (
            "store/boundaries.py",
            'yield Call(RAISE_FENCE, {"run": boundary.run_id})',
            'yield Call(LOCK_RUN, {"run": boundary.run_id})',
        ),
    ),
    mutant(
        "tick-without-guard",
        "an optimistic tick writes although the run has moved on since it was read",
        "B9",
        "1 9",
        (
            "store/boundaries.py",
            "if not _fits(boundary, fence, wake_seq) or not (yield from _lock_version(boundary)):",
            "if False:",
        ),
    ),
    mutant(
        "tick-under-a-lease",
        "an optimistic tick writes although a runner holds the run and its lease is good",
        "B3 B9",
        "1 2",
        ("store/boundaries.py", "locked_until >= now", "locked_until >= now + 10**9"),
    ),
    mutant(
        "claim-of-owned",
        "a claim takes what is due, also when somebody owns it",
        "B2",
        "2 5",
        ("store/claims.py", "_DUE = (\n    IS_CLAIMABLE,", "_DUE = (\n    task.c.run_at.is_not(None),"),
    ),
    mutant(
        "claim-without-lease",
        "a claim does not ask whether the claimer's own lease holds",
        "B2 B3",
        "4 5",
        ("store/claims.py", "task.c.run_id.in_(_due_ids), _MY_LEASE", "task.c.run_id.in_(_due_ids)"),
    ),
    mutant(
        "claim-of-unknown-workflows",
        "a runner takes runs of workflows whose code it does not have",
        "B2",
        "38",
        (
            "store/claims.py",
            '# read once: a range of the index, not a filter\n    among(task.c.workflow, names("workflows")),',
            "",
        ),
    ),
    mutant(
        "takeover-without-expiry",
        "tasks are taken over from every runner, whether its lease has ended or not",
        "B2",
        "2",
        (
            "store/claims.py",
            "_expired = select(runner.c.id).where(runner.c.locked_until < db_now())",
            "_expired = select(runner.c.id)",
        ),
    ),
    mutant(
        "takeover-a-second-early",
        "a lease counts as ended one second before its time",
        "B2 B5",
        "2",
        (
            "store/claims.py",
            "_expired = select(runner.c.id).where(runner.c.locked_until < db_now())",
            "_expired = select(runner.c.id).where(runner.c.locked_until < db_now() + fixed(1000))",
        ),
    ),
    mutant(
        "takeover-never",
        "nobody takes over what a dead runner held, but at a start",
        "B2",
        "7 38",
        ("engine/runner.py", "        await self.lease.rescue()\n", ""),
    ),
    mutant(
        "takeover-keeps-the-owner",
        "what is taken over stays owned by the dead runner",
        "B2",
        "7 38",
        (
            "store/claims.py",
            "_FREE = task.update().values(owner=null(), priority",
            "_FREE = task.update().values(priority",
        ),
    ),
    mutant(
        "takeovers-not-counted",
        "a step that kills its runner does so for ever",
        "B7",
        "18",
        ("store/claims.py", "else_=task.c.takeovers + fixed(1)", "else_=task.c.takeovers"),
    ),
    mutant(
        "takeovers-off-by-one",
        "a run that kills its runners is stopped one takeover late",
        "B7",
        "18",
        ("kernel/takeover.py", "task.takeovers < limit", "task.takeovers <= limit"),
    ),
    mutant(
        "takeovers-count-progress",
        "takeovers are counted over a run's whole life, also when results came between them",
        "B7",
        "15 18",
        ("store/claims.py", "takeovers=case((task.c.seen_seq < _MAX_SEQ, fixed(1)), else_=", "takeovers=("),
    ),
    mutant(
        "lease-not-watched",
        "a runner that cannot renew its lease goes on starting steps after its end",
        "B4",
        "2 34",
        ("engine/leases.py", "if self.held and self._seams", "if not self.held and self._seams"),
        (
            "engine/leases.py",
            "if self._seams.clock.monotonic() >= self._ends - self._margin():\n                self.lose",
            "if False:\n                self.lose",
        ),
    ),
    mutant(
        "strangers-kept",
        "what a runner owns without knowing of it, because an answer was lost, stays owned for ever",
        "C5",
        "38",
        ("engine/news.py", "        if lasting:\n", "        if False:\n"),
    ),
    mutant(
        "released-without-giving-back",
        "a drained runner leaves its tasks owned, and goes on renewing its lease",
        "B2",
        "7 38 41",
        (
            "store/claims.py",
            'yield Call(GIVE_BACK, {"runner": runner_id})',
            'yield Call(LOOK_HELD, {"runner": runner_id})',
        ),
        ("engine/leases.py", "await self._stop_renewing()\n        self.held = False", "pass"),
    ),
)
