"""New runs: the first of an instance, and the next one after a restart or ``continue_as_new`` (E2, E6, C10)."""

from __future__ import annotations

from keepstep.model.plan import Creation
from keepstep.model.records import RunRecord, TaskRecord
from keepstep.model.status import Priority, Status


def plan_create(  # noqa: PLR0917 - all that the rows hold
    workflow: str,
    version: int,
    instance_id: str,
    run_id: int,
    params: str | None,
    now: int,
    owner: int | None = None,
) -> Creation:
    """Plan an instance's first run, due now.

    Args:
        workflow: registered name.
        version: the workflow's version, which the instance keeps (E10).
        instance_id: unique per workflow; an id that exists makes the creation lose when it is written (E2).
        run_id: a fresh internal key.
        params: encoded params.
        now: database time, ms.
        owner: the runner that creates and claims the run in one commit (eager start), or None.
    """
    run = RunRecord(
        id=run_id,
        workflow=workflow,
        instance_id=instance_id,
        run_number=1,
        latest=True,
        workflow_version=version,
        status=Status.ACTIVE.value,
        version=1,
        pause_requested=False,
        cancel_reason=None,
        created_at=now,
        started_at=None if owner is None else now,
        updated_at=now,
        completed_at=None,
        params=params,
        output=None,
        error=None,
    )
    return Creation(run, new_task(run, now, owner))


def unclaimed(creation: Creation) -> Creation:
    """The same run, left to whoever claims it."""
    run, task, changes = creation
    return Creation(run._replace(started_at=None), task._replace(owner=None, fence=0), changes)


def next_run(run: RunRecord, run_id: int, params: str | None, now: int) -> Creation:
    """Plan the run that follows ``run``: same instance and version, nothing inherited but the params given here.

    ``created_at`` is carried over: it tells when the instance was created, which bodies read as the event's
    timestamp and which listings sort by. A pause or cancellation of the old run does not reach the new one.
    """
    fresh = plan_create(run.workflow, run.workflow_version, run.instance_id, run_id, params, now)
    return fresh._replace(run=fresh.run._replace(run_number=run.run_number + 1, created_at=run.created_at))


def new_task(run: RunRecord, now: int, owner: int | None = None) -> TaskRecord:
    """Return the scheduling row of a new run, due now, behind resuming work (B2); ``owner`` = who has claimed it."""
    return TaskRecord(
        run_id=run.id,
        workflow=run.workflow,
        priority=Priority.NEW,
        run_at=now,
        owner=owner,
        fence=0 if owner is None else 1,
        wake_seq=0,
        takeovers=0,
        seen_seq=0,
    )
