"""Who may advance a run, and until when: claims, leases, fences (B2-B4, B7)."""

from __future__ import annotations

from mutants.fault import mutant

LEASES = (
    mutant(
        "fence-by-owner-only",
        "a boundary is let through to whoever owns the task, whatever came after it was planned",
        "B3 B6",
        "1 6 22",
        ("store/boundaries.py", "and _fits(each, *read)", "and read"),
    ),
    mutant(
        "fence-not-compared",
        "a boundary is let through under another claim of the same runner",
        "B3",
        "1",
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
        "where a workflow has its turn, runs of others are taken, also of those whose code the runner does not have",
        "B2",
        "38",
        (
            "store/claims.py",
            'task.c.workflow == bindparam("workflow"),\n',
            'task.c.workflow != bindparam("workflow"),\n',
        ),
    ),
    mutant(
        "takeover-without-expiry",
        "tasks are taken over from every runner, whether its lease has ended or not",
        "B2",
        "2",
        (
            "store/rescue.py",
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
            "store/rescue.py",
            "_expired = select(runner.c.id).where(runner.c.locked_until < db_now())",
            "_expired = select(runner.c.id).where(runner.c.locked_until < db_now() + fixed(1000))",
        ),
    ),
    mutant(
        "takeover-never",
        "nobody takes over what a dead runner held, but at a start",
        "B2",
        "7 38",
        ("engine/runner.py", "if await self.lease.rescue():", "if False:"),
    ),
    mutant(
        "takeover-keeps-the-owner",
        "what is taken over stays owned by the dead runner",
        "B2",
        "7 38",
        (
            "store/rescue.py",
            "_FREE = task.update().values(owner=null(), priority",
            "_FREE = task.update().values(priority",
        ),
    ),
    mutant(
        "takeovers-not-counted",
        "a step that kills its runner does so for ever",
        "B7",
        "18",
        ("store/rescue.py", "else_=task.c.takeovers + fixed(1)", "else_=task.c.takeovers"),
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
        ("store/rescue.py", "takeovers=case((task.c.seen_seq < _MAX_SEQ, fixed(1)), else_=", "takeovers=("),
    ),
    mutant(
        "lease-not-watched",
        "a runner that cannot renew its lease goes on starting steps for a lease too long",
        "B4",
        "B4",
        ("engine/leases.py", "return self._lease_ms / 10_000", "return -self._lease_ms / 1000"),
    ),
    mutant(
        "strangers-kept",
        "what a runner owns without knowing of it, because an answer was lost, stays owned for ever",
        "C5",
        "38",
        ("engine/news.py", "        if lasting:\n", "        if False:\n"),
    ),
    mutant(
        "lease-renewed-after-release",
        "a heartbeat takes back the tasks that its runner has released since it claimed them",
        "B2",
        "4 11",
        (
            "store/claims.py",
            "    run_ids = [row[0] for row in tasks]\n",
            "    run_ids = [row[0] for row in tasks]\n    _taken.setdefault(runner_id, set()).update(run_ids)\n",
        ),
        (
            "store/claims.py",
            "    return found[0][0] if found else None\n",
            """    if found:
        yield Call(KEEP, {"runner": runner_id, "run_ids": sorted(_taken.get(runner_id, ()))})
    return found[0][0] if found else None
""",
        ),
        (
            "store/claims.py",
            "def renew(",
            """_taken: dict[int, set[int]] = {}
KEEP = Statement(
    task.update()
    .where(among(task.c.run_id, ids("run_ids")), task.c.owner.is_(None))
    .values(owner=bindparam("runner")),
    "keep",
)


def renew(""",
        ),
    ),
    mutant(
        "tasks-left-behind-by-a-drain",
        "a runner that stops in order leaves what it holds owned, until its lease has ended",
        "B2",
        "41",
        (
            "store/rescue.py",
            'yield Call(GIVE_BACK, {"runner": runner_id})',
            'yield Call(LOCK_RUNNERS, {"runners": [runner_id, runner_id]})',
        ),
    ),
    mutant(
        "claim-unnoted",
        "a claim that changes a run does not say when",
        "B2",
        "43",
        ("store/claims.py", "        updated_at=db_now(),\n", ""),
    ),
    mutant(
        "rescued-loses-its-place",
        "a task that is freed goes to the end of the queue, however long it has been due",
        "B2",
        "43",
        (
            "store/rescue.py",
            "_DUE_NOW = case((task.c.run_at < db_now(), task.c.run_at), else_=db_now())",
            "_DUE_NOW = db_now()",
        ),
    ),
)
