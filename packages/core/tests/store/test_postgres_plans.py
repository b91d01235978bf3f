"""How the group commit reaches its rows on PostgreSQL: by key, whatever the tables held when it was prepared."""

import itertools
import json
import re
from contextlib import asynccontextmanager

import psycopg
import pytest

from keepstep.model.plan import (
    Boundary,
    Consumed,
    ContinueAsNew,
    Creation,
    Finish,
    Hold,
    Park,
    Pause,
    Release,
)
from keepstep.model.records import ChangeRecord, LogRecord
from keepstep.model.status import Status, StepStatus
from keepstep.store.boundaries_pg import commit_group
from keepstep.store.postgres import PostgresStore
from tests.support.databases import fresh_database, make_tables
from tests.support.rows import NOW, RUNNER_ID, run_row, step_row, task_row

RUNS = 20_000

FILL = f"""
INSERT INTO keepstep_run SELECT n, 'order', 'i-' || n, 1, true, 1, 'active', 1, false, null, n, null, n, null,
  '{{}}', null, null FROM generate_series(1, {RUNS}) n;
INSERT INTO keepstep_task SELECT n, 'order', 1, n, NULL, 1, 0, 0, 0 FROM generate_series(1, {RUNS}) n;
INSERT INTO keepstep_run_step SELECT n, 'do:' || k, k, 'completed', 1, 1, 1, null, null, '1', null
  FROM generate_series(1, {RUNS}) n, generate_series(1, 3) k;
INSERT INTO keepstep_event (run_id, type, payload, accepted_at) SELECT n, 'a', '1', n FROM generate_series(1, {RUNS}) n;
INSERT INTO keepstep_log SELECT n, 1, 'info', 'x', null, 1 FROM generate_series(1, {RUNS}) n;
INSERT INTO keepstep_change (run_id, version, seq, kind, workflow, instance_id, run_number, at, pub_seq)
  SELECT n, 1, 0, 'created', 'order', 'i-' || n, 1, n, n FROM generate_series(1, {RUNS}) n;
INSERT INTO keepstep_runner VALUES ({RUNNER_ID}, 1, 9999999999999, 'host-1', 1, 1);
"""

TABLES = ("run", "task", "run_step", "event", "log", "change", "runner")
ANALYZE = "; ".join(f"VACUUM (ANALYZE) keepstep_{table}" for table in TABLES)

GUARD = {"fence": 1, "wake_seq": 0, "version": 1, "at": NOW}
NEXT = ContinueAsNew(run_row(id=RUNS + 1, instance_id="i-7", run_number=2), task_row(run_id=RUNS + 1))


def holding(run_id, *steps):
    """A boundary that keeps its run."""
    return Boundary(run_id, **GUARD, steps=steps, end=Hold())


def ending(run_id, end, **changes):
    """A boundary that gives its run away."""
    return Boundary(run_id, **GUARD, end=end, **changes)


STEP = step_row("do:4", 4, run_id=1)


def told(run_id, kind="completed", seq=0):
    """A change that is subscribed."""
    return ChangeRecord(run_id, 1, seq, kind, "order", f"i-{run_id}", 1, NOW, None, None, None, None)


GROUPS = {
    "a step": ([holding(1, STEP)], []),
    "a step that failed and came again": (
        [holding(1, step_row("do:4", None, StepStatus.RETRYING, run_id=1)), holding(1, STEP)],
        [],
    ),
    "a finish": ([ending(1, Finish(Status.COMPLETE, "1", None))], []),
    "changes": (
        [
            ending(
                5,
                Finish(Status.COMPLETE, "1", None),
                changes=(told(5, "step_completed", 4), told(5)),
            )
        ],
        [
            Creation(
                run_row(id=RUNS + 2, instance_id="new"),
                task_row(run_id=RUNS + 2),
                (told(RUNS + 2, "created"),),
            )
        ],
    ),
    "a creation": ([], [Creation(run_row(id=RUNS + 2, instance_id="new"), task_row(run_id=RUNS + 2))]),
    "what differs": (
        [
            holding(1, STEP, step_row("do:5", 5, StepStatus.FAILED, run_id=1)),
            ending(5, Finish(Status.COMPLETE, "1", None)),
            ending(6, Finish(Status.ERRORED, None, "{}")),
        ],
        [
            Creation(run_row(id=RUNS + n, instance_id=f"new-{n}"), task_row(run_id=RUNS + n, owner=n or None))
            for n in (2, 3)
        ],
    ),
    "everything": (
        [
            holding(1, STEP),
            ending(
                2, Park(9), consumed=(Consumed(2, "wait:x"),), logs=(LogRecord(2, 2, "info", "y", None, 1),)
            ),
            ending(3, Release(9)),
            ending(4, Pause()),
            ending(5, Finish(Status.COMPLETE, "1", None)),
            ending(7, NEXT),
        ],
        [Creation(run_row(id=RUNS + 2, instance_id="new"), task_row(run_id=RUNS + 2))],
    ),
}


@pytest.fixture(scope="module", params=["empty", "vacuumed", "filled", "nobody owns"])
def database(request, postgres_url):
    """A database whose tables hold, and whose statistics say, what the name tells."""
    with fresh_database(postgres_url) as url:
        make_tables(url)
        with psycopg.connect(url, autocommit=True) as connection:
            if request.param in {"filled", "nobody owns"}:
                connection.execute(FILL)
            if request.param == "filled":
                connection.execute(f"UPDATE keepstep_task SET owner = {RUNNER_ID} WHERE run_id % 2 = 0")
            if request.param != "empty":
                for statement in ANALYZE.split("; "):
                    connection.execute(statement)
        yield url


@pytest.mark.parametrize("wait", [True, False], ids=["waits", "skips"])
@pytest.mark.parametrize("group", GROUPS)
async def test_a_group_reaches_every_row_by_its_key(database, group, wait):
    """No scan, no join by hash or merge, no walk through an index, no index on the owner: one look-up a row."""
    async with connected(database) as connection:
        plan = await explain(connection, next(commit_group(RUNNER_ID, 1, *GROUPS[group], wait=wait)), "")
    assert not list(walks(plan)), "\n".join(plan)


async def test_a_plan_made_for_empty_tables_serves_full_ones(empty_postgres_database):
    """What is prepared at the first start costs look-ups, not scans, when the tables have grown (W9)."""
    make_tables(empty_postgres_database)
    call = next(commit_group(RUNNER_ID, 1, *GROUPS["everything"]))
    async with connected(empty_postgres_database) as connection:
        await explain(connection, call, "ANALYZE, ")
        await connection.execute(FILL)
        await connection.execute(f"UPDATE keepstep_task SET owner = {RUNNER_ID} WHERE run_id < 10")
        plan = await explain(connection, call, "ANALYZE, ")
        ended = await connection.fetchval("SELECT count(*) FROM keepstep_run WHERE status <> 'active'")
    read = [int(found) for found in re.findall(r"actual time=\S+ rows=(\d+)", "\n".join(plan))]
    assert max(read) < 20, "\n".join(plan)
    assert (
        ended == len(GROUPS["everything"][0]) - 2
    )  # all but the one that holds and the one that is released


@asynccontextmanager
async def connected(url):
    """A connection with the store's settings."""
    connection = await PostgresStore(url)._connector.connect()
    try:
        yield connection
    finally:
        await connection.close()


async def explain(connection, call, options):
    """The generic plan of a statement that is prepared once on the connection."""
    text, params = call.statement.text("postgresql"), call.statement.bind("postgresql", call.params)
    if not await connection.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name = 'looked_at'"):
        await connection.execute(f"PREPARE looked_at AS {text}")
    values = ", ".join(literal(value) for value in params)
    return [
        row[0] for row in await connection.fetch(f"EXPLAIN ({options}COSTS) EXECUTE looked_at ({values})")
    ]


def literal(value):
    """A value as SQL text; arrays as untyped text, so that they take their parameter's type."""
    if isinstance(value, list | tuple):
        return f"'{{{', '.join(element(each) for each in value)}}}'"
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


def element(value):
    """An array's element."""
    return "NULL" if value is None else json.dumps(value) if isinstance(value, str) else str(value)


def walks(plan):
    """Lines of a plan that read more than what was asked for."""
    for line, following in itertools.pairwise([*plan, ""]):
        if re.search(r"Seq Scan on keepstep|Hash Join|Merge Join|task_owner", line):
            yield line
        if re.search(r"Index (Only )?Scan", line) and "Index Cond" not in following:
            yield line


def test_walks_are_recognised():
    """The check above sees what it is there for."""
    assert list(walks(["Seq Scan on keepstep_task", "Index Scan using pk_keepstep_run", "  Filter: x"])) != []
    assert list(walks(["Index Scan using pk_keepstep_run", "  Index Cond: x"])) == []
