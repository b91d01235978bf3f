"""Very many rows from one that the public API wrote: a backlog in a second instead of a minute."""

from __future__ import annotations

from soak.rows import columns, execute

_SERIES = "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count})"


def multiply_runs(database: str, instance: str, count: int) -> None:
    """Put ``count`` instances ``<id>-1``, ``<id>-2`` … beside one that nobody has begun yet, each due a little later."""
    for table, key, changed in (
        ("keepstep_task", "run_id", {"run_id": "run_id + n", "run_at": "run_at + n / 1000"}),
        ("keepstep_run", "id", {"id": "id + n", "instance_id": "instance_id || '-' || n"}),
    ):
        _insert(
            database,
            table,
            {each: changed.get(each, each) for each in columns(database, table)},
            f"{key} = (SELECT id FROM keepstep_run WHERE instance_id = '{instance}')",
            count,
        )


def multiply_events(database: str, count: int) -> None:
    """Repeat the only event so many times; the copies have no sender's id."""
    named = {each: each for each in columns(database, "keepstep_event") if each != "id"}
    _insert(database, "keepstep_event", {**named, "event_id": "NULL"}, "true", count)


def _insert(database: str, table: str, values: dict[str, str], where: str, count: int) -> None:
    execute(
        database,
        f"INSERT INTO {table} ({', '.join(values)}) {_SERIES.format(count=count)}"
        f" SELECT {', '.join(values.values())} FROM {table}, series WHERE {where}",
    )
