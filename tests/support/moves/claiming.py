"""Moves that create and claim, and that commit boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keepstep.model.plan import (
    Boundary,
    Consumed,
    ContinueAsNew,
    Creation,
    End,
    Finish,
    Hold,
    Park,
    Pause,
    Release,
)
from keepstep.model.records import LogRecord, RunnerRecord
from keepstep.model.status import Status
from keepstep.store import boundaries, claims, clock, held, lock, rescue, runs
from keepstep.store.script import Script
from keepstep_testing.conformance.rows import NOW, run_row
from tests.support.moves.draw import (
    LEASE_MS,
    RUN_IDS,
    RUNNERS,
    WORKFLOWS,
    Draw,
    Place,
    a_change,
    a_run,
    a_task,
    some_steps,
)

ENDS = ("park", "release", "pause", "finish", "again", "again")
STAYS = ("hold", "hold", "hold", "release", *ENDS)


def create(place: Place, draw: Draw) -> Any:
    """Create one or two runs, whose instances may be there."""
    made = [a_run(draw) for _ in range(draw.one(1, 2))]
    creations = [
        Creation(run, a_task(draw, run), tuple(a_change(draw, run.id) for _ in range(draw.one(0, 1))))
        for run in made
    ]
    return lambda: runs.insert_creations("sqlite", creations)


def register(place: Place, draw: Draw) -> Any:
    """Register a runner, unless it is there."""
    record = RunnerRecord(draw.one(*RUNNERS), 1, 0, draw.one("host-1", "host-2"), 7, 0)
    return lambda: claims.register_runner(record, LEASE_MS)


def renew(place: Place, draw: Draw) -> Any:
    """Renew a lease, perhaps under another epoch."""
    runner, epoch = draw.one(*RUNNERS), draw.one(1, 2)
    return lambda: claims.renew(runner, epoch, LEASE_MS)


def claim(place: Place, draw: Draw) -> Any:
    """Claim, perhaps under another epoch."""
    runner, limit, among = draw.one(*RUNNERS), draw.one(1, 2, 5), draw.some(WORKFLOWS)
    known = place.dicts.runner.get(runner)
    epoch = draw.one(1, 1 if known is None else known.epoch)
    return lambda: claims.claim("sqlite", runner, epoch, limit, among)


def look(place: Place, draw: Draw) -> Any:
    """Look at what is due, owned and known."""
    runner, limit, ids = draw.one(*RUNNERS), draw.one(1, 5), draw.some(RUN_IDS)
    among = draw.one(WORKFLOWS, WORKFLOWS[:1])

    def script() -> Script[Any]:
        due = yield from claims.due(limit, among)
        following = yield from claims.next_due(among)
        owned = yield from claims.look_held(runner)
        tasks = yield from claims.read_tasks(ids)
        neighbours = yield from claims.runners_of_host("host-1")
        now = yield from clock.read_now()
        return due, following, owned, tasks, neighbours, now

    return script


def a_boundary(place: Place, draw: Draw, run_id: int, *, ends: Sequence[str], behind: int = 0) -> Boundary:
    """A boundary whose guard mostly holds."""
    task, run = place.dicts.task.get(run_id), place.dicts.run.get(run_id)
    off = draw.one(0, 0, 0, 1)
    end = an_end(place, draw, run_id, draw.one(*ends))
    steps = some_steps(place, draw, run_id, behind)
    taken = zip([event.id for event in place.dicts.event.of(run_id)], steps, strict=False)
    return Boundary(
        run_id=run_id,
        fence=(0 if task is None else task.fence) + off,
        wake_seq=None if isinstance(end, Hold) else (0 if task is None else task.wake_seq),
        version=0 if run is None else run.version,
        at=draw.at(),
        steps=tuple(steps),
        consumed=tuple(Consumed(event_id, step.key) for event_id, step in taken),
        logs=tuple(
            LogRecord(run_id, draw.one(1, 2), "info", draw.one("x", "y"), None, NOW)
            for _ in range(draw.one(0, 1))
        ),
        end=end,
        started_at=draw.one(None, 250),
        changes=tuple(a_change(draw, run_id) for _ in range(draw.one(0, 1))),
    )


def an_end(place: Place, draw: Draw, run_id: int, kind: str) -> End:
    """An end of a boundary; those that need the run only where it is."""
    run = place.dicts.run.get(run_id)
    match kind:
        case "hold":
            return Hold()
        case "park":
            return Park(draw.one(None, draw.at()), draw.one(None, "{}"))
        case "release":
            return Release(draw.at())
        case "pause":
            return Pause()
        case "finish" if run is not None:
            return Finish(
                draw.one(Status.COMPLETE, Status.ERRORED), draw.one(None, "1"), draw.one(None, "{}")
            )
        case _ if run is not None:
            following = run_row(
                id=run_id + 10,
                workflow=run.workflow,
                instance_id=run.instance_id,
                run_number=run.run_number + 1,
            )
            events = tuple(sorted(event.id for event in place.dicts.event.of(run_id)))
            return ContinueAsNew(following, a_task(draw, following), events)
        case _:
            return Pause()


def group(place: Place, draw: Draw) -> Any:
    """Commit boundaries of a runner's, with a creation now and then."""
    runner = draw.one(*RUNNERS)
    mine = [task.run_id for task in place.dicts.task.all() if task.owner == runner] or [1]
    known = place.dicts.runner.get(runner)
    epoch = draw.one(1, 1 if known is None else known.epoch)
    plans = [a_boundary(place, draw, each, ends=STAYS) for each in mine[:2]]
    made = [
        Creation(run, a_task(draw, run))
        for run in [a_run(draw)]
        if run.id not in mine and draw.one(False, True)
    ]
    return lambda: boundaries.commit_group("sqlite", runner, epoch, plans, made)


def leased(place: Place, draw: Draw) -> Any:
    """Commit a boundary in a user's transaction."""
    run_id, epoch = draw.one(*RUN_IDS), draw.one(1, 1, 2)
    task = place.dicts.task.get(run_id)
    runner = draw.one(*RUNNERS) if task is None or task.owner is None else task.owner
    plan = a_boundary(place, draw, run_id, ends=STAYS)
    return lambda: boundaries.commit_leased("sqlite", runner, epoch, plan)


def optimistic(place: Place, draw: Draw) -> Any:
    """Commit a boundary without a lease."""
    place.clock.now += draw.one(0, LEASE_MS + 1)
    now, dicts = place.clock.now, place.dicts
    expired = {each.id for each in dicts.runner.all() if each.locked_until < now}
    left_behind = [each.run_id for each in dicts.task.all() if each.owner in expired]
    plan = a_boundary(
        place, draw, draw.one(*(left_behind or RUN_IDS)), ends=("release", *ENDS), behind=draw.one(0, 1)
    )
    return lambda: boundaries.commit_optimistic("sqlite", plan)


def give_back(place: Place, draw: Draw) -> Any:
    """Read held runs, give them back, look at one that is due."""
    runner, ids, run_id = draw.one(*RUNNERS), draw.some(RUN_IDS), draw.one(*RUN_IDS)

    def script() -> Script[Any]:
        yield from lock.take_write_lock("sqlite")
        before = yield from held.read_held("sqlite", ids)
        yield from held.give_back(runner, ids)
        return before, (yield from held.due_run(run_id))

    return script


def free(place: Place, draw: Draw) -> Any:
    """Rescue, or drain a runner."""
    limit, runner, epoch = draw.one(1, 10), draw.one(*RUNNERS), draw.one(1, 2)
    return draw.one(
        lambda: rescue.rescue("sqlite", limit),
        lambda: rescue.rescue_process("sqlite", [runner], limit),
        lambda: rescue.release_runner("sqlite", runner, epoch),
    )
