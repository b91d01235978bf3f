"""Replay: recorded order, recorded results, bodies that stay in memory (A2, A3, A6, C2)."""

from __future__ import annotations

from mutants.fault import mutant

REPLAY = (
    mutant(
        "replay-in-call-order",
        "replay delivers results in the order in which steps were started",
        "A2",
        "13 15",
        ("loop/body.py", "key=_seq)", "key=lambda record: (record.started_at, record.key))"),
    ),
    mutant(
        "failed-step-runs-again",
        "a step that failed for good is executed again on replay, although the body caught its error",
        "C2",
        "12 13",
        (
            "loop/journal.py",
            "        opened = self._open.pop(record.key, None)\n",
            """        opened = self._open.pop(record.key, None)
        if opened is not None and record.status == "failed" and loop.replaying and opened.key.startswith("do:"):
            self._open[record.key] = opened
            return
""",
        ),
    ),
    mutant(
        "cached-body-not-checked",
        "a body in memory goes on although others advanced the run meanwhile",
        "A6",
        "13 15",
        (
            "engine/cache.py",
            "if task.fence == execution.fence + 1 and run.version == execution.run.version + 1:",
            "if execution is not None:",
        ),
    ),
    mutant(
        "loop-time-is-now",
        "replay begins at the time of the latest claim, not at the run's start",
        "A3",
        "13 15",
        (
            "store/claims.py",
            "started_at=func.coalesce(run.c.started_at, db_now())",
            "started_at=db_now()",
        ),
    ),
    mutant(
        "time-runs-backwards",
        "a resolution is stored with the time of whoever settles it, also when that is before the last one's",
        "A3",
        "13",
        ("engine/execution.py", "self.body.seq + 1, max(now, self._last_at))", "self.body.seq + 1, now)"),
    ),
    mutant(
        "tick-keeps-a-stale-body",
        "an optimistic tick goes on with a body although somebody else advanced the run",
        "A6 B9",
        "1 13",
        (
            "engine/optimistic.py",
            "if ticking is None or not ticking.goes_on_from(due):",
            "if ticking is None:",
        ),
    ),
)
