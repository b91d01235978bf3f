"""Steps, waits and timers: written once, in order, not early (invariants 12, 13, 17, 19, 21, 23, 24, A2, A7)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from keepstep_testing.sim.oracle.ghost import TERMINAL, Commit, Ghost
from keepstep_testing.sim.oracle.rules import Violation, rule

ATTEMPTS_MAX = 4


@rule("12", "S", "A step's result is written once and never changes", "run_step")
def results_are_final(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """A resolved row is never replaced (C2); only a retry of the failed step takes it away."""
    for _, old, new in commit.of["run_step"]:
        if old is not None and old.seq is not None and new is not None and new != old:
            yield f"the resolved step {old.key} of run {old.run_id} changed ({commit.label})"


@rule("A2", "S", "Resolutions of a run are numbered 1, 2, 3 …, and their times never go back", "run_step")
def resolutions_are_dense(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Each commit continues where the last one ended."""
    fresh: dict[int, list[Any]] = {}
    for row in commit.resolved:
        fresh.setdefault(row.run_id, []).append(row)
    if commit.label.startswith(("retry", "restart")):
        return
    for run_id, rows in fresh.items():
        rows.sort(key=lambda row: row.seq)
        known = [row for row in ghost.steps[run_id].values() if row.seq is not None]
        last = max((row.seq for row in known), default=0)
        at = max((row.at for row in known), default=0)
        for row in rows:
            last += 1
            if row.seq != last:
                yield f"step {row.key} of run {run_id} got number {row.seq} where {last} was next"
            if row.at < at:
                yield f"step {row.key} of run {run_id} was resolved at {row.at}, after one at {at}"
            at = row.at


@rule(
    "24",
    "S",
    "No timer fires, and no wait times out, before its deadline by the database's clock",
    "run_step",
)
def timers_are_not_early(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Whatever the runner's own clock shows (B5, D3)."""
    if "clock" in ghost.excused:
        return
    for new in commit.resolved:
        if new.due_at is None:
            continue
        timed_out = new.event_type is not None and new.status == "failed"
        if (
            new.key.rpartition(">")[2].startswith("sleep") or timed_out
        ) and commit.now_ms + ghost.early_ms < new.due_at:
            yield f"{new.key} of run {new.run_id} is due at {new.due_at} and fired at {commit.now_ms}"


@rule("D1", "S", "A stored deadline is never changed", "run_step")
def deadlines_stay(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Replays, takeovers and early wakes change nothing of it (D1, D3)."""
    for _, old, new in commit.of["run_step"]:
        if old is None or new is None or old.seq is not None:
            continue
        kind = old.key.rpartition(">")[2].partition(":")[0]
        if kind != "do" and old.due_at is not None and new.status != "abandoned" and new.due_at != old.due_at:
            yield f"the deadline of {old.key} of run {old.run_id} moved from {old.due_at} to {new.due_at}"


@rule(
    "19",
    "S",
    "An event is consumed once, in the commit that records the wait that took it",
    "event",
    "run_step",
)
def events_are_consumed_once(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """And the wait's result is the event's payload."""
    resolved = {(row.run_id, row.key): row for row in commit.resolved}
    taken: set[tuple[int, str]] = set()
    for _, old, new in commit.of["event"]:
        if old is None or new is None:
            continue
        if old.consumed_by is not None and (new.consumed_by, new.run_id) != (old.consumed_by, old.run_id):
            yield f"event {old.id} was consumed by {old.consumed_by} and then changed to {new.consumed_by}"
        if old.consumed_by is None and new.consumed_by is not None:
            taken.add((new.run_id, new.consumed_by))
            row = resolved.get((new.run_id, new.consumed_by))
            if row is None:
                yield f"event {new.id} was consumed by {new.consumed_by}, which was not recorded with it"
            elif json.loads(row.result)["payload"] != json.loads(new.payload):
                yield f"event {new.id} was consumed by {new.consumed_by}, whose result is another: {row.result}"
    for (run_id, key), row in resolved.items():
        received = row.event_type is not None and row.status == "completed"
        if received and (run_id, key) not in taken and not commit.label.startswith("restart"):
            yield f"wait {key} of run {run_id} was resolved by an event, and none was consumed with it"


@rule("21", "S", "Events of one type are consumed in the order in which they were accepted", "event")
def events_keep_their_order(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """The oldest first (D4)."""
    consumed = {
        new.id: new
        for _, old, new in commit.of["event"]
        if old is not None and old.consumed_by is None and new is not None and new.consumed_by is not None
    }
    for event in consumed.values():
        older = [each for each in ghost.buffered(event.run_id, event.type) if each.id < event.id]
        passed = [each.id for each in older if each.id not in consumed]
        if passed:
            yield f"event {event.id} of run {event.run_id} was consumed before {passed}"


@rule("23", "S", "A wait times out only if no event came by its deadline (D4)", "run_step")
def in_time_is_in_time(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """An event that was accepted at or before the deadline counts, also when it is processed late."""
    if "clock" in ghost.excused:
        return
    consumed = {new.id for _, _, new in commit.of["event"] if new is not None and new.consumed_by is not None}
    for new in commit.resolved:
        if new.event_type is not None and new.status == "failed":
            late = [
                each.id
                for each in ghost.buffered(new.run_id, new.event_type)
                if each.accepted_at <= new.due_at and each.id not in consumed
            ]
            if late:
                yield f"wait {new.key} of run {new.run_id} timed out at {new.due_at}, but events {late} were there by then"


@rule("23b", "S", "A wait takes no event that was accepted after its deadline (D4)", "run_step", "event")
def late_is_late(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """However late the wait's end is noticed."""
    if "clock" in ghost.excused:
        return
    taken = {(new.run_id, new.consumed_by): new for _, _, new in commit.of["event"] if new is not None}
    for new in commit.resolved:
        event = taken.get((new.run_id, new.key))
        if event is not None and new.due_at is not None and event.accepted_at > new.due_at:
            yield f"wait {new.key} of run {new.run_id} ended at {new.due_at}, and took event {event.id} of {event.accepted_at}"


@rule("20b", "S", "A run that continues as new takes along what it has not consumed (C10)", "run")
def events_go_along(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """In the same commit; an event that comes meanwhile refuses that commit."""
    moved = {new.id for _, _, new in commit.of["event"] if new is not None}
    for _, old, new in commit.of["run"]:
        if old is None or new is None or old.status in TERMINAL or new.status != "complete" or new.latest:
            continue
        left = [each.id for each in ghost.buffered(new.id) if each.id not in moved]
        if left:
            yield f"run {new.id} continued as new and left events {left} behind"


@rule(
    "17",
    "S",
    "A step's row counts the attempts that were made, and no more than its policy allows",
    "run_step",
)
def attempts_are_counted(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """By the attempts that the oracle saw begin."""
    for _, _old, new in commit.of["run_step"]:
        if new is None or commit.label.startswith(("retry", "restart")):
            continue
        kind = new.key.rpartition(">")[2].partition(":")[0]
        if kind not in {"do", "transaction"} or new.status in {"abandoned", "intent"}:
            continue
        if new.attempt > ATTEMPTS_MAX and kind == "do":
            yield f"step {new.key} of run {new.run_id} made {new.attempt} attempts, at most {ATTEMPTS_MAX}"
        if commit.label == "commit" and new.attempt > len(ghost.attempts[new.run_id, new.key]):
            begun = len(ghost.attempts[new.run_id, new.key])
            yield f"step {new.key} of run {new.run_id} counts {new.attempt} attempts, {begun} were begun"


@rule("17b", "S", "The number of attempts never falls, and a takeover does not reset it", "run_step")
def attempts_never_fall(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Open rows count on."""
    for _, old, new in commit.of["run_step"]:
        if old is not None and new is not None and old.seq is None and new.attempt < old.attempt:
            yield f"step {new.key} of run {new.run_id} went from attempt {old.attempt} to {new.attempt}"


@rule("11c", "S", "What a boundary contains is written whole: steps, events, end", "run_step", "run", "task")
def boundaries_are_whole(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Of each boundary everything is written, or nothing (B1)."""
    written = {(new.run_id, new.key) for _, _, new in commit.of["run_step"] if new is not None}
    ended = {(new or old).id for _, old, new in commit.of["run"]}
    for boundary in commit.boundaries:
        steps = {(row.run_id, row.key) for row in boundary.steps if row.key not in ghost.steps[row.run_id]}
        mine = {each for each in written if each[0] == boundary.run_id}
        ends = type(boundary.end).__name__ != "Hold"
        if steps and mine and not steps <= mine:
            yield f"of the boundary of run {boundary.run_id} steps {sorted(steps - mine)} are missing"
        if ends and steps and (bool(mine & steps) != (boundary.run_id in ended)):
            yield f"run {boundary.run_id}: its steps and its end were not written together"


def on_attempt(
    ghost: Ghost, process: Any, now_ms: int, *, execution: Any, key: str, number: int, optimistic: bool
) -> None:
    """What must hold when an attempt begins (A7, B4, C2, 5, 13).

    Raises:
        Violation: it does not.
    """
    run_id = execution.run.id
    stored = ghost.steps[run_id].get(key)
    if stored is not None and stored.seq is not None and (not optimistic or was_seen(ghost, run_id, key)):
        raise Violation("13", f"step {key} of run {run_id} is recorded and runs again")
    if execution.dropped:
        raise Violation("34b", f"{process.name} starts step {key} of run {run_id}, which it has dropped")
    durable = max((row.seq for row in ghost.steps[run_id].values() if row.seq is not None), default=0)
    if execution.body.seq > durable:
        raise Violation(
            "A7",
            f"step {key} of run {run_id} starts on resolution {execution.body.seq}, {durable} are durable",
        )
    ghost.attempts[run_id, key].append(now_ms)
    if "clock" in ghost.excused:
        return
    late = (
        stored is not None and stored.status == "retrying" and now_ms + ghost.early_ms < (stored.due_at or 0)
    )
    if (
        late and stored is not None and not optimistic
    ):  # two ticks of one run may meet: one of them writes (B9)
        raise Violation("17c", f"attempt {number} of {key} begins at {now_ms}, it is due at {stored.due_at}")
    if not optimistic:
        _check_holder(ghost, run_id, key, process, now_ms)


def was_seen(ghost: Ghost, run_id: int, key: str) -> bool:
    """Whether a tick had read its run after the step was recorded: two ticks may meet, but each goes by what it read (B9)."""
    task = asyncio.current_task()
    return ghost.resolved_at.get((run_id, key), 0) <= ghost.looked.get(task, -1)


def _check_holder(ghost: Ghost, run_id: int, key: str, process: Any, now_ms: int) -> None:
    claim = ghost.claims.get(run_id)
    if claim is None or not claim.runner:
        return
    if claim.runner not in ghost.held_by(process):
        raise Violation(
            "5", f"{process.name} starts {key} of run {run_id}, which {claim.process} has claimed"
        )
    lease = ghost.runners.get(claim.runner)
    if lease is not None and lease.locked_until < now_ms:
        raise Violation(
            "B4",
            f"{process.name} starts {key} of run {run_id} at {now_ms}; its lease ended at {lease.locked_until}",
        )
