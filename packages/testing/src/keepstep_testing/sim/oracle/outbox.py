"""Hooks: the outbox's rows are written with what they belong to, and delivered (invariants 27 to 29)."""

from __future__ import annotations

from collections.abc import Iterator

from keepstep_testing.sim.oracle.ghost import Commit, Ghost
from keepstep_testing.sim.oracle.rules import rule

FINISHED = frozenset({"delivered", "dead", "merged"})


@rule("27", "S", "A hook's row exists exactly if the commit exists that triggered it", "hook", "run_step")
def hooks_come_with_their_step(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """In the play, hooks are triggered by steps only: row and result in one transaction (C8)."""
    born = [new for _, old, new in commit.of["hook"] if old is None]
    if born and not any(new is not None and new.seq is not None for _, _, new in commit.of["run_step"]):
        yield f"hooks {[each.id for each in born]} were written without the step that triggered them"


@rule("28", "S", "A hook is marked delivered only after a delivery has ended", "hook")
def marks_follow_deliveries(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Deliveries are counted by the handlers."""
    for _, _old, new in commit.of["hook"]:
        if new is not None and new.status == "delivered" and new.id not in ghost.delivered:
            yield f"hook {new.id} is marked delivered, and no handler has returned"


@rule(
    "29",
    "S",
    "A hook's attempt and fence advance by one with each claim, and its end is written once",
    "hook",
)
def claims_of_hooks_count(ghost: Ghost, commit: Commit) -> Iterator[str]:
    """Two dispatchers never both mark it."""
    for _, old, new in commit.of["hook"]:
        if old is None or new is None:
            continue
        if old.status in FINISHED:
            yield f"{commit.label} changed hook {old.id}, which is {old.status}"
        if commit.label == "claim_hooks" and (new.attempt, new.fence) != (old.attempt + 1, old.fence + 1):
            yield f"a claim moved hook {old.id} from attempt {old.attempt}, fence {old.fence} to {new.attempt}, {new.fence}"
        if new.fence < old.fence or new.attempt < old.attempt - 1:
            yield f"{commit.label} set hook {old.id} back"
