"""Linearizability of what clients see of an instance: create, events, ends, restarts, status (invariant 33).

Each answer must fit one moment between its question and its arrival. What the engine does by itself has a known moment:
the commits that the oracle saw. So an answer fits if the instance stood, at some moment of its interval, as the answer
says; and an operation that was acknowledged must have had a commit of its own in its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from keepstep_testing.sim.oracle.ghost import TERMINAL, Ghost, Stand
from keepstep_testing.sim.oracle.rules import rule

if TYPE_CHECKING:
    from keepstep_testing.sim.stage import Operation, Stage


NOT_THERE = Stand(0, "", None, 0, pausing=False, cancelling=False)


def _stands(ghost: Ghost, instance: str, operation: Operation) -> list[Stand]:
    """How the instance stood at the moments of an operation's interval, the one before it included."""
    history = ghost.stands.get(instance, [])
    end = ghost.seen if operation.answered is None else operation.answered
    before = [each for each in history if each.commit <= operation.invoked]
    within = [each for each in history if operation.invoked < each.commit <= end]
    return [before[-1] if before else NOT_THERE, *within]


def _changed(stands: list[Stand], test: Callable[[Stand], bool]) -> bool:
    """Whether the instance came to stand so by a commit of the interval."""
    return any(test(each) for each in stands[1:])


@rule("33", "F", "Linearizability: each answer fits a moment between its question and its arrival")
def answers_fit_a_moment(ghost: Ghost, stage: Stage) -> Iterator[str]:
    """In-doubt operations may be either; their acknowledged neighbours may not."""
    for operation in stage.operations:
        if operation.outcome in {None, "unknown"} or operation.invoked < ghost.lost_at:
            continue
        stands = _stands(ghost, operation.command.instance, operation)
        if not _fits(operation, stands):
            shown = [(each.status, each.run_number, each.label) for each in stands]
            yield f"{operation.command.verb} of {operation.command.instance} answered {operation.outcome} {operation.answer!r}; it stood {shown}"


def _fits(operation: Operation, stands: list[Stand]) -> bool:  # noqa: C901  # one case an answer
    live = any(each.status is not None and each.status not in TERMINAL for each in stands)
    ended = any(each.status in TERMINAL for each in stands)
    missing = any(each.status is None for each in stands)
    match operation.outcome:
        case "INSTANCE_NOT_FOUND":
            return missing
        case "INSTANCE_ALREADY_EXISTS":
            return any(each.status is not None for each in stands)
        case "INSTANCE_TERMINAL":
            return ended
        case "INSTANCE_STATE":
            return True
        case "ok":
            pass
        case _:
            return True
    match operation.command.verb:
        case "status":
            return any(each.status == operation.answer for each in stands)
        case "create":
            return _changed(stands, lambda each: each.run_number == 1)
        case "terminate":
            return _changed(stands, lambda each: each.status == "terminated")
        case "restart":
            return _changed(stands, lambda each: each.run_number > 1)
        case "cancel":
            return any(each.cancelling for each in stands) or _changed(stands, lambda each: each.cancelling)
        case "pause":
            return any(each.pausing or each.status == "paused" for each in stands)
        case "event":
            return live or ended
        case _:
            return True
