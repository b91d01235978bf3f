"""Events: consumed once, in order, by the right wait, and never lost (D4-D7, B6)."""

from __future__ import annotations

from mutants.fault import mutant

EVENTS = (
    mutant(
        "event-does-not-wake",
        "an event leaves the wake-up counter of a run that executes as it was",
        "B6",
        "22",
        (
            "kernel/lifecycle.py",
            "else scheduled._replace(wake_seq=scheduled.wake_seq + 1)",
            "else scheduled",
        ),
    ),
    mutant(
        "waiting-run-not-made-due",
        "an event for which a parked run waits does not make the run due",
        "B6 D4",
        "22",
        ("kernel/lifecycle.py", "_woken(scheduled, now) if wakes else", ""),
    ),
    mutant(
        "wake-in-a-second-transaction",
        "an event is stored in one transaction, and the run is woken in the next",
        "B6",
        "22",
        (
            "client/ports.py",
            "        self._touched(done.touched)\n        return done.answer\n\n    async def create",
            """        if verb.label == "send_event":
            from keepstep.store import runs
            from keepstep.store.script import Call

            for run_id in done.touched:
                kept = runs._later.pop(run_id, None)
                if kept is not None:
                    await transact("wake", lambda kept=kept: runs.put_later(kept))
        self._touched(done.touched)
        return done.answer

    async def create""",
        ),
        (
            "store/runs.py",
            "    elif steering.task is not None:\n        yield Call(PUT_TASK, [steering.task])",
            """    elif steering.event is not None and steering.task is not None:
        _later[run_id] = steering.task
    elif steering.task is not None:
        yield Call(PUT_TASK, [steering.task])""",
        ),
        (
            "store/runs.py",
            "def apply_steering(",
            """_later: dict[int, TaskRecord] = {}
WAKE_LATER = Statement(
    task.update()
    .where(task.c.run_id == bindparam("run"))
    .values(
        wake_seq=task.c.wake_seq + fixed(1),
        run_at=bindparam("due", type_=BigInteger()),
        priority=bindparam("soon", type_=BigInteger()),
    ),
    "wake later",
)


def put_later(kept):
    yield Call(WAKE_LATER, {"run": kept.run_id, "due": kept.run_at, "soon": int(kept.priority)})


def apply_steering(""",
        ),
    ),
    mutant(
        "event-taken-twice-after-a-reread",
        "events that were read before a boundary was durable are taken again after it",
        "D4 B1",
        "19",
        (
            "engine/execution.py",
            "[event for event in events if event.id not in self.pending.taken]",
            "list(events)",
        ),
    ),
    mutant(
        "one-event-for-all-waits",
        "every open wait of a type takes the same event",
        "D5",
        "19",
        ("engine/execution.py", "self.events.remove(", "list(self.events).remove("),
    ),
    mutant(
        "consumption-not-stored",
        "a wait's result is stored, and the event stays as if nobody had taken it",
        "B1 D4",
        "19",
        ("engine/execution.py", "            tuple(pending.consumed),\n", "            (),\n"),
    ),
    mutant(
        "late-event-counts",
        "an event that was accepted after a wait's deadline ends the wait",
        "D4",
        "23",
        (
            "kernel/settle.py",
            "command.due_at is None or event.accepted_at <= command.due_at",
            "event is not None",
        ),
    ),
    mutant(
        "timely-event-too-late",
        "an event in time loses against the deadline when the run is looked at late",
        "D4",
        "23",
        (
            "kernel/settle.py",
            "if isinstance(command, WaitCommand) and (event",
            "if isinstance(command, WaitCommand) and (command.due_at or now + 1) > now and (event",
        ),
    ),
    mutant(
        "newest-event-first",
        "a wait takes the newest event of its type",
        "D4",
        "21",
        (
            "store/runs.py",
            ".order_by(event.c.run_id, event.c.id)",
            ".order_by(event.c.run_id, event.c.id.desc())",
        ),
    ),
    mutant(
        "repeated-event-stored-twice",
        "an event that its sender repeats under its id is stored again",
        "D7",
        "19 33",
        (
            "services/events.py",
            "known = None if event.id is None else (yield from find_event(run_id, event.id))",
            "known = None",
        ),
        ("services/events.py", "event_id=event.id,", "event_id=None,"),
    ),
    mutant(
        "events-lost-with-the-run",
        "events that nothing has consumed stay behind when a run continues as new",
        "C10",
        "20",
        (
            "engine/execution.py",
            "end._replace(events=tuple(event.id for event in self.events))",
            "end._replace(events=())",
        ),
    ),
)
