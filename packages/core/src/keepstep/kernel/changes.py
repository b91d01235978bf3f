"""Which change events a plan brings with it (F3). They are written with the plan's own rows, or not at all (B1).

A change is named by its run, the version of the run's row and the ``seq`` of the resolution that it tells of (0 for
the run's own life): a boundary that is written twice, because its first answer was lost, writes it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from keepstep.model.change import ChangeKind
from keepstep.model.ids import parse_key
from keepstep.model.plan import Boundary, ContinueAsNew, Creation, Finish, Pause, Steering
from keepstep.model.records import ChangeRecord, RunRecord, StepRecord
from keepstep.model.status import TERMINAL, Status, StepKind, StepStatus

Wanted = frozenset[ChangeKind]
NOTHING: Wanted = frozenset()

_ENDED: Mapping[str, ChangeKind] = {
    Status.COMPLETE: ChangeKind.COMPLETED,
    Status.ERRORED: ChangeKind.ERRORED,
    Status.TERMINATED: ChangeKind.TERMINATED,
    Status.CANCELLED: ChangeKind.CANCELLED,
}
_RESOLVED: Mapping[str, ChangeKind] = {
    StepKind.DO: ChangeKind.STEP_COMPLETED,
    StepKind.TRANSACTION: ChangeKind.STEP_COMPLETED,
    StepKind.WAIT: ChangeKind.EVENT_RECEIVED,
    StepKind.SLEEP: ChangeKind.TIMER_FIRED,
    StepKind.TIMER: ChangeKind.TIMER_FIRED,
}


def tell_creation(wanted: Wanted, creation: Creation) -> Creation:
    """Add what an instance's first run brings."""
    if ChangeKind.CREATED not in wanted:
        return creation
    return creation._replace(changes=(_of_run(creation.run, ChangeKind.CREATED),))


def tell_boundary(wanted: Wanted, run: RunRecord, boundary: Boundary) -> Boundary:
    """Add what a boundary brings: resolutions in their order, then what becomes of the run.

    Args:
        wanted: the kinds that are subscribed.
        run: the run's row as read.
        boundary: what is to be written.
    """
    found = (*_resolutions(run, boundary), *_ends(run, boundary))
    told = tuple(each for each in found if each.kind in wanted)
    return boundary._replace(changes=told) if told else boundary


def tell_steering(wanted: Wanted, run: RunRecord, steering: Steering) -> Steering:
    """Add what an operation from outside brings.

    Args:
        wanted: the kinds that are subscribed.
        run: the run's row as read.
        steering: what is to be written.
    """
    told = tuple(each for each in _steered(run, steering) if each.kind in wanted)
    return replace(steering, changes=told) if told else steering


def _resolutions(run: RunRecord, boundary: Boundary) -> Iterator[ChangeRecord]:
    for step in sorted((each for each in boundary.steps if each.seq is not None), key=_seq):
        kind = _RESOLVED.get(parse_key(step.key).kind)
        if kind is None or step.status != StepStatus.COMPLETED:
            continue
        told = _change(run, kind, boundary.version, boundary.at if step.at is None else step.at)
        yield told._replace(
            seq=_seq(step), step_key=step.key, attempt=step.attempt or None, event_type=step.event_type
        )


def _seq(step: StepRecord) -> int:
    assert step.seq is not None
    return step.seq


def _ends(run: RunRecord, boundary: Boundary) -> Iterator[ChangeRecord]:
    end, at, version = boundary.end, boundary.at, boundary.version + 1
    match end:
        case Finish(status):
            yield _end_of(run, _ENDED[status], version, at)
        case Pause():
            yield _change(run, ChangeKind.PAUSED, version, at)
        case ContinueAsNew(following):
            yield _of_run(following, ChangeKind.RESTARTED)
            if following.status == Status.PAUSED:
                yield _of_run(following, ChangeKind.PAUSED)
        case _:
            return


def _steered(run: RunRecord, steering: Steering) -> Iterator[ChangeRecord]:
    after = steering.run
    if after is not None and after.status != run.status:
        if after.status in TERMINAL:
            yield _end_of(run, _ENDED[after.status], after.version, after.updated_at)
        elif after.status == Status.PAUSED:
            yield _change(run, ChangeKind.PAUSED, after.version, after.updated_at)
        elif run.status == Status.PAUSED or run.status in TERMINAL:
            yield _change(run, ChangeKind.RESUMED, after.version, after.updated_at)
    if steering.creation is not None:
        yield _of_run(steering.creation.run, ChangeKind.RESTARTED)


def _of_run(run: RunRecord, kind: ChangeKind) -> ChangeRecord:
    """What a run's first row brings; ``updated_at`` is its instant, for ``created_at`` is the instance's."""
    return _change(run, kind, run.version, run.updated_at)


def _end_of(run: RunRecord, kind: ChangeKind, version: int, at: int) -> ChangeRecord:
    started = at if run.started_at is None else run.started_at
    return _change(run, kind, version, at)._replace(duration_ms=max(0, at - started))


def _change(run: RunRecord, kind: ChangeKind, version: int, at: int) -> ChangeRecord:
    return ChangeRecord(
        run_id=run.id,
        version=version,
        seq=0,
        kind=kind.value,
        workflow=run.workflow,
        instance_id=run.instance_id,
        run_number=run.run_number,
        at=at,
        step_key=None,
        attempt=None,
        event_type=None,
        duration_ms=None,
    )
