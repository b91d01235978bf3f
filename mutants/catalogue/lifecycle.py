"""Pause, resume, cancel, terminate, restart and the end (E3-E7)."""

from __future__ import annotations

from mutants.fault import mutant

LIFECYCLE = (
    mutant(
        "idle-paused-run-is-due",
        "a run that is paused while nobody holds it stays due",
        "B2 E3",
        "10 E3",
        ("kernel/lifecycle.py", "task._replace(run_at=None, wake_seq", "task._replace(wake_seq"),
    ),
    mutant(
        "held-paused-run-is-due",
        "a run that is paused at a boundary stays due",
        "B2 E3",
        "10 E3",
        ("store/boundaries.py", "(PARK_TASK, (None, run_id))", "(PARK_TASK, (at, run_id))"),
    ),
    mutant(
        "resume-forgets-what-is-overdue",
        "a resumed run is not made due, so what fell due while it was paused never takes effect",
        "E4",
        "38 E3",
        (
            "kernel/lifecycle.py",
            "_steer(run, changed(run, now, status=decision.status), _woken(_scheduled(run, task), now))",
            "_steer(run, changed(run, now, status=decision.status), _scheduled(run, task))",
        ),
    ),
    mutant(
        "cancel-lost-while-parked",
        "a cancellation leaves a parked run asleep",
        "E5",
        "34 38",
        (
            "kernel/lifecycle.py",
            "return _steer(run, cancelling, _woken(_scheduled(run, task), now))",
            "return _steer(run, cancelling, _scheduled(run, task))",
        ),
    ),
    mutant(
        "cancelled-again-after-replay",
        "a body that was cancelled receives the cancellation again after a replay",
        "E5 A2",
        "12 13",
        ("engine/execution.py", "any(record.key == CANCEL_KEY for record in records)", "False"),
    ),
    mutant(
        "return-beats-an-earlier-cancel",
        "a body that returned completes although a cancellation was committed before",
        "E7",
        "34",
        ("engine/execution.py", "and isinstance(self.outcome, Returned):", "and False:"),
    ),
    mutant(
        "terminate-keeps-the-task",
        "terminate() leaves the task, and with it the fence: the holder goes on",
        "E5",
        "34 41",
        ("kernel/lifecycle.py", "drop_task=task is not None", "drop_task=False"),
    ),
    mutant(
        "terminal-overwritten",
        "a run that was terminated becomes complete when its holder gets so far",
        "E7",
        "10",
        ("kernel/lifecycle.py", "drop_task=task is not None", "drop_task=False"),
        ("store/boundaries.py", "or boundary.version == version)", "or boundary.version <= version)"),
    ),
    mutant(
        "ended-run-keeps-its-task",
        "a run that ends leaves its task owned",
        "B2 E7",
        "41",
        (
            "store/boundaries.py",
            "return (FINISH_RUN, finished), (DROP_TASK, (run_id,))",
            "return ((FINISH_RUN, finished),)",
        ),
    ),
    mutant(
        "restart-overwrites-the-end",
        "a restart turns the old run's outcome into terminated",
        "E6 E7",
        "10",
        (
            "kernel/transitions.py",
            "    Trigger.RESTART: Stay(),",
            "    Trigger.RESTART: To(Status.TERMINATED),",
        ),
    ),
    mutant(
        "restart-keeps-the-task",
        "a restart leaves the old run's task, so two runs of one instance live",
        "E6",
        "41",
        ("kernel/again.py", "drop_task=task is not None", "drop_task=False"),
    ),
    mutant(
        "restart-leaves-the-newest-mark",
        "a restart leaves the old run marked as the newest",
        "E6",
        "11 33",
        ("kernel/again.py", "run=old._replace(latest=False)", "run=old"),
    ),
    mutant(
        "restart-keeps-old-events",
        "events of the old run are buffered for the new one",
        "E6",
        "20",
        (
            "store/runs.py",
            "        yield Call(PUT_TASK, [steering.creation.task])\n",
            """        from keepstep.store.boundaries import MOVE_EVENT

        new_id = steering.creation.run.id
        old = yield Call(LOAD_EVENTS, {"run_ids": [run_id]})
        yield Call(PUT_TASK, [steering.creation.task._replace(wake_seq=1)])
        yield Call(MOVE_EVENT, [(new_id, row[0]) for row in old])
""",
        ),
    ),
    mutant(
        "news-wait-for-the-next-result",
        "what others asked for while a boundary was on its way is heard of only after the next step",
        "E3 E5",
        "34c E3c",
        ("engine/advancer.py", "if execution.inbox or execution.steered:", "if execution.inbox:"),
    ),
    mutant(
        "schema-not-checked",
        "a process whose code needs a newer schema starts before it is migrated",
        "B1",
        "46",
        (
            "store/migrations/__init__.py",
            "if revision != line.head:",
            "if revision is None or revision > line.head:",
        ),
    ),
)
