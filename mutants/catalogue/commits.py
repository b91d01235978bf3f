"""Boundaries and their commits: guards, all or nothing, unknown outcomes (B1, B3, B6, A7)."""

from __future__ import annotations

from mutants.fault import mutant

_COMMIT = 'result = await self._store.transaction("commit", script, "single")'
_FAILED = 'log.warning("commit of %d runs is tried again: %s", len(group), error)'

COMMITS = (
    mutant(
        "guard-dropped",
        "a boundary is written whoever owns the task by now",
        "B3",
        "1 6",
        (
            "store/boundaries.py",
            '.where(task.c.owner + fixed(0) == bindparam("runner"), _LEASE)',
            ".where(_LEASE)",
        ),
        ("store/boundaries.py", "and _fits(each, *read)", "and read"),
    ),
    mutant(
        "guard-in-an-earlier-transaction",
        "guards are read in one transaction, and what they guard is written in the next",
        "B1 B3",
        "1 11",
        (
            "engine/committer.py",
            _COMMIT,
            """from keepstep.store import boundaries as writes
                won, held = await self._store.transaction("guard", writes._read_guards(*lease, boundaries))

                def unguarded():
                    kept = {each.run_id for each in won}
                    if held and creations:
                        kept |= yield from writes.insert_creations(self._store.dialect, creations)
                    if held and won:
                        yield from writes._write(won)
                    return GroupResult(frozenset(kept if held else ()), epoch_held=held)

                result = await self._store.transaction("commit", unguarded(), "single")""",
        ),
    ),
    mutant(
        "wake-not-compared",
        "a suspension commits although somebody woke the run since it was read",
        "B6",
        "22",
        ("store/boundaries.py", "(boundary.wake_seq is None or boundary.wake_seq == wake_seq)", "True"),
    ),
    mutant(
        "check-then-park",
        "whether somebody woke the run is asked first, and then it is parked, in a transaction of its own",
        "B6",
        "22",
        (
            "engine/committer.py",
            "script = commit_group(self._store.dialect, *lease, boundaries, creations, wait=False)",
            """from dataclasses import replace
            from keepstep.store.claims import read_tasks
            try:
                asked = read_tasks([each.run_id for each in boundaries])
                seen = {each.run_id: each.wake_seq for each in await self._store.transaction("check", asked)}
            except (StoreUnavailableError, StoreConflictError):
                await backoff.wait()
                continue
            checked = [replace(b, wake_seq=None) if b.wake_seq == seen.get(b.run_id) else b for b in boundaries]
            script = commit_group(self._store.dialect, *lease, checked, creations, wait=False)""",
        ),
    ),
    mutant(
        "unknown-commit-is-success",
        "a commit whose answer was lost is taken for done",
        "C5",
        "12 32",
        (
            "engine/committer.py",
            _FAILED,
            "return GroupResult(frozenset(each.run_id for each in group), epoch_held=True)",
        ),
    ),
    mutant(
        "unknown-commit-is-failure",
        "a commit whose answer was lost is taken for undone, and what it carried is forgotten",
        "C5",
        "12 38",
        ("engine/committer.py", _FAILED, "return GroupResult(frozenset(), epoch_held=True)"),
        (
            "engine/advancer.py",
            "            self._doubt(execution)\n        elif verdict",
            "            pass\n        elif verdict",
        ),
    ),
    mutant(
        "unknown-verb-is-failure",
        "a client's operation whose answer was lost is made again",
        "C5",
        "19 20 33",
        (
            "engine/engine.py",
            "except StoreConflictError as error:\n                log.debug",
            "except (StoreConflictError, StoreUnavailableError) as error:\n                log.debug",
        ),
    ),
    mutant(
        "created-before-commit",
        "create() is acknowledged before the new run is durable",
        "A7 E2",
        "32",
        (
            "engine/engine.py",
            "            await all_told\n",
            "            kept |= {each.run.id for each in creations}\n",
        ),
    ),
    mutant(
        "step-before-its-boundary",
        "steps start while the boundary that they depend on is still being committed",
        "A7",
        "A7",
        (
            "engine/advancer.py",
            "        execution.committing = True\n",
            "        self._start(execution)\n        execution.committing = True\n",
        ),
    ),
    mutant(
        "version-not-raised",
        "a claim changes the run and leaves its version as it was",
        "B3",
        "8",
        ("store/claims.py", "version=run.c.version + fixed(1)", "version=run.c.version"),
    ),
    mutant(
        "end-without-its-steps",
        "the last boundary of a run stores its outcome and not the steps that led there",
        "B1",
        "11 15",
        (
            "store/boundaries.py",
            "for each in boundaries for step in each.steps",
            "for each in boundaries if not isinstance(each.end, Finish) for step in each.steps",
        ),
    ),
    mutant(
        "existing-instance-acknowledged",
        "create() answers that a new instance was made when its id existed already",
        "E2",
        "31",
        (
            "store/runs.py",
            "return Kept(frozenset(ours), ",
            "return Kept(frozenset(wanted), ",
        ),
    ),
    mutant(
        "batch-not-atomic",
        "create_batch() writes item by item, so that a trouble in between leaves a part of it",
        "E2 B1",
        "E2",
        (
            "client/ports.py",
            """        done = await engine.run("create", lambda: verb.script(engine.store.dialect))
""",
            """        from dataclasses import replace
        for item in verb.items:
            done = await engine.run("create", lambda one=replace(verb, items=[item]): one.script(engine.store.dialect))
""",
        ),
    ),
)
