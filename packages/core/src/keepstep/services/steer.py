"""Operations on an instance's newest run: pause, resume, cancel, terminate, restart, retry (E3–E7).

Each is one script with one shape: read the run and its task under a lock, let the kernel plan, write the plan. Where
a plan is refused because the run has moved on, the run is read again. What is allowed when is the kernel's business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from keepstep.errors import InstanceStateError, StoreConflictError
from keepstep.kernel import again, lifecycle
from keepstep.kernel.changes import NOTHING, Wanted, tell_steering
from keepstep.kernel.refusals import subject
from keepstep.model.plan import Steering
from keepstep.model.recorded import storable
from keepstep.model.records import StepRecord
from keepstep.model.status import Status
from keepstep.services.create import NewInstance, create
from keepstep.services.target import Done, Target, not_found
from keepstep.store.runs import Snapshot, apply_steering, load_steps, read_instance
from keepstep.store.script import Script
from keepstep.store.statement import DialectName

READS_MAX = 16
"""How often a run that others keep changing is read again. The lock makes one read enough; this is the bound."""

Plan = Callable[[Snapshot], Steering | None]


def pause(dialect: DialectName, target: Target, wanted: Wanted = NOTHING) -> Script[Done[None]]:
    """Pause the instance (E3).

    Raises:
        InstanceNotFoundError: there is no such instance.
        InstanceTerminalError: it has ended.
    """
    return _steer(
        dialect, target, "paused", wanted, lambda now: lifecycle.plan_pause(now.run, now.task, now.now)
    )


def resume(dialect: DialectName, target: Target, wanted: Wanted = NOTHING) -> Script[Done[None]]:
    """Resume a paused instance, or withdraw a pending pause; else nothing (E4).

    Raises:
        InstanceNotFoundError: there is no such instance.
    """
    return _steer(
        dialect, target, "resumed", wanted, lambda now: lifecycle.plan_resume(now.run, now.task, now.now)
    )


def cancel(
    dialect: DialectName, target: Target, reason: str | None, wanted: Wanted = NOTHING
) -> Script[Done[None]]:
    """Ask the body to end (E5); a repeat is a no-op.

    Raises:
        InstanceNotFoundError: there is no such instance.
        InstanceTerminalError: it has ended.
    """
    stored = None if reason is None else storable(reason)
    return _steer(
        dialect,
        target,
        "cancelled",
        wanted,
        lambda now: lifecycle.plan_cancel(now.run, now.task, stored, now.now),
    )


def terminate(
    dialect: DialectName, target: Target, reason: str | None, wanted: Wanted = NOTHING
) -> Script[Done[None]]:
    """End the instance at once, for good (E5).

    Raises:
        InstanceNotFoundError: there is no such instance.
        InstanceTerminalError: it has ended already.
    """
    return _steer(
        dialect,
        target,
        "terminated",
        wanted,
        lambda now: lifecycle.plan_terminate(now.run, now.task, reason, now.now),
    )


def restart(
    dialect: DialectName,
    target: Target,
    new_run_id: int,
    params: str | None,
    from_step: str | None,
    *,
    wanted: Wanted = NOTHING,
) -> Script[Done[None]]:
    """Begin the instance's next run (E6).

    Args:
        dialect: the database's.
        target: the instance.
        new_run_id: a fresh internal key.
        params: encoded params of the next run; None = the same again.
        from_step: the first step to execute again; None = from the beginning.
        wanted: the kinds of changes that are published (F3).

    Raises:
        InstanceNotFoundError: there is no such instance.
        InvalidInputError: the newest run has no step ``from_step``.
    """
    if from_step is None:
        return _steer(
            dialect,
            target,
            "restarted",
            wanted,
            lambda now: again.plan_restart(now.run, now.task, new_run_id, params, now.now),
        )
    return _steer_by_steps(
        dialect,
        target,
        "restarted",
        wanted,
        lambda now, steps: again.plan_restart_from(now.run, now.task, new_run_id, steps, from_step, now.now),
    )


def retry_failed_step(dialect: DialectName, target: Target, wanted: Wanted = NOTHING) -> Script[Done[None]]:
    """Re-open the failed step of an errored run in place (E6).

    Raises:
        InstanceNotFoundError: there is no such instance.
        InstanceStateError: it is not ``errored`` by a step.
    """
    return _steer_by_steps(
        dialect,
        target,
        "retried",
        wanted,
        lambda now, steps: again.plan_retry_failed_step(now.run, now.task, steps, now.now),
    )


def restart_or_create(
    dialect: DialectName,
    target: Target,
    run_id: int,
    *,
    params: str | None,
    first: Callable[[], NewInstance],
    if_status_in: Collection[Status],
    if_run: int | None,
    wanted: Wanted = NOTHING,
) -> Script[Done[None]]:
    """Create the instance, or begin its next run if it stands as asked; decided and done in one transaction (E6).

    Args:
        dialect: the database's.
        target: the instance.
        run_id: a fresh internal key.
        params: encoded params of a next run; None = the same again.
        first: the first run, asked for if there is no instance.
        if_status_in: statuses in which an instance that exists is restarted.
        if_run: the run number that an instance that exists must have; None = any.
        wanted: the kinds of changes that are published (F3); so below.

    Raises:
        InstanceStateError: the instance is in another status or run; nothing was written.
    """
    for _ in range(READS_MAX):
        now = yield from read_instance(*target, lock=True)
        if now is None:
            created = yield from create(dialect, [first()])
            if created.answer:
                return Done(None, created.touched)
            continue
        _check_restartable(now, if_status_in, if_run)
        planned = again.plan_restart(now.run, now.task, run_id, params, now.now)
        steering = tell_steering(wanted, now.run, planned)
        if (yield from apply_steering(dialect, steering)):
            return Done(None, touched_by(steering))
    raise keeps_moving(target)


def _check_restartable(now: Snapshot, if_status_in: Collection[Status], if_run: int | None) -> None:
    run = now.run
    if if_run is not None and run.run_number != if_run:
        raise InstanceStateError(
            f"{subject(run)} is in run {run.run_number}, not in run {if_run}: it was not restarted; "
            "read it again, then decide"
        )
    if run.status not in if_status_in:
        wanted = ", ".join(status.value for status in if_status_in) or "no status"
        raise InstanceStateError(
            f"{subject(run)} is {run.status} and was to be restarted only when {wanted}: it was not; "
            "restart() does so in any status"
        )


def _steer(dialect: DialectName, target: Target, done: str, wanted: Wanted, plan: Plan) -> Script[Done[None]]:
    for _ in range(READS_MAX):
        now = yield from read_instance(*target, lock=True)
        if now is None:
            raise not_found(target, f"it cannot be {done}")
        steering = plan(now)
        if steering is None:
            return Done(None)
        steering = tell_steering(wanted, now.run, steering)
        if (yield from apply_steering(dialect, steering)):
            return Done(None, touched_by(steering))
    raise keeps_moving(target)


def _steer_by_steps(
    dialect: DialectName,
    target: Target,
    done: str,
    wanted: Wanted,
    plan: Callable[[Snapshot, Sequence[StepRecord]], Steering],
) -> Script[Done[None]]:
    for _ in range(READS_MAX):
        now = yield from read_instance(*target, lock=True)
        if now is None:
            raise not_found(target, f"it cannot be {done}")
        steps = yield from load_steps(dialect, [now.run.id])
        steering = tell_steering(wanted, now.run, plan(now, steps.get(now.run.id, [])))
        if (yield from apply_steering(dialect, steering)):
            return Done(None, touched_by(steering))
    raise keeps_moving(target)


def touched_by(steering: Steering) -> tuple[int, ...]:
    """Name the runs that a steering changes or begins."""
    begun = () if steering.creation is None else (steering.creation.run.id,)
    return (steering.run_id, *begun)


def keeps_moving(target: Target) -> StoreConflictError:
    """Build the error for a run that changes faster than it can be read."""
    return StoreConflictError(
        f"{target} was changed by others {READS_MAX} times while it was being changed; nothing was written, try again"
    )
