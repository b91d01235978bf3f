"""Moves that steer runs from outside, and that read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keepstep.model.plan import Creation, Steering
from keepstep.model.records import StepRecord
from keepstep.model.status import StepStatus
from keepstep.store import clock, histories, listings, migrations, runs
from keepstep.store.script import Call, Script
from keepstep.store.tables import PREFIX
from keepstep_testing.conformance.rows import event_row, run_row, step_row
from keepstep_testing.whole import ALL_ROWS
from tests.support.moves.draw import (
    INSTANCES,
    KEYS,
    LEASE_MS,
    MANY,
    RUN_IDS,
    WORKFLOWS,
    Draw,
    Place,
    a_change,
    a_task,
)


def steer(place: Place, draw: Draw) -> Any:
    """Steer a run from outside, or restart it."""
    consumed = [each.run_id for each in place.dicts.event.all() if each.consumed_by is not None]
    run_id = draw.one(*RUN_IDS, *consumed)
    run = place.dicts.run.get(run_id)
    if run is None:
        return clock.read_now
    restarts = draw.one(False, False, False, True)
    following = run_row(
        id=run_id + 20, workflow=run.workflow, instance_id=run.instance_id, run_number=run.run_number + 1
    )
    changed = run._replace(
        latest=not restarts,
        version=run.version + 1,
        cancel_reason=draw.one(None, "why"),
        pause_requested=draw.one(False, True),
    )
    event_id = draw.one(None, None, None, "e-1")
    an_event = event_row(0, run_id=run_id, type=draw.one("go", "stop"), event_id=event_id)
    steering = Steering(
        run_id,
        run.version + draw.one(0, 0, 0, 1),
        run=changed if restarts else draw.one(None, changed),
        task=draw.one(None, a_task(draw, run)),
        drop_task=restarts,
        creation=Creation(following, a_task(draw, following)) if restarts else None,
        steps=tuple(
            step_row(key, None, StepStatus.WAITING, run_id=run_id + 20) for key in KEYS[:1] if restarts
        ),
        drop_from_seq=draw.one(None, 1, 2),
        event=draw.one(None, an_event, an_event),
        changes=tuple(a_change(draw, run_id) for _ in range(draw.one(0, 1))),
    )
    return lambda: runs.apply_steering("sqlite", steering)


def read(place: Place, draw: Draw) -> Any:
    """Read runs, steps and events, one way after the other."""
    workflow, instance_id, run_id = draw.one(*WORKFLOWS), draw.one(*INSTANCES), draw.one(*RUN_IDS)
    lock_it, number, ids = draw.one(False, True), draw.one(1, 2), draw.some(RUN_IDS)
    status, after = draw.one(None, "active", "waiting"), draw.one(None, (200, 2), (100, 3))

    def script() -> Script[Any]:
        return [
            (yield from runs.read_instance(workflow, instance_id, lock=lock_it)),
            (yield from runs.read_run(workflow, instance_id, number)),
            (yield from runs.existing_ids(workflow, INSTANCES)),
            (yield from listings.list_runs(workflow, status, MANY, after)),
            {of: _told(each, "seq") for of, each in (yield from runs.load_steps("sqlite", ids)).items()},
            (yield from runs.load_events("sqlite", ids)),
            (yield from runs.find_event(run_id, "e-1")),
            (yield from runs.waits_for(run_id, "go")),
            _told((yield from runs.open_steps(run_id)), "started_at"),
            (yield from runs.holder(run_id)),
            (yield from migrations.check()),
        ]

    return script


def _told(steps: Sequence[StepRecord], order: str) -> tuple[list[Any], list[StepRecord]]:
    """What steps are ordered by, in their order; and the steps by key, as what is alike in that has no order."""
    return [getattr(each, order) for each in steps], sorted(steps, key=lambda each: each.key)


def history(place: Place, draw: Draw) -> Any:
    """Read pages of histories."""
    falling = draw.one(False, True)
    after = histories.BEYOND if falling else draw.one(0, 1)
    key, seen = draw.one(None, KEYS[0], KEYS[2]), draw.one(0, 1)

    def script() -> Script[Any]:
        found: list[Any] = []
        for run_id in RUN_IDS:
            found += [
                (yield from histories.history_steps(run_id, after, MANY, falling=falling)),
                (yield from histories.unseen_steps(run_id, seen, key, MANY, falling=falling)),
                (yield from histories.history_events(run_id, after, MANY, falling=falling)),
                (yield from histories.history_logs(run_id, after, MANY, falling=falling)),
            ]
        return found

    return script


def pass_time(place: Place, draw: Draw) -> Any:
    """Let time pass."""
    place.clock.now += draw.one(1_000, LEASE_MS + 1)
    return clock.read_now


def read_all(place: Place, draw: Draw) -> Any:
    """Read a whole table."""
    statement = draw.one(*(each for name, each in ALL_ROWS.items() if name != f"{PREFIX}migration"))

    def script() -> Script[Any]:
        return [tuple(row) for row in (yield Call(statement))]

    return script
