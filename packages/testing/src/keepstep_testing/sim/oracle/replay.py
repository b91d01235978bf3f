"""Replay: what is stored leads back to where it was stored, under today's code and the next (invariants 14, 44, E10)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from keepstep.engine.execution import Execution
from keepstep.loop.body import Body
from keepstep.model.commands import BodyOutcome, Cancelled, Continued, Raised, Returned
from keepstep.model.limits import Limits
from keepstep.model.plan import Boundary, Park, Pause, Release
from keepstep.model.recorded import read_error
from keepstep_testing.sim.coins import COINS
from keepstep_testing.sim.oracle.ghost import Commit, Ghost
from keepstep_testing.sim.oracle.parked import parked
from keepstep_testing.sim.oracle.rules import Violation, rule
from keepstep_testing.sim.oracle.steps import was_seen
from keepstep_testing.sim.play import DEFINITIONS

if TYPE_CHECKING:
    from keepstep_testing.sim.stage import Stage

LIMITS = Limits()


@rule("14", "S", "Replay of what is stored comes to the same frontier, and writes nothing", "task")
def replay_is_a_fixed_point(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Whenever a run is parked: whoever loads it next would park it as it is parked."""
    for run, task, _ in parked(ghost, commit):
        steered = run.pause_requested or run.cancel_reason is not None
        if steered or ghost.is_due(task.run_at, commit.now_ms) or task.owner is not None:
            continue
        steps = _after(ghost.steps[run.id], commit, "run_step", run.id, "key")
        events = _after(ghost.events, commit, "event", run.id, "id")
        waiting = sorted(each for each in events.values() if each.run_id == run.id and not each.consumed_by)
        boundary = _planned(task, run, list(steps.values()), waiting, commit.now_ms)
        if boundary is None or not isinstance(boundary.end, Park) or boundary.end.run_at != task.run_at:
            yield f"run {run.id} is parked until {task.run_at}; its replay comes to {boundary}"
        elif boundary.steps or boundary.consumed or boundary.logs:
            yield f"run {run.id} is parked; its replay would write {boundary.steps or boundary.consumed or boundary.logs}"


def _after(rows: dict[Any, Any], commit: Commit, table: str, run_id: int, key: str) -> dict[Any, Any]:
    """A run's rows of a table as they are after a commit."""
    found = dict(rows)
    for _, old, new in commit.of[table]:
        if (new or old).run_id == run_id:
            found.pop(getattr(new or old, key), None)
            if new is not None:
                found[getattr(new, key)] = new
    return found


def _planned(task: Any, run: Any, steps: list[Any], events: list[Any], now: int) -> Boundary | None:
    body = Body(DEFINITIONS["current"], run, steps, LIMITS)
    execution = Execution(task, run, body, steps, events)
    try:
        execution.begin()
        execution.settle(now)
        return execution.boundary(now, next_run_id=0)
    finally:
        body.close()


@rule("44", "F", "What was recorded replays under the next version of the code to the same end")
def histories_replay(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """Of every run that ended by itself."""
    for run in ghost.runs.values():
        stopped = json.loads(run.error or "{}").get("code") in {"RUNNER_CRASH_LOOP", "NONDETERMINISM"}
        if run.status not in {"complete", "errored", "cancelled"} or stopped:
            continue
        body = Body(DEFINITIONS["newer"], run, list(ghost.steps[run.id].values()), LIMITS)
        try:
            outcome = body.start().outcome
        finally:
            body.close()
        if not _same_end(run, outcome):
            yield f"run {run.id} ({run.instance_id}) is {run.status}; its replay comes to {outcome}"


def _same_end(run: Any, outcome: BodyOutcome | None) -> bool:
    match outcome:
        case Returned(
            output
        ):  # a cancellation that was committed first wins, whatever the body returned (E7)
            return run.output == output or run.status == "cancelled"
        case Raised(error):
            return run.error is not None and read_error(run.error).name == error.name
        case Cancelled():
            return run.status == "cancelled"
        case Continued():
            return run.status == "complete"
        case _:
            return False


@rule(
    "E10",
    "S",
    "A body that contradicts its records does nothing more: its run rests",
    "run",
    "task",
    "run_step",
)
def contradictions_rest(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Parked with the difference, or given back; no step of it is written, and it does not end."""
    for boundary in commit.boundaries:
        if id(boundary) not in ghost.contradicted:
            continue
        parks = isinstance(boundary.end, Park) and "NONDETERMINISM" in (boundary.end.error or "")
        if boundary.steps or not (parks or isinstance(boundary.end, Pause | Release)):
            yield f"run {boundary.run_id} went on ({boundary.end}) although its body contradicts its records"


def on_planned(ghost: Ghost, execution: Any, boundary: Any) -> None:
    """Remember what was planned of a body that contradicts its records."""
    if COINS.contradicted(execution.body) is not None:
        ghost.contradicted[id(boundary)] = boundary


def on_attempt(ghost: Ghost, execution: Any, key: str, *, optimistic: bool) -> None:
    """What must hold of an attempt's body.

    Raises:
        Violation: it contradicts its records, and starts a step all the same.
    """
    recorded = COINS.contradicted(execution.body)
    if recorded is not None and (not optimistic or was_seen(ghost, execution.run.id, recorded)):
        raise Violation("E10", f"{key} of run {execution.run.id} begins, and its body contradicts {recorded}")
