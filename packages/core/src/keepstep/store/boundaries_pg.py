"""The group commit on PostgreSQL: many runs' boundaries as one statement, one round trip, one transaction (B1, B3).

Boundaries become arrays here, one per column; ``group_pg.py`` has the statement's text, its locks and its plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from keepstep.model.plan import Boundary, ContinueAsNew, Creation, Finish, Hold, Park, Pause, Release
from keepstep.model.status import Status
from keepstep.store import group_pg
from keepstep.store.group import GroupResult
from keepstep.store.script import Call, Script


def commit_group(
    runner_id: int,
    epoch: int,
    boundaries: Sequence[Boundary],
    creations: Sequence[Creation] = (),
    *,
    wait: bool = True,
) -> Script[GroupResult]:
    """Write a runner's boundaries and creations in one statement; fit for mode ``single`` (B1, B3, B6, E2, E7).

    Args:
        runner_id: who holds the runs.
        epoch: of the lease under which it claimed them.
        boundaries: each is written whole or not at all, whatever becomes of the others; at most one of a run ends
            its tick, after those that hold it.
        creations: new runs; one whose instance exists already is left out.
        wait: whether to wait for rows that another transaction has locked, or to report their runs as busy.

    Raises:
        IntegrityError: a row contradicts what is stored although its guard held: nothing of the group is written.
    """
    holds = [each for each in boundaries if isinstance(each.end, Hold)]
    ends = [each for each in boundaries if not isinstance(each.end, Hold)]
    ordered = holds + ends
    parts = _parts(holds, ends, ordered, creations)
    params: dict[str, Any] = {"runner_id": runner_id, "epoch": epoch}
    alike = frozenset(part for part, rows in parts.items() if _fill(params, part, rows))
    rows = yield Call(group_pg.statement(frozenset(parts), alike, wait), params)
    held, lost, busy, created = rows[0]
    return _result(ordered, held, lost, busy, created)


def _fill(params: dict[str, Any], part: str, rows: Sequence[Sequence[Any]]) -> bool:
    """Add a part's columns to the parameters; tells whether those that may be alike are, and went in as one value."""
    columns = dict(zip(group_pg.names(part), zip(*rows, strict=True), strict=True))
    params.update(columns)
    once = group_pg.alike_names(part)
    alike = bool(once) and all(columns[name].count(columns[name][0]) == len(rows) for name in once)
    if alike:
        params.update((name, columns[name][0]) for name in once)
    return alike


def _result(
    ordered: Sequence[Boundary], held: bool, lost: Sequence[int], busy: Sequence[int], created: Sequence[int]
) -> GroupResult:
    if not held:
        return GroupResult(frozenset(), epoch_held=False)
    unwritten = {ordered[index - 1].run_id for index in chain(lost, busy)}
    kept = {each.run_id for each in ordered} - unwritten
    kept.update(created)
    return GroupResult(frozenset(kept), True, frozenset(ordered[index - 1].run_id for index in busy))


def _parts(
    holds: Sequence[Boundary],
    ends: Sequence[Boundary],
    ordered: Sequence[Boundary],
    creations: Sequence[Creation],
) -> dict[str, Sequence[Sequence[Any]]]:
    """What the group contains, by part: rows in the order of the part's columns. Empty parts are left out."""
    parts: dict[str, Sequence[Sequence[Any]]] = {
        "hold": [(each.run_id, each.fence, each.wake_seq) for each in holds],
        "end": [(each.run_id, each.fence, each.wake_seq, each.version) for each in ends],
        _steps_part(ordered): _steps(ordered),
        "consumed": [
            (index, taken.key, taken.event_id, each.run_id)
            for index, each in enumerate(ordered, 1)
            for taken in each.consumed
        ],
        "log": [(index, *line) for index, each in enumerate(ordered, 1) for line in each.logs],
        "change": [(index, *told) for index, each in enumerate(ordered, 1) for told in each.changes],
        "begun": [told for each in creations for told in each.changes],
        # The order of unique keys is the same in every process: two groups cannot wait for each other.
        "creation": [(*new.run, *new.task[2:]) for new in sorted(creations, key=_instance)],
        **_ended(ends, len(holds) + 1),
    }
    return {part: rows for part, rows in parts.items() if rows}


def _steps(ordered: Sequence[Boundary]) -> Sequence[Sequence[Any]]:
    """Step rows with their boundary's place; of two rows of one step in a boundary the later one counts."""
    rows: list[Sequence[Any]] = []
    for index, each in enumerate(ordered, 1):
        steps = each.steps
        if len(steps) > 1:
            steps = {step.key: step for step in steps}.values()
        rows.extend([(index, *step) for step in steps])
    return rows


def _steps_part(ordered: Sequence[Boundary]) -> str:
    """Whether a run has several boundaries here, which may write one step twice (an attempt's error, then its result)."""
    return "step" if len({each.run_id for each in ordered}) == len(ordered) else "step_again"


def _ended(ends: Sequence[Boundary], first: int) -> dict[str, list[Sequence[Any]]]:
    releases: list[Sequence[Any]] = []
    finishes: list[Sequence[Any]] = []
    following: list[Sequence[Any]] = []
    moved: list[Sequence[Any]] = []
    for index, each in enumerate(ends, first):
        match each.end:
            case Park(run_at, error):
                releases.append((index, each.run_id, Status.WAITING, run_at, True, each.at, error))
            case Release(run_at):
                releases.append((index, each.run_id, Status.ACTIVE, run_at, False, each.at, None))
            case Pause():
                releases.append((index, each.run_id, Status.PAUSED, None, True, each.at, None))
            case Finish(status, output, error):
                finishes.append((index, each.run_id, status, output, error, each.at, True))
            case ContinueAsNew(run, task, events):
                moved.extend((index, event, run.id) for event in events)
                finishes.append((index, each.run_id, Status.COMPLETE, None, None, each.at, False))
                following.append((index, *run, *task[2:]))
            case Hold():
                pass
    return {"release": releases, "finish": finishes, "next": following, "moved": moved}


def _instance(creation: Creation) -> tuple[str, str]:
    return creation.run.workflow, creation.run.instance_id
