"""What must hold when everything has ended, and that it ends at all (invariants 7, 15 to 18, 20, 22, 25, 32, 38 to 41)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from keepstep_testing.sim.oracle.ghost import TERMINAL, Ghost
from keepstep_testing.sim.oracle.model import Model, NotRecorded
from keepstep_testing.sim.oracle.rules import rule

if TYPE_CHECKING:
    from keepstep_testing.sim.stage import Stage

COMMITS_MAX = 400
TAKEOVERS_MAX = 5


@rule("38", "L", "Progress: in the fair phase every instance ends in bounded time")
def everything_ends(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """Also with every wake-up lost (40), also what was armed by a process that died right after (25), by whoever is left (7)."""
    for run in ghost.live():
        task = ghost.tasks.get(run.id)
        waits = sorted(row.key for row in ghost.steps[run.id].values() if row.seq is None)
        yield f"run {run.id} ({run.instance_id}) is still {run.status} at {stage.world.clock.now_ms()}; open {waits}; {task}"


@rule("39", "L", "No livelock: a bounded number of commits for each run")
def nothing_spins(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """In the whole schedule."""
    for run_id, count in ghost.commits.items():
        if count > COMMITS_MAX:
            yield f"run {run_id} was written {count} times"


@rule(
    "15", "F", "A run that ended by itself did every step of its path, and returned what the model computes"
)
def results_are_the_models(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """The model is sequential and knows nothing of commits."""
    for run in ghost.runs.values():
        if run.status not in {"complete", "errored"}:
            continue
        error: dict[str, Any] = json.loads(run.error or "{}")
        if error.get("code") == "RUNNER_CRASH_LOOP":
            continue
        model = Model(json.loads(run.params), ghost.steps[run.id])
        try:
            status, value = model.outcome()
        except NotRecorded as missing:
            yield f"run {run.id} ({run.instance_id}) is {run.status} without step {missing}"
            continue
        if status == "again":
            following = [each for each in ghost.runs.values() if each.run_number == run.run_number + 1]
            if run.status != "complete" or not any(each.instance_id == run.instance_id for each in following):
                yield f"run {run.id} should continue as a new one and is {run.status}"
        elif status != run.status:
            yield f"run {run.id} ({run.instance_id}) is {run.status}, the model says {status}: {value}; error {run.error}"
        elif status == "complete" and json.loads(run.output) != value:
            yield f"run {run.id} ({run.instance_id}) returned {run.output}, the model says {value!r}"


@rule("16", "F", "All calls of a step used one idempotency key, and no two steps share one")
def keys_are_stable(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """Over attempts, takeovers, versions of the code (B8)."""
    by_step: dict[tuple[str, int, str], set[str]] = {}
    for effect in stage.outside.effects[stage.outside.lost :]:
        by_step.setdefault((effect.instance, effect.run, effect.step), set()).add(effect.idempotency_key)
    owners: Counter[str] = Counter(key for keys in by_step.values() for key in keys)
    for step, keys in by_step.items():
        if len(keys) > 1:
            yield f"step {step} used {sorted(keys)}"
    for key, count in owners.items():
        if count > 1:
            yield f"{count} steps used the key {key}"


@rule("16b", "F", "What the user's transactions wrote is there exactly once (C8)")
def own_rows_are_there_once(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """Beside the step's row, and nowhere else."""
    found = Counter(stage.world.database.rows("SELECT instance, run, step FROM sim_row"))
    wanted: Counter[tuple[Any, ...]] = Counter()
    for run in ghost.runs.values():
        for row in ghost.steps[run.id].values():
            kept = row.key.startswith("transaction:") and row.status == "completed"
            if kept and not _copied(ghost, run, row):
                wanted[run.instance_id, run.run_number, row.key] += 1
    for name in found.keys() | wanted.keys():
        if found[name] != wanted[name]:
            yield f"{name} is there {found[name]} times, its step is recorded {wanted[name]} times"


def _copied(ghost: Ghost, run: Any, row: Any) -> bool:
    """A restart from a step begins with the records of the run before."""
    return (run.id, row.key) not in ghost.attempts


@rule("27b", "F", "There is one hook's row for each step that triggered one")
def hooks_are_there_once(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """By the step's key, which the payload is."""
    found = Counter(json.loads(hook.payload) for hook in ghost.hooks.values())
    wanted: Counter[str] = Counter()
    for run in ghost.runs.values():
        for row in ghost.steps[run.id].values():
            if (
                row.status == "completed"
                and (row.result or "").endswith(' triggered"')
                and not _copied(ghost, run, row)
            ):
                wanted[f"{run.workflow}/{run.instance_id}/{run.run_number}/{row.key}"] += 1
    for key in found.keys() | wanted.keys():
        if found[key] != wanted[key]:
            yield f"{key} has {found[key]} rows, and is recorded {wanted[key]} times"


@rule("28b", "L", "Every hook is delivered in the fair phase, or its attempts are used up")
def hooks_arrive(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """At least once (F1)."""
    for hook in ghost.undelivered():
        yield f"hook {hook.id} is still {hook.status}, attempt {hook.attempt}, due at {hook.run_at}"


@rule("30", "Q", "A calm run delivers each hook once")
def calm_hooks_arrive_once(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """No redelivery."""
    for key, count in stage.outside.hook_calls.items():
        if count > 1:
            yield f"the hook of {key} was delivered {count} times in a calm run"


@rule("18", "F", "Poison ends as a crash loop, after exactly its budget of takeovers (B7)")
def poison_is_contained(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """And nothing else does."""
    for run in ghost.runs.values():
        error: dict[str, Any] = json.loads(run.error or "{}")
        if (
            run.status == "errored"
            and error.get("code") == "RUNNER_CRASH_LOOP"
            and ghost.takeovers[run.id] < TAKEOVERS_MAX
        ):
            yield f"run {run.id} ended as a crash loop after {ghost.takeovers[run.id]} takeovers"


@rule("32", "F", "Acknowledged is durable: each verb that was answered is seen in the database")
def acknowledged_is_durable(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """Create, event, cancel, terminate, pause, resume, restart."""
    for operation in stage.operations:
        command = operation.command
        if operation.outcome != "ok" or operation.invoked < ghost.lost_at:
            continue
        runs = [each for each in ghost.runs.values() if each.instance_id == command.instance]
        if command.verb == "create" and not runs:
            yield f"create of {command.instance} was acknowledged, and it is not there"
        if command.verb == "event" and not _event_is_there(ghost, runs, command.args):
            yield f"event {command.args} to {command.instance} was acknowledged, and it is not there"
        if command.verb == "restart" and not any(each.run_number > 1 for each in runs):
            yield f"restart of {command.instance} was acknowledged, and it has one run"


def _event_is_there(ghost: Ghost, runs: list[Any], args: list[Any]) -> bool:
    kind, payload, event_id = args
    ids = {each.id for each in runs}
    return any(
        each.run_id in ids
        and each.type == kind
        and json.loads(each.payload) == payload
        and each.event_id == event_id
        for each in ghost.events.values()
    )


@rule("E2", "F", "A batch is created in one commit, or not at all")
def batches_are_whole(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """Whatever its answer was; no other command of the scenario creates these ids."""
    for operation in stage.operations:
        if operation.command.verb != "batch" or operation.invoked < ghost.lost_at:
            continue
        ids = operation.command.args[0]
        born = [ghost.stands[each][0].commit if each in ghost.stands else None for each in ids]
        if len(set(born)) > 1:
            yield f"of the batch {ids} each was there from commit {born} on"
        if operation.outcome == "ok" and (None in born or operation.answer != ids):
            yield f"the batch {ids} answered {operation.answer}, and came with commits {born}"


@rule("20", "F", "Each acknowledged event is stored once; what was refused is not stored")
def events_are_stored_once(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """Counted over all runs of the instance; an answer that was lost may be either."""
    sent: Counter[Any] = Counter()
    doubtful: Counter[Any] = Counter()
    for operation in stage.operations:
        command = operation.command
        if command.verb != "event":
            continue
        name = (command.instance, *command.args)
        lost = operation.invoked < ghost.lost_at
        if operation.outcome == "ok" and not operation.answer and not lost:
            sent[name] += 1
        elif lost or operation.outcome in {None, "unknown"}:
            doubtful[name] += 1
    stored = Counter(
        (ghost.runs[each.run_id].instance_id, each.type, json.loads(each.payload), each.event_id)
        for each in ghost.events.values()
    )
    for name in stored.keys() | sent.keys():
        if not sent[name] <= stored[name] <= sent[name] + doubtful[name]:
            yield f"event {name}: accepted {sent[name]} times, in doubt {doubtful[name]}, stored {stored[name]}"


@rule("41", "F", "Quiescence: no lease, no lock, no owner, no undelivered hook is left of what has ended")
def nothing_is_left(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """After the runners have drained."""
    for task in ghost.tasks.values():
        run = ghost.runs[task.run_id]
        if run.status in TERMINAL:
            yield f"run {run.id} has ended and has a task"
        if task.owner is not None:
            yield f"run {run.id} is owned by {task.owner} after everybody has gone"
    for hook in ghost.hooks.values():
        if hook.status in {"pending", "delivering"}:
            yield f"hook {hook.id} is {hook.status} after everything"


@rule("42", "Q", "A calm run does each effect once, with few claims and few transactions")
def calm_runs_are_cheap(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """No faults, first in first out: the budget of round trips."""
    calls = Counter(
        (effect.instance, effect.run, effect.step, effect.attempt) for effect in stage.outside.effects
    )
    for step, count in calls.items():
        if count > 1:
            yield f"step {step} was called {count} times in a calm run"
    for run in ghost.runs.values():
        parks = sum(1 for row in ghost.steps[run.id].values() if row.due_at is not None)
        retries = sum(max(0, row.attempt - 1) for row in ghost.steps[run.id].values())
        events = sum(1 for each in ghost.events.values() if each.run_id == run.id)
        allowed = 1 + parks + retries + events
        if ghost.claim_count[run.id] > allowed:
            yield f"run {run.id} was claimed {ghost.claim_count[run.id]} times, at most {allowed} were needed"
