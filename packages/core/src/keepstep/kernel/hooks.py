"""Decisions about hooks: what follows an attempt, who gets free places, what may be requeued (F1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keepstep.errors import HookStateError
from keepstep.model.facts import AttemptError
from keepstep.model.hooks import Again, Dead, Delivered, HookOutcome
from keepstep.model.recorded import error_text
from keepstep.model.records import HookRecord
from keepstep.model.retry import Retry
from keepstep.model.status import HookStatus


def plan_outcome(
    row: HookRecord, retry: Retry, error: AttemptError | None, now: int, draw: float
) -> HookOutcome:
    """Decide what follows an attempt.

    Args:
        row: as claimed; its ``attempt`` is the one that ended.
        retry: the hook's policy.
        error: how the attempt failed; None = it did not.
        now: database time, ms.
        draw: a number in [0, 1), for the jitter.
    """
    if error is None:
        return Delivered()
    text = error_text(error.info)
    final = not error.retryable or not retry.is_retryable(error.type_names)
    if final or row.attempt >= retry.max_attempts:
        return Dead(text)
    return Again(now + retry.delay_ms(row.attempt, error, draw), text)


def used_up(row: HookRecord, retry: Retry) -> Dead | None:
    """Whether a claimed row has had its attempts: those that nobody finished count (F1)."""
    return Dead(None) if row.attempt > retry.max_attempts else None


def share_places(
    names: Sequence[str], busy: Mapping[str, int], most: Mapping[str, int], free: int
) -> dict[str, int]:
    """Share free places among the hooks that may have more, so that a slow one never takes all (defect 10).

    Args:
        names: the hooks.
        busy: how many deliveries of each are under way.
        most: how many each may have.
        free: how many places there are.

    Returns:
        How many of each may be claimed; hooks with nothing are left out. The sum is ``free`` at most.
    """
    shares: dict[str, int] = {}
    hungry = [name for name in names if busy.get(name, 0) < most[name]]
    while hungry and free > 0:
        each = max(1, free // len(hungry))
        for name in list(hungry):
            room = most[name] - busy.get(name, 0) - shares.get(name, 0)
            given = min(each, room, free)
            shares[name] = shares.get(name, 0) + given
            free -= given
            if given == room:
                hungry.remove(name)
    return {name: share for name, share in shares.items() if share}


def check_requeue(row: HookRecord) -> None:
    """Refuse to requeue a hook that is being delivered just now.

    Raises:
        HookStateError: it is.
    """
    if row.status == HookStatus.DELIVERING:
        raise HookStateError(
            f"hook {row.name!r} row {row.id} is being delivered, attempt {row.attempt}: it cannot be requeued; "
            "wait for the outcome, or for the end of the delivery's lease"
        )
