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
            "if task.fence == parked.fence + 1 and run.version == parked.version + 1:",
            "if parked is not None:",
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
        ("engine/execution.py", "self.body.seq + 1, max(now, self.last_at))", "self.body.seq + 1, now)"),
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
    mutant(
        "contradiction-goes-unnoticed",
        "a step is taken for another one's record when code and records part",
        "E10",
        "E10",
        (
            "loop/drift.py",
            "return None if rival is None else self._differs(record, rival, record.seq or 0)",
            "return None",
        ),
    ),
    mutant(
        "contradiction-fails-the-run",
        "a run whose code contradicts its records ends, and no other code can go on with it",
        "E10",
        "E10 38",
        (
            "kernel/boundary.py",
            "return Park(now + CONTRADICTION_LOOK_MS, error_text(_contradiction(outcome)))",
            "return Finish(_require(run, Trigger.FAIL), None, error_text(_contradiction(outcome)))",
        ),
    ),
    mutant(
        "replay-writes-again",
        "a replay notes the lines of the log once more, with numbers of their own",
        "A2",
        "14",
        (
            "loop/journal.py",
            "self.log_number, level, message, data, loop.now_ms, loop.replaying",
            "self.log_number, level, message, data, loop.now_ms, False",
        ),
    ),
    mutant(
        "cancel-forgotten-by-replay",
        "a replay passes over the cancellation that the body had received",
        "A2 E5",
        "44 15",
        (
            "loop/journal.py",
            "        if record.key == CANCEL_KEY:\n            self.cancel_reason",
            "        if record.key == CANCEL_KEY and self._loop.replaying:\n            return\n        if record.key == CANCEL_KEY:\n            self.cancel_reason",
        ),
    ),
)
