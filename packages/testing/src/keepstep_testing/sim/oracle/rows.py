"""Rows: versions, the state machine, and what each commit leaves whole (invariants 8 to 12, 31, 34, 37)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from keepstep_testing.sim.oracle.ghost import TERMINAL, Commit, Ghost
from keepstep_testing.sim.oracle.rules import rule

LIVE = frozenset({"active", "waiting", "paused"})
_ENDS = {"complete", "errored", "terminated", "cancelled"}
MOVES: dict[str, set[str]] = {
    "active": {"waiting", "paused", *_ENDS},
    "waiting": {"active", "paused", *_ENDS},
    "paused": {"active", "terminated"},
    "complete": set(),
    "errored": {"active"},
    "terminated": set(),
    "cancelled": set(),
}
"""The oracle's own list of what may follow what. ``errored`` goes on by ``retry_failed_step`` alone (E6)."""


def after(ghost: Ghost, commit: Commit) -> tuple[dict[int, Any], dict[int, Any]]:
    """Runs and tasks as they are after the commit, of the runs that it touched."""
    touched = {(new or old).id for _, old, new in commit.of["run"]}
    touched |= {(new or old).run_id for _, old, new in commit.of["task"]}
    runs = {each: ghost.runs.get(each) for each in touched}
    tasks = {each: ghost.tasks.get(each) for each in touched}
    for _, old, new in commit.of["run"]:
        runs[(new or old).id] = new
    for _, old, new in commit.of["task"]:
        tasks[(new or old).run_id] = new
    return runs, tasks


@rule("8", "S", "Every change of a run's row raises its version by one", "run")
def versions_rise_by_one(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """But for what a tick notes as the start, and for the flag that another run is the newest now."""
    for _, old, new in commit.of["run"]:
        if old is None or new is None:
            continue
        same = old._replace(started_at=new.started_at, latest=new.latest, version=new.version) == new
        if new.version != old.version + (0 if same and new.version == old.version else 1):
            yield f"a change of run {new.id} moved its version from {old.version} to {new.version}"


@rule("9", "S", "An end is written only over the version that it was planned on", "run")
def ends_are_compared(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Compare-and-set (E7)."""
    for boundary in commit.boundaries:
        first = next(
            (old for _, old, new in commit.of["run"] if new is not None and new.id == boundary.run_id), None
        )
        if first is not None and first.version != boundary.version:
            yield f"run {boundary.run_id} had version {first.version}, its end was planned on {boundary.version}"


@rule("10", "S", "Statuses move as the table says; what has ended stays ended", "run")
def moves_are_listed(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Only ``retry_failed_step`` opens an errored run again."""
    for _, old, new in commit.of["run"]:
        if old is None or new is None or old.status == new.status:
            continue
        if new.status not in MOVES[old.status]:
            yield f"run {new.id} went from {old.status} to {new.status} ({commit.label})"
        if old.status == "errored" and not commit.label.startswith("retry"):
            yield f"{commit.label} opened run {new.id}, which had ended"


@rule(
    "10b",
    "S",
    "A run that has ended is changed by nothing but a restart or a retry",
    "run",
    "run_step",
    "event",
)
def ended_runs_rest(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Neither its row, nor its steps, nor its events (defects 6, 14)."""
    if commit.label.startswith(("retry", "restart")):
        return
    opened = {new.id for _, old, new in commit.of["run"] if new is not None and old is None}
    for _, old, new in commit.of["run"]:
        if old is not None and old.status in TERMINAL and new is not None and old.latest == new.latest:
            yield f"{commit.label} changed run {old.id}, which is {old.status}"
    for table in ("run_step", "event"):
        for _, old, new in commit.of[table]:
            run = ghost.runs.get((new or old).run_id)
            if run is not None and run.id not in opened and run.status in TERMINAL:
                yield f"{commit.label} changed a row of {table} of run {run.id}, which is {run.status}"


@rule("11", "S", "A run lives exactly as long as its task; a run that has ended says when", "run", "task")
def task_lives_with_run(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Rows of one unit of work appear together or not at all (B1)."""
    runs, tasks = after(ghost, commit)
    for run_id, run in runs.items():
        if run is None:
            continue
        if (run.status in LIVE) != (tasks.get(run_id) is not None):
            yield f"run {run_id} is {run.status} and {'has a' if tasks.get(run_id) else 'has no'} task"
        if (run.status in TERMINAL) != (run.completed_at is not None):
            yield f"run {run_id} is {run.status} and completed_at is {run.completed_at}"


@rule("11b", "S", "A paused run cannot be claimed; a waiting run is owned by nobody (B2, E3)", "run", "task")
def paused_runs_rest(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """A paused run makes no progress."""
    runs, tasks = after(ghost, commit)
    for run_id, run in runs.items():
        task = tasks.get(run_id)
        if run is None or task is None:
            continue
        if run.status == "paused" and (task.run_at is not None or task.owner is not None):
            yield f"run {run_id} is paused, due at {task.run_at}, owned by {task.owner}"
        if run.status == "waiting" and task.owner is not None:
            yield f"run {run_id} is waiting and owned by {task.owner}"
        if run.status == "active" and task.owner is None and task.run_at is None:
            yield f"run {run_id} is active, owned by nobody and never due"


@rule("E3", "S", "A paused run takes no step further", "run_step")
def paused_runs_make_no_progress(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Its timers keep counting, and nothing is resolved before it is resumed."""
    for _, _old, new in commit.of["run_step"]:
        if new is None:
            continue
        run = ghost.runs.get(new.run_id)
        if run is not None and run.status == "paused" and new.seq is not None:
            yield f"step {new.key} of run {run.id} was resolved while it is paused"


@rule("31", "S", "One instance for each id, ever; its runs are numbered 1, 2, 3 and one is the newest", "run")
def runs_are_numbered(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Idempotent create (E2)."""
    runs = {**ghost.runs}
    for _, old, new in commit.of["run"]:
        if new is None:
            runs.pop(old.id, None)
        else:
            runs[new.id] = new
    by_instance: dict[tuple[str, str], list[Any]] = {}
    for run in runs.values():
        by_instance.setdefault((run.workflow, run.instance_id), []).append(run)
    for name, found in by_instance.items():
        numbers = sorted(each.run_number for each in found)
        if numbers != list(range(1, len(found) + 1)):
            yield f"the runs of {name} are numbered {numbers}"
        newest = [each.run_number for each in found if each.latest]
        if newest != [len(found)]:
            yield f"of {len(found)} runs of {name} the newest are {newest}"
        live = [each.run_number for each in found if each.status in LIVE]
        if len(live) > 1 or (live and live != newest):
            yield f"runs {live} of {name} live at once"


@rule("37", "S", "Nothing is removed that is still needed", "run", "event", "run_step", "runner", "task")
def nothing_needed_goes(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Runs and events stay; steps go by a retry alone; a runner that owns something stays."""
    for table in ("run", "event"):
        if any(new is None for _, _, new in commit.of[table]):
            yield f"{commit.label} deleted a row of {table}"
    if not commit.label.startswith("retry") and any(new is None for _, _, new in commit.of["run_step"]):
        yield f"{commit.label} deleted a step"
    gone = {old.id for _, old, new in commit.of["runner"] if new is None}
    if gone:
        owners = Counter(task.owner for task in ghost.tasks.values())
        for _, old, new in commit.of["task"]:
            if old is not None:
                owners[old.owner] -= 1
            if new is not None:
                owners[new.owner] += 1
        for runner in gone:
            if owners[runner] > 0:
                yield f"runner {runner} was deleted while it owns {owners[runner]} tasks"


@rule("34", "S", "A run ends once", "run")
def runs_end_once(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Exactly one of complete, errored, terminated, cancelled, whatever raced."""
    for _, old, new in commit.of["run"]:
        if old is not None and new is not None and old.status in TERMINAL and new.status in TERMINAL:
            if (old.status, old.output, old.error, old.completed_at) != (
                new.status,
                new.output,
                new.error,
                new.completed_at,
            ):
                yield f"run {new.id} had ended as {old.status} and ended again as {new.status}"
        if new is not None and new.id in ghost.ended_at_ms and (old is None or old.status in TERMINAL):
            if new.status not in TERMINAL and not commit.label.startswith("retry"):
                yield f"run {new.id} lives again"


@rule(
    "22",
    "S",
    "No lost wake-up: nothing is parked past an event, a cancellation or a pause that it has",
    "run",
    "task",
    "event",
)
def no_wake_up_is_lost(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """A run that waits for a type of which an event is there is due, from the commit on that made it so (B6)."""
    runs, tasks = after(ghost, commit)
    for _, _, new in commit.of["event"]:
        if new is not None and new.run_id not in runs:
            runs[new.run_id], tasks[new.run_id] = ghost.runs.get(new.run_id), ghost.tasks.get(new.run_id)
    for run_id, run in runs.items():
        task = tasks[run_id]
        if run is None or task is None or run.status != "waiting" or task.owner is not None:
            continue
        if ghost.is_due(task.run_at, commit.now_ms):
            continue
        rows = {**ghost.steps[run_id], **_rows(commit, run_id)}
        if run.pause_requested:
            yield f"run {run_id} is parked until {task.run_at}, and was to be paused"
        if run.error is not None:
            continue  # the code does not fit: it rests whatever comes (E10)
        if run.cancel_reason is not None and "cancel:request" not in rows:
            yield f"run {run_id} is parked until {task.run_at}, and has not heard that it is cancelled"
        for kind in _missed(ghost, commit, run_id, rows):
            yield f"run {run_id} is parked until {task.run_at}, and waits for {kind!r}, which is there"


def _rows(commit: Commit, run_id: int) -> dict[str, Any]:
    return {new.key: new for _, _, new in commit.of["run_step"] if new is not None and new.run_id == run_id}


def _missed(ghost: Ghost, commit: Commit, run_id: int, rows: dict[str, Any]) -> set[str]:
    """Types of which the run has an event and an open wait, after the commit."""
    events = {each.id: each for each in ghost.events.values() if each.run_id == run_id}
    events |= {new.id: new for _, _, new in commit.of["event"] if new is not None and new.run_id == run_id}
    there = {each.type for each in events.values() if each.consumed_by is None}
    return {row.event_type for row in rows.values() if row.seq is None and row.status == "waiting"} & there


@rule(
    "B6",
    "S",
    "A wake-up number never falls, and every steering from outside raises it",
    "task",
    "event",
    "run",
)
def wake_seq_rises(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """So that no suspension commits past an event, a pause or a cancellation that it has not seen."""
    for _, old, new in commit.of["task"]:
        if old is not None and new is not None and new.wake_seq < old.wake_seq:
            yield f"the wake-up number of run {new.run_id} fell from {old.wake_seq} to {new.wake_seq}"
    steered = {new.run_id for _, old, new in commit.of["event"] if old is None and new is not None}
    for _, old, new in commit.of["run"]:
        if old is not None and new is not None and new.status in LIVE:
            if new.cancel_reason != old.cancel_reason or (new.pause_requested and not old.pause_requested):
                steered.add(new.id)
    for run_id in steered:
        before, now = ghost.tasks.get(run_id), None
        for _, _, new in commit.of["task"]:
            if new is not None and new.run_id == run_id:
                now = new
        if before is not None and (now is None or now.wake_seq <= before.wake_seq):
            if run_id not in {old.run_id for _, old, new in commit.of["task"] if new is None}:
                yield f"{commit.label} steered run {run_id} without raising its wake-up number"
