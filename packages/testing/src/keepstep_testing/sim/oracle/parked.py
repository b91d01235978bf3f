"""Runs that nobody holds: each is due when something can be done for it, and takeovers are counted (invariants 18, 22, 25)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from keepstep_testing.sim.oracle.ghost import Commit, Ghost
from keepstep_testing.sim.oracle.rows import after
from keepstep_testing.sim.oracle.rules import rule

TAKEOVERS_MAX = 5


class Count(NamedTuple):
    """The oracle's own count of a run's takeovers: in a row, and what it had done at the last of them."""

    takeovers: int = 0
    seq: int = 0
    attempts: int = 0


def parked(ghost: Ghost, commit: Commit) -> Iterator[tuple[Any, Any, list[Any]]]:
    """Runs that a commit leaves waiting by themselves, with their tasks and open steps as they are after it."""
    touched = {(new or old).run_id for table in ("run_step", "event") for _, old, new in commit.of[table]}
    runs, tasks = after(ghost, commit)
    for run_id in touched | set(runs):
        run, task = runs.get(run_id) or ghost.runs.get(run_id), tasks.get(run_id) or ghost.tasks.get(run_id)
        if run is None or task is None or run.status != "waiting" or run.error is not None:
            continue  # one with an error rests because the code does not fit (E10)
        if '"coin"' in run.params:
            continue  # what other code waited for stays behind, and nobody waits for it (E10)
        steps = {**ghost.steps[run_id]}
        steps.update(
            {new.key: new for _, _, new in commit.of["run_step"] if new is not None and new.run_id == run_id}
        )
        yield run, task, [row for row in steps.values() if row.seq is None and row.status != "abandoned"]


@rule(
    "22b",
    "S",
    "A run that is parked at a wait whose event is there is due at once",
    "run",
    "task",
    "run_step",
    "event",
)
def no_event_is_slept_through(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Not only at the wait's deadline, when it would be noticed in any case (B6)."""
    for run, task, steps in parked(ghost, commit):
        if ghost.is_due(task.run_at, commit.now_ms):
            continue
        events = {each.id: each for each in ghost.events.values() if each.run_id == run.id}
        events.update(
            {new.id: new for _, _, new in commit.of["event"] if new is not None and new.run_id == run.id}
        )
        for row in steps:
            for event in events.values():
                in_time = row.due_at is None or event.accepted_at <= row.due_at
                if event.consumed_by is None and event.type == row.event_type and in_time:
                    yield f"run {run.id} sleeps until {task.run_at} at {row.key}, whose event {event.id} is there"


@rule("25", "S", "A parked run is due at the earliest of its deadlines, or before", "run", "task", "run_step")
def no_deadline_is_slept_through(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Timers, waits and retries, each by itself (D2); armed in the commit that parks the run."""
    for run, task, steps in parked(ghost, commit):
        first = min((row.due_at for row in steps if row.due_at is not None), default=None)
        if first is not None and (task.run_at is None or task.run_at > first):
            yield f"run {run.id} sleeps until {task.run_at}, and one of its deadlines is {first}"


@rule(
    "18b",
    "S",
    "Takeovers in a row without a result are counted, and too many end the run (B7)",
    "task",
    "run",
)
def takeovers_are_counted(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """By the oracle, which counts takeovers itself: anew after each result, each suspension and each pause."""
    counts: dict[int, Count] = ghost.counts
    runs, _ = after(ghost, commit)
    for _, old, new in commit.of["task"]:
        if new is None:
            continue
        run, known = runs[new.run_id], counts.get(new.run_id, Count())
        if old is None or (run is not None and run.status in {"waiting", "paused"}):
            counts[new.run_id] = Count(seq=0 if old is None else known.seq)
        elif commit.label == "rescue" and old.owner is not None and new.owner is None:
            count = _counted(ghost, new.run_id, known)
            counts[new.run_id] = count
            if new.takeovers != count.takeovers:
                yield f"run {new.run_id} was taken over {count.takeovers} times without a result, its task says {new.takeovers}"
            if count.takeovers > TAKEOVERS_MAX and count.attempts > known.attempts:
                yield f"run {new.run_id} began steps after {known.takeovers} takeovers in a row, at most {TAKEOVERS_MAX - 1}"


def _counted(ghost: Ghost, run_id: int, known: Count) -> Count:
    """One takeover more. Whoever is to end a crash loop may die before that is written: what must not go on is the run."""
    last = max((row.seq for row in ghost.steps[run_id].values() if row.seq is not None), default=0)
    begun = sum(len(times) for (run, _), times in ghost.attempts.items() if run == run_id)
    return Count(1 if last > known.seq else known.takeovers + 1, last, begun)


@rule("17d", "S", "After an error that is not to be retried nothing is tried again (C5)", "run_step")
def what_is_final_is_final(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Whatever attempts are left."""
    for _, _, new in commit.of["run_step"]:
        if (
            new is not None
            and new.status == "retrying"
            and json.loads(new.error)["name"] == "NonRetryableError"
        ):
            yield f"step {new.key} of run {new.run_id} failed for good and is to be tried again at {new.due_at}"
