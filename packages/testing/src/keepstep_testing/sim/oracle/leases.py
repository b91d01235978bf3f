"""Leases and fences: who may write what of a run, and when (invariants 1 to 6, B2–B4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keepstep_testing.sim.oracle.ghost import Commit, Ghost
from keepstep_testing.sim.oracle.rules import Violation, rule

TAKEOVERS_MAX = 5
OF_HOLDER = frozenset({"commit", "user"})
"""Transactions by which a runner writes boundaries."""


@rule(
    "1",
    "S",
    "No zombie write: what is written of a run was planned under its newest claim",
    "run",
    "run_step",
    "task",
)
def no_zombie_write(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """The claim is counted by the oracle, so a fence that is not raised does not hide a zombie."""
    if commit.label not in OF_HOLDER:
        return
    touched = {
        getattr(each.new or each.old, "run_id", None) or getattr(each.new or each.old, "id", None)
        for each in commit.changes
    }
    for boundary in commit.boundaries:
        planned = ghost.planned.get(id(boundary))
        newest = ghost.claims.get(boundary.run_id)
        if boundary.run_id in touched and planned is not None and newest is not None:
            if planned[1] != newest.number:
                yield (
                    f"{commit.process.name} wrote run {boundary.run_id} as planned under claim {planned[1]}, "
                    f"but {newest.process} claimed it since (claim {newest.number})"
                )


@rule(
    "2",
    "S",
    "No lease steal: a held run changes hands only after its holder's lease has ended or its holder gave it back",
    "task",
)
def no_lease_steal(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """By the database's clock, at the commit; a dead process of the same host needs no waiting."""
    for _, old, new in commit.of["task"]:
        if old is None or old.owner is None or new is None or new.owner == old.owner:
            continue
        holder = ghost.process_of.get(old.owner)
        if holder is commit.process:
            continue
        lease = ghost.runners.get(old.owner)
        ended = lease is None or lease.locked_until < commit.now_ms
        if lease is not None and not ended and (holder is None or holder.alive):
            yield f"{commit.process.name} took run {old.run_id} while its holder's lease lasts until {lease.locked_until}"


@rule("2b", "S", "An optimistic tick writes only what nobody holds (B9)", "task")
def ticks_respect_leases(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Its holder's lease has ended, if it has one."""
    if commit.label != "tick":
        return
    for _, old, _new in commit.of["task"]:
        if old is not None and old.owner is not None:
            lease = ghost.runners.get(old.owner)
            if lease is not None and lease.locked_until >= commit.now_ms:
                yield f"{commit.process.name} ticked run {old.run_id}, which runner {old.owner} holds"


@rule("3", "S", "The fence strictly increases per claim, and never decreases or resets", "task")
def fence_rises(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Also after a requeue, a retry, a takeover."""
    for _, old, new in commit.of["task"]:
        if new is None:
            continue
        before = ghost.fence_max.get(new.run_id, -1)
        if new.fence < before:
            yield f"the fence of run {new.run_id} fell from {before} to {new.fence}"
        claimed = old is not None and new.owner is not None and old.owner != new.owner
        if claimed and new.fence <= before:
            yield f"a claim of run {new.run_id} left its fence at {new.fence}"


@rule("3b", "S", "A takeover and an optimistic tick raise the fence (B3, B9)", "task")
def fence_rises_when_others_write(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """So that whoever read the same state loses."""
    last = {new.run_id: new.fence for _, _, new in commit.of["task"] if new is not None}
    first: dict[int, int] = {}
    for _, old, _new in commit.of["task"]:
        if old is not None:
            first.setdefault(old.run_id, old.fence)
    for run_id, fence in last.items():
        if commit.label in {"tick", "rescue"} and run_id in first and fence <= first[run_id]:
            yield f"{commit.label} left the fence of run {run_id} at {fence}"


@rule("4", "S", "Who owns a task has a runner's row, and its run is active", "task", "run", "runner")
def lease_shape(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """After the commit; ghost rows are those before it, so both are put together here."""
    runners = {**ghost.runners}
    for _, old, new in commit.of["runner"]:
        if new is None:
            runners.pop(old.id, None)
        else:
            runners[new.id] = new
    runs = {new.id: new for _, _, new in commit.of["run"] if new is not None}
    for _, _, new in commit.of["task"]:
        if new is None or new.owner is None:
            continue
        if new.owner not in runners:
            yield f"run {new.run_id} is owned by runner {new.owner}, which has no row"
        run = runs.get(new.run_id) or ghost.runs.get(new.run_id)
        last = [each.new for each in commit.of["task"] if (each.new or each.old).run_id == new.run_id][-1]
        if last is new and run is not None and run.status != "active":
            yield f"run {new.run_id} is owned and {run.status}"


@rule("4b", "S", "A renewal extends its own live lease and nothing else", "runner")
def renewal_is_ones_own(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """And never shortens it, nor brings a lease back that was taken over."""
    if commit.label != "renew":
        return
    for _, old, new in commit.of["runner"]:
        if old is None or new is None:
            yield "a renewal made or dropped a runner"
        elif ghost.process_of.get(new.id) is not commit.process:
            yield f"{commit.process.name} renewed the lease of {ghost.process_of[new.id].name}"
        elif new.epoch != old.epoch:
            yield f"a renewal changed the epoch of runner {new.id}"
        elif new.locked_until < old.locked_until and "clock" not in ghost.excused:
            yield f"a renewal shortened the lease of runner {new.id}"


@rule(
    "4c", "S", "A runner's epoch never falls, and rises when its tasks are taken over (B3)", "runner", "task"
)
def epoch_rises(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """So that a group that is on its way loses as a whole."""
    epochs = dict.fromkeys(ghost.runners, 0)
    for _, old, new in commit.of["runner"]:
        if old is not None and new is not None:
            if new.epoch < old.epoch:
                yield f"the epoch of runner {new.id} fell"
            epochs[new.id] = new.epoch - old.epoch
    for _, old, new in commit.of["task"]:
        if commit.label == "rescue" and old is not None and new is not None and old.owner in ghost.runners:
            if new.owner is None and epochs.get(old.owner) == 0:
                yield f"run {old.run_id} was taken over from runner {old.owner}, whose epoch stayed"


@rule("4d", "S", "Nobody else takes a runner's row away while it lives and its lease lasts", "runner")
def runners_stay(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """A runner that holds nothing is as good as any other."""
    for _, old, new in commit.of["runner"]:
        holder = None if old is None else ghost.process_of.get(old.id)
        if old is None or new is not None or holder is commit.process:
            continue
        if old.locked_until >= commit.now_ms and holder is not None and holder.alive:
            yield f"{commit.process.name} took away runner {old.id} of {holder.name}, whose lease lasts until {old.locked_until}"


@rule("6", "S", "A runner releases, gives back and parks only what is its own", "task")
def stale_owners_write_nothing(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """One check for each verb by which a holder writes a task."""
    if commit.label not in {"commit", "give_back", "release"}:
        return
    for _, old, _new in commit.of["task"]:
        if old is not None and ghost.process_of.get(old.owner) is not commit.process:
            yield f"{commit.process.name} wrote ({commit.label}) the task of run {old.run_id}, owned by {old.owner}"


def on_release(ghost: Ghost, process: Any) -> Violation | None:
    """What must hold when a runner has given its lease back: nobody has to wait for its end (B2)."""
    newest = max(ghost.held_by(process), key=list(ghost.process_of).index, default=0)
    lease = ghost.runners.get(newest)
    owned = [task.run_id for task in ghost.tasks.values() if task.owner == newest]
    if lease is None or lease.epoch > 1 or not owned:
        return None
    return Violation("6b", f"{process.name} has given back its lease, and runs {owned} stay owned by it")


@rule("36", "S", "A runner never has more runs in hand than its concurrency", "task")
def concurrency_holds(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """What it holds, and what this commit gives it.

    What was claimed to be ended as a crash loop is in nobody's hands, nor is a run whose claim was never answered, or
    which is being given back.
    """
    limit = commit.process.concurrency
    if limit is None:
        return
    mine = ghost.held_by(commit.process)
    known = {
        execution.run.id
        for execution, number, process in ghost.held.values()
        if process is commit.process and not execution.dropped and _newest(ghost, execution.run.id) == number
    }
    owners = {run_id: _in_hand(task) for run_id, task in ghost.tasks.items() if run_id in known}
    for _, old, new in commit.of["task"]:
        if new is None:
            owners.pop(old.run_id, None)
        elif old is None or old.owner != new.owner:
            owners[new.run_id] = _in_hand(new)
    for runner in mine:
        owned = sum(owner == runner for owner in owners.values())
        if owned > limit:
            yield f"runner {runner} of {commit.process.name} has {owned} runs in hand, at most {limit}"


def _newest(ghost: Ghost, run_id: int) -> int | None:
    claim = ghost.claims.get(run_id)
    return None if claim is None else claim.number


def _in_hand(task: Any) -> int | None:
    return None if task.takeovers >= TAKEOVERS_MAX else task.owner
