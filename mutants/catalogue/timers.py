"""Timers and deadlines: each by itself, by the database's clock, never early (D1-D3, B5)."""

from __future__ import annotations

from mutants.fault import mutant

TIMERS = (
    mutant(
        "latest-deadline-wakes",
        "a parked run is due at the latest of its deadlines",
        "D2",
        "25 38",
        ("kernel/boundary.py", "Park(min((due for due in dues", "Park(max((due for due in dues"),
    ),
    mutant(
        "one-wake-ends-all-waits",
        "as soon as one deadline is due, every timer fires and every wait times out",
        "D2",
        "24",
        (
            "kernel/settle.py",
            "command.due_at <= now",
            "any(getattr(each, 'due_at', None) and each.due_at <= now for each in commands.values())",
        ),
    ),
    mutant(
        "early-wake-fires",
        "whatever wakes a run makes its timers fire",
        "D3",
        "24",
        (
            "kernel/settle.py",
            "command.due_at is not None and command.due_at <= now",
            "command.due_at is not None",
        ),
    ),
    mutant(
        "deadlines-by-the-runners-clock",
        "a runner decides by its own wall clock what is due",
        "B5",
        "24 26",
        (
            "engine/seams.py",
            "self._base_ms = clock.now_ms()",
            "self._wall, self._base_ms = clock.now_ms, clock.now_ms()",
        ),
        (
            "engine/seams.py",
            "return self._at_ms(self._monotonic())",
            "return self._wall()",
        ),
    ),
    mutant(
        "timer-in-a-second-transaction",
        "a run is parked in one transaction, and its timer is set in the next",
        "B1 D2",
        "25 38",
        (
            "engine/committer.py",
            'result = await self._store.transaction("commit", script, "single")',
            """from dataclasses import replace

                from keepstep.model.plan import Park
                from keepstep.store.boundaries import PARK_TASK
                from keepstep.store.script import Call

                dues = {e.run_id: e.end.run_at for e in boundaries if isinstance(e.end, Park) and e.end.run_at}
                bare = [
                    replace(e, end=e.end._replace(run_at=None)) if e.run_id in dues else e for e in boundaries
                ]
                script = commit_group(self._store.dialect, *lease, bare, creations, wait=False)
                result = await self._store.transaction("commit", script, "single")

                def arm():
                    yield Call(PARK_TASK, [(dues[run_id], run_id) for run_id in dues if run_id in result.kept])

                if dues:
                    await self._store.transaction("arm", arm())""",
        ),
    ),
    mutant(
        "open-waits-not-stored",
        "a run parks without storing what it waits for",
        "B1 D1",
        "22",
        (
            "engine/execution.py",
            "self.pending.put_open(open_rows(self.run.id, self.body.waits.values()))",
            "self.pending.put_open(())",
        ),
    ),
    mutant(
        "deadline-counts-anew",
        "a stored deadline begins to count again when the run is replayed",
        "D1 E3",
        "25 E3",
        (
            "loop/opened.py",
            "return asked if stored is None or stored.due_at is None else stored.due_at",
            "return asked if stored is None or stored.due_at is None else 2 * stored.due_at - stored.started_at",
        ),
    ),
)
