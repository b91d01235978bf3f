# ruff: noqa: S608  # only the names of tables and columns are spliced in
"""The text of the group commit on PostgreSQL, built from the columns of ``tables.py``; ``boundaries_pg.py`` fills it.

The statement is a chain of CTEs over arrays, one array per column, rows of a table side by side::

    lease    the runner's row, if its epoch holds          FOR KEY SHARE: renewals pass, a takeover waits for us
    guard    one number per boundary: LOST, KEPT or BUSY   locks the task row, then the run row
    writes   one INSERT, UPDATE or DELETE per table, each of its rows only if the guard of its boundary says KEPT

Locks. A takeover, terminate, cancel or restart takes the task row ``FOR UPDATE`` before it raises the fence. A ``Hold``
takes it ``FOR KEY SHARE``, which is all that is needed to come before or after that as a whole; an event, which
raises only ``wake_seq``, then may pass a ``Hold``. Ends take the task ``FOR UPDATE`` and the run ``FOR NO KEY
UPDATE``, in this order, as everybody does. A row that somebody changed meanwhile is judged as it is now (READ
COMMITTED re-checks the guard on a row's newest version), and the writes follow the rows' newest versions too.

Plans. The statement is prepared once, perhaps on empty tables, and must be right for full ones. So nothing is left to
the planner's estimates. Guards look rows up in a ``LATERAL`` subquery that locks: it cannot be turned into a join.
Updates join by ``= ANY (ARRAY[…])``, which can use the primary key, but neither hash, merge nor a walk through an
index. A row's verdict is an array element: no join at all. ``coalesce(…)`` keeps conditions from matching a partial
index, which looks cheap while it is small. A test explains each statement on empty and full tables.

One text per combination of what a group contains, cached. Nothing here knows what a boundary is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Table, bindparam, text
from sqlalchemy.types import BigInteger, Boolean, Integer, SmallInteger, Text, TypeEngine

from keepstep.model.status import Priority, Status
from keepstep.store import tables
from keepstep.store.statement import ListOf, Statement

LOST, KEPT, BUSY = 0, 1, 2
"""A boundary's verdict: its guard failed, it is written, or somebody else holds its rows locked just now."""

Columns = dict[str, TypeEngine[Any]]

_INT, _BIG, _TEXT, _BOOL = Integer(), BigInteger(), Text(), Boolean()


def _columns_of(table: Table, prefix: str = "") -> Columns:
    return {f"{prefix}{column.name}": column.type for column in table.columns}


_STEP = {"index": _INT, **_columns_of(tables.run_step)}
_TASK_KEY = {"run_id": "id", "workflow": "workflow"}
"""Columns of a task that its run has too."""
_CREATION = {
    **_columns_of(tables.run),
    **{name: kind for name, kind in _columns_of(tables.task, "task_").items() if name[5:] not in _TASK_KEY},
}

_CHANGE = {name: kind for name, kind in _columns_of(tables.change).items() if name not in {"id", "pub_seq"}}
"""Columns of a change but for what others assign: its key and its number."""

PARTS: dict[str, Columns] = {
    "hold": {"run_id": _BIG, "fence": _BIG, "wake_seq": _INT},
    "end": {"run_id": _BIG, "fence": _BIG, "wake_seq": _INT, "version": _INT},
    "step": _STEP,
    "step_again": _STEP,
    "consumed": {"index": _INT, "consumed_by": _TEXT, "id": _BIG, "run_id": _BIG},
    "log": {"index": _INT, **_columns_of(tables.log)},
    "change": {"index": _INT, **_CHANGE},
    "begun": _CHANGE,
    "release": {
        "index": _INT,
        "run_id": _BIG,
        "status": _TEXT,
        "run_at": _BIG,
        "settled": _BOOL,
        "at": _BIG,
        "error": _TEXT,
    },
    "finish": {
        "index": _INT,
        "run_id": _BIG,
        "status": _TEXT,
        "output": _TEXT,
        "error": _TEXT,
        "at": _BIG,
        "latest": _BOOL,
    },
    "next": {"index": _INT, **_CREATION},
    "moved": {"index": _INT, "id": _BIG, "run_id": _BIG},
    "creation": _CREATION,
}
"""What a group may contain, as columns: one part per write, and the two guards, whose rows are the boundaries, holds
first. ``index`` is a boundary's place in that order, from 1. ``step_again``: a step may come twice. ``begun``: the
changes of creations."""


ALIKE: dict[str, tuple[str, ...]] = {
    "step": ("status", "attempt", "due_at", "event_type", "error"),
    "finish": ("status", "error", "latest"),
    "creation": (
        *("run_number", "latest", "status", "version", "pause_requested", "cancel_reason", "completed_at"),
        *("output", "error", "task_priority", "task_owner", "task_fence", "task_wake_seq"),
        *("task_takeovers", "task_seen_seq"),
    ),
}
"""Columns that mostly have one value in all rows of a part: then that is sent once, which saves a quarter of the work
around each row. Where they differ, a statement with arrays only is used."""


@cache
def names(part: str) -> tuple[str, ...]:
    """The parameters that carry a part's columns, in their order."""
    return tuple(f"{part}_{column}" for column in PARTS[part])


@cache
def alike_names(part: str) -> tuple[str, ...]:
    """Those of them that mostly carry one value."""
    return tuple(f"{part}_{column}" for column in ALIKE.get(part, ()))


@cache
def statement(parts: frozenset[str], alike: frozenset[str], wait: bool) -> Statement:
    """The statement for groups that contain these parts.

    It answers one row: whether the lease holds, the places of what is lost, of what is busy, and the runs created.

    Args:
        parts: keys of :data:`PARTS`.
        alike: those of them whose columns in :data:`ALIKE` come as one value.
        wait: whether to wait for locked rows, or to report their boundaries as busy.
    """
    ctes = [_LEASE]
    if "hold" in parts:
        ctes.append(_hold_guard(wait))
    if "end" in parts:
        ctes.append(_end_guard(wait))
    ctes.append(_verdicts("hold" in parts, "end" in parts))
    for part, write in _WRITES.items():
        if part in parts:
            ctes.extend(write(part in alike))
    created = _CREATED if "creation" in parts else _NONE
    answer = (
        f"SELECT EXISTS (SELECT FROM lease), array_positions(of, {LOST}), array_positions(of, {BUSY}), {created}\n"
        "FROM verdicts"
    )
    sql = "WITH\n" + ",\n".join(ctes) + "\n" + answer
    return Statement(text(sql).bindparams(*_binds(parts, alike)), "commit group")


def _binds(parts: frozenset[str], alike: frozenset[str]) -> list[Any]:
    binds: list[Any] = [bindparam("runner_id", type_=_BIG), bindparam("epoch", type_=_INT)]
    for part in sorted(parts):
        for column, kind in PARTS[part].items():
            plain = _plain(kind)
            once = part in alike and column in ALIKE[part]
            binds.append(bindparam(f"{part}_{column}", type_=plain if once else ListOf(plain)))
    return binds


def _plain(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """A column's type without what columns add: collation, variants."""
    found = next(
        (each for each in (SmallInteger, BigInteger, Integer, Boolean) if isinstance(kind, each)), Text
    )
    return found()


_NONE = "CAST('{}' AS BIGINT[])"
_CREATED = f"""ARRAY(SELECT id FROM created) || CASE WHEN (SELECT count(*) FROM created) = cardinality(:creation_id)
  THEN {_NONE} ELSE ARRAY(SELECT id FROM {tables.run} WHERE id = ANY (:creation_id)
    AND workflow = (:creation_workflow)[array_position(:creation_id, id)]
    AND instance_id = (:creation_instance_id)[array_position(:creation_id, id)]) END"""
"""What was inserted, and what an earlier attempt of the same group had inserted when its connection broke."""


# Guards.

_LEASE = f"""lease AS MATERIALIZED (
  SELECT id FROM {tables.runner} WHERE id = :runner_id AND epoch = :epoch FOR KEY SHARE
)"""

_TASK_GUARD = f"""SELECT task.run_id FROM {tables.task} AS task
    WHERE EXISTS (SELECT FROM lease) AND task.run_id = want.run_id AND coalesce(task.owner, 0) = :runner_id
      AND task.fence = want.fence AND (want.wake_seq IS NULL OR task.wake_seq = want.wake_seq)"""

_RUN_GUARD = f"SELECT run.id FROM {tables.run} AS run WHERE run.version = want.version AND run.id = "


def _hold_guard(wait: bool) -> str:
    return f"""holding AS MATERIALIZED (
  SELECT {_verdict("task.run_id", "" if wait else _exists(_TASK_GUARD))}
  FROM {_wanted("hold")}
  LEFT JOIN LATERAL ({_TASK_GUARD} FOR KEY SHARE{_or_skip(wait)}) AS task ON true
)"""


def _end_guard(wait: bool) -> str:
    there = f"{_exists(_TASK_GUARD)} AND {_exists(f'{_RUN_GUARD}want.run_id')}"
    return f"""ending AS MATERIALIZED (
  SELECT {_verdict("run.id", "" if wait else there)}
  FROM {_wanted("end")}
  LEFT JOIN LATERAL ({_TASK_GUARD} FOR UPDATE{_or_skip(wait)}) AS task ON true
  LEFT JOIN LATERAL ({_RUN_GUARD}task.run_id FOR NO KEY UPDATE{_or_skip(wait)}) AS run ON true
)"""


def _exists(guard: str) -> str:
    """Counted, because for ``EXISTS`` a planner may take a scan that it hopes to end early."""
    return f"(SELECT count(*) FROM ({guard}) AS there) = 1"


def _or_skip(wait: bool) -> str:
    return "" if wait else " SKIP LOCKED"


def _verdict(locked: str, there: str) -> str:
    """What a guard says of each row it was given: locked; else there, but not to be had; else gone."""
    busy = f" WHEN {there} THEN {BUSY}" if there else ""
    return f"array_agg(CASE WHEN {locked} IS NOT NULL THEN {KEPT}{busy} ELSE {LOST} END ORDER BY want.index) AS of"


def _wanted(part: str) -> str:
    binds = ", ".join(f":{name}" for name in names(part))
    return f"unnest({binds}) WITH ORDINALITY AS want ({', '.join(PARTS[part])}, index)"


def _verdicts(holds: bool, ends: bool) -> str:
    """One array over all boundaries."""
    sources = [name for name, there in (("holding", holds), ("ending", ends)) if there]
    joined = " || ".join(f"{name}.of" for name in sources) or "CAST('{}' AS INTEGER[])"
    return (
        f"verdicts AS MATERIALIZED (SELECT {joined} AS of{' FROM ' if sources else ''}{', '.join(sources)})"
    )


# Writes.


def _kept(part: str) -> str:
    return f"(SELECT of FROM verdicts)[{part}.index] = {KEPT}"


def _rows(part: str, columns: Sequence[str], alike: bool) -> str:
    """The part's rows as a table, with these columns only."""
    once = [column for column in columns if alike and column in ALIKE[part]]
    arrays = [column for column in columns if column not in once]
    binds = ", ".join(f":{part}_{column}" for column in arrays)
    rows = f"unnest({binds}) AS {part} ({', '.join(arrays)})"
    if not once:
        return rows
    values = ", ".join(f":{part}_{column} AS {column}" for column in once)
    return f"(SELECT {part}.*, {values} FROM {rows}) AS {part}"


def _insert(table: Table, part: str, where: str, alike: bool, distinct: str = "") -> str:
    columns = [
        column.name for column in table.columns if table is not tables.change or column.name in _CHANGE
    ]
    sources = [_TASK_KEY.get(name, f"task_{name}") if table is tables.task else name for name in columns]
    values = ", ".join(f"{part}.{name}" for name in sources)
    place = ["index"] if "index" in PARTS[part] else []
    return f"""INSERT INTO {table} ({", ".join(columns)})
  SELECT {distinct}{values} FROM {_rows(part, [*sources, *place], alike)} WHERE {where}"""


def _write_steps(alike: bool) -> list[str]:
    """New rows, and open rows in place; a resolved row stays as it is (C2)."""
    return [_upsert_steps(_insert(tables.run_step, "step", _kept("step"), alike))]


def _write_steps_again(alike: bool) -> list[str]:
    """The same, of each step the last row among those that are kept."""
    part, key = "step_again", "step_again.run_id, step_again.key"
    insert = _insert(tables.run_step, part, _kept(part), alike, distinct=f"DISTINCT ON ({key}) ")
    return [_upsert_steps(f"{insert}\n  ORDER BY {key}, step_again.index DESC")]


def _upsert_steps(insert: str) -> str:
    table = tables.run_step
    changed = ", ".join(
        f"{column.name} = excluded.{column.name}" for column in table.columns if not column.primary_key
    )
    return f"""steps AS (
  {insert}
  ON CONFLICT (run_id, key) DO UPDATE SET {changed}
  WHERE {table}.seq IS NULL
)"""


def _write_consumed(alike: bool) -> list[str]:
    return [
        f"""consumptions AS (
  UPDATE {tables.event} AS event SET consumed_by = consumed.consumed_by
  FROM {_rows("consumed", [*PARTS["consumed"]], alike)}
  WHERE event.id = ANY (ARRAY[consumed.id]) AND event.run_id + 0 = consumed.run_id AND coalesce(event.consumed_by, '') = ''
    AND {_kept("consumed")}
)"""
    ]


def _write_logs(alike: bool) -> list[str]:
    insert = _insert(tables.log, "log", _kept("log"), alike)
    return [f"logs AS (\n  {insert}\n  ON CONFLICT (run_id, number) DO NOTHING\n)"]


def _write_changes(alike: bool) -> list[str]:
    """Changes in the order in which they happened, which is that of their keys (F3)."""
    insert = _insert(tables.change, "change", _kept("change"), alike)
    return [f"changes AS (\n  {insert}\n  ON CONFLICT DO NOTHING\n)"]


def _write_begun(alike: bool) -> list[str]:
    insert = _insert(tables.change, "begun", "(begun.run_id IN (SELECT id FROM created)) IS TRUE", alike)
    return [f"begun_changes AS (\n  {insert}\n  ON CONFLICT DO NOTHING\n)"]


def _write_releases(alike: bool) -> list[str]:
    """Tasks and runs that are given back: parked, paused, released."""
    return [
        f"""released_tasks AS (
  UPDATE {tables.task} AS task SET owner = NULL, run_at = release.run_at, priority = {Priority.RESUME},
    takeovers = CASE WHEN release.settled THEN 0 ELSE task.takeovers END
  FROM {_rows("release", ["index", "run_id", "run_at", "settled"], alike)}
  WHERE task.run_id = ANY (ARRAY[release.run_id]) AND {_kept("release")}
)""",
        f"""released_runs AS (
  UPDATE {tables.run} AS run SET status = release.status, version = run.version + 1, updated_at = release.at,
    pause_requested = run.pause_requested AND release.status <> '{Status.PAUSED}', error = release.error
  FROM {_rows("release", ["index", "run_id", "status", "at", "error"], alike)}
  WHERE run.id = ANY (ARRAY[release.run_id]) AND {_kept("release")}
)""",
    ]


def _write_finishes(alike: bool) -> list[str]:
    return [
        f"""finished_tasks AS (
  DELETE FROM {tables.task} AS task WHERE task.run_id = ANY (ARRAY(
    SELECT finish.run_id FROM {_rows("finish", ["index", "run_id"], alike)} WHERE {_kept("finish")}))
)""",
        f"""finished_runs AS (
  UPDATE {tables.run} AS run SET status = finish.status, version = run.version + 1, updated_at = finish.at,
    completed_at = finish.at, output = finish.output, error = finish.error, pause_requested = false,
    latest = run.latest AND finish.latest
  FROM {_rows("finish", [*PARTS["finish"]], alike)}
  WHERE run.id = ANY (ARRAY[finish.run_id]) AND {_kept("finish")}
  RETURNING run.id
)""",
    ]


def _write_next(alike: bool) -> list[str]:
    """The runs that continue others; only once all of those have ceased to be their instance's latest (C10)."""
    where = f"{_kept('next')} AND (SELECT count(*) FROM finished_runs) > 0"
    return [
        f"next_runs AS (\n  {_insert(tables.run, 'next', where, alike)}\n)",
        f"next_tasks AS (\n  {_insert(tables.task, 'next', where, alike)}\n)",
    ]


def _write_moved(alike: bool) -> list[str]:
    """Events of a run that is continued, which nothing has consumed (C10)."""
    return [
        f"""moved_events AS (
  UPDATE {tables.event} AS event SET run_id = moved.run_id
  FROM {_rows("moved", [*PARTS["moved"]], alike)}
  WHERE event.id = ANY (ARRAY[moved.id]) AND {_kept("moved")}
)"""
    ]


def _write_creations(alike: bool) -> list[str]:
    """New instances; ``IS TRUE`` keeps the look-up a hash table of its own, where a join might become a nested loop."""
    inserted = _insert(tables.run, "creation", "EXISTS (SELECT FROM lease)", alike)
    alone = "(creation.id IN (SELECT id FROM created)) IS TRUE"
    return [
        f"created AS (\n  {inserted}\n  ON CONFLICT DO NOTHING RETURNING id\n)",
        f"created_tasks AS (\n  {_insert(tables.task, 'creation', alone, alike)}\n)",
    ]


_WRITES: dict[str, Callable[[bool], Sequence[str]]] = {
    "step": _write_steps,
    "step_again": _write_steps_again,
    "consumed": _write_consumed,
    "log": _write_logs,
    "change": _write_changes,
    "release": _write_releases,
    "finish": _write_finishes,
    "next": _write_next,
    "moved": _write_moved,
    "creation": _write_creations,
    "begun": _write_begun,
}
