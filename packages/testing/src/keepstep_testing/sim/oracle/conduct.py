"""How the engine behaves beside what it stores: it never fails itself, starts nothing too soon, moves no beginning (A3, B8, C4, C5, E3)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from keepstep_testing.sim.oracle.ghost import Commit, Ghost
from keepstep_testing.sim.oracle.rules import Violation, rule

if TYPE_CHECKING:
    from keepstep_testing.sim.oracle.oracle import Oracle

RETRY_DELAY_MS = 2_000
"""Of the play's steps."""
_FIXED = ("workflow", "instance_id", "run_number", "workflow_version", "created_at", "params")


class Alarm(logging.Handler):
    """Takes what the engine logs as its own failure for a violation: trouble of the world is a warning, no error (C5).

    Args:
        oracle: told of it.
    """

    def __init__(self, oracle: Oracle) -> None:
        super().__init__(logging.ERROR)
        self._oracle = oracle

    def emit(self, record: logging.LogRecord) -> None:
        """The engine has failed; what a body complains of by itself is the body's affair."""
        if self._oracle.violation is None and record.name != "keepstep.loop":
            cause = "" if record.exc_info is None else f": {record.exc_info[1]!r}"
            self._oracle.violation = Violation("C5", f"{record.getMessage()}{cause}")


@rule("A3", "S", "What a run began with never changes, nor when it began", "run")
def beginnings_stay(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Loop time of every replay counts from there."""
    for _, old, new in commit.of["run"]:
        if old is None or new is None:
            continue
        if old.started_at not in {None, new.started_at}:
            yield f"{commit.label} moved the start of run {new.id} from {old.started_at} to {new.started_at}"
        for name in _FIXED:
            if getattr(old, name) != getattr(new, name):
                yield f"{commit.label} changed {name} of run {new.id}"


@rule("17e", "S", "The next attempt is due no sooner than the policy says", "run_step")
def rests_are_long_enough(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Counted from the begin of the attempt that failed, which is before its end (C4).

    Where a clock runs faster than clocks do, an answer of the database sets a machine's estimate back in between.
    """
    if "clock" in ghost.excused or ghost.early_ms:
        return
    for _, _, new in commit.of["run_step"]:
        if new is not None and new.status == "retrying":
            if new.due_at < new.started_at + RETRY_DELAY_MS:
                yield f"attempt {new.attempt} of {new.key} began at {new.started_at}, the next is due at {new.due_at}"


@rule("E3b", "S", "A pause takes effect only when nothing of the run executes", "run")
def pauses_wait_for_steps(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """So that no result is lost by it."""
    paused = {new.id for _, _, new in commit.of["run"] if new is not None and new.status == "paused"}
    if commit.label != "commit" or not paused:
        return
    for execution, _, process in ghost.held.values():
        mine = process is commit.process and execution.run.id in paused
        if mine and execution.executing and not execution.dropped:
            yield f"run {execution.run.id} is paused by its holder while a step of it executes"


@rule("46", "S", "Who starts before the schema is migrated writes nothing", "runner", "run", "task", "event")
def misfits_write_nothing(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """It refuses, and goes on once the schema is what its code needs."""
    if commit.process in ghost.misfits:
        yield f"{commit.process.name} started on a schema that is not its code's, and wrote ({commit.label})"


def on_attempt(ghost: Ghost, execution: Any, key: str, *, optimistic: bool) -> None:
    """What must hold when an attempt begins.

    Raises:
        Violation: it does not.
    """
    if execution.run.cancel_reason is not None:  # the play has no cleanup code that would start steps
        raise Violation(
            "34c", f"{key} of run {execution.run.id} begins although it is cancelled, as its runner knows"
        )
    if optimistic:  # two ticks of one run may meet: others may have gone on since this one read it (B9)
        return
    if execution.run.pause_requested:
        raise Violation(
            "E3c", f"{key} of run {execution.run.id} begins although a pause was asked for, as is known"
        )
    attempt = execution.attempts.get(key)
    stored = ghost.steps[execution.run.id].get(key)
    if (
        attempt is not None
        and attempt.command.journal_intent
        and (stored is None or stored.status != "intent")
    ):
        raise Violation("B8", f"{key} of run {execution.run.id} begins, and its intent is not stored")
