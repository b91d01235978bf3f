"""How statements reach their rows: each by an index, none by a scan of a table that grows."""

import itertools
import re

import psycopg
import pytest
from sqlalchemy import create_engine

from keepstep.store import boundaries, changes, claims, held, histories, listings, rescue, runs
from keepstep.store.statement import Statement
from tests.support.databases import fresh_database, make_tables
from tests.support.rows import NOW, RUN_ID, RUNNER_ID

SMALL = re.compile(r"keepstep_(runner|change_stream|change_sink)\b|ix_keepstep_change_unpublished")
"""A row a process or a sink, or an index of what waits for its number only: reading all of it is fine."""

VALUES = {
    "run_ids": [RUN_ID],
    "runners": [RUNNER_ID],
    "instance_ids": ["o-1"],
    "workflows": ["order"],
    "resuming_since": [0],
    "fresh_since": [0],
    "workflow": "order",
    "instance_id": "o-1",
    "status": "active",
    "event_type": "approval",
    "event_id": "e-1",
    "names": ["crm"],
    "of_name": "crm",
    "host": "host-1",
    "by_key": "wait:x",
    "latest": True,
    "pause_requested": True,
}
LISTINGS = (*listings.LISTING, *listings.LISTING_BY_STATUS)
HISTORIES = tuple(
    each for ways in vars(histories).values() if isinstance(ways, histories.Ways) for each in ways
)
WRITES_ONE_NEW_ROW = {"add event", "register runner"}


def statements():
    """Every statement of the store that is text for both, but plain inserts."""
    modules = (boundaries, changes, claims, held, histories, rescue, runs)
    found = {
        id(each): each for module in modules for each in vars(module).values() if isinstance(each, Statement)
    }
    return [each for each in (*found.values(), *LISTINGS, *HISTORIES) if each.label not in WRITES_ONE_NEW_ROW]


def values_for(statement, dialect):
    """A value for each parameter; numbers where the name says no more."""
    names = re.findall(r"(?<!:):(\w+)", statement.text("sqlite"))
    return statement.bind(dialect, {"now": NOW, **{name: VALUES.get(name, 1) for name in names}})


def is_insert(statement):
    """Inserts look nothing up but their own keys."""
    return statement.text("sqlite").startswith("INSERT")


ONLY_POSTGRES = (claims.CLAIM, claims.NEXT_DUE_SINCE, boundaries.STAY_AWAKE)
SQLITE = [each for each in statements() if each not in ONLY_POSTGRES and not is_insert(each)]


@pytest.fixture(scope="module")
def sqlite_tables(tmp_path_factory):
    """A raw connection to a database with the tables."""
    from keepstep.store.tables import metadata

    engine = create_engine(f"sqlite:///{tmp_path_factory.mktemp('plans')}/plans.db")
    metadata.create_all(engine)
    connection = engine.raw_connection()
    yield connection
    connection.close()
    engine.dispose()


@pytest.mark.parametrize("statement", SQLITE, ids=lambda each: each.label)
def test_no_statement_scans_on_sqlite(sqlite_tables, statement):
    """Claims, loads, guards, listings and histories search by index (W9, W10)."""
    plan = sqlite_tables.cursor().execute(
        f"EXPLAIN QUERY PLAN {statement.text('sqlite')}", values_for(statement, "sqlite")
    )
    steps = [row[3] for row in plan]
    scans = [step for step in steps if step.startswith("SCAN keepstep_") and not SMALL.search(step)]
    assert not scans, steps


@pytest.mark.parametrize(
    "statement",
    [boundaries.READ_HELD, boundaries.READ_ENDING, runs.READ_INSTANCE, runs.PRESENT_RUNS],
    ids=lambda each: each.label,
)
def test_guards_go_by_key(sqlite_tables, statement):
    """A guard never walks all tasks of a runner: its cost is that of the group."""
    plan = sqlite_tables.cursor().execute(
        f"EXPLAIN QUERY PLAN {statement.text('sqlite')}", values_for(statement, "sqlite")
    )
    assert not [row[3] for row in plan if "task_owner" in row[3]]


def test_buffered_events_are_found_among_many_consumed_ones(sqlite_tables):
    """What a run consumed in its life does not slow down its loads (W10)."""
    plan = sqlite_tables.cursor().execute(
        f"EXPLAIN QUERY PLAN {runs.LOAD_EVENTS.text('sqlite')}", values_for(runs.LOAD_EVENTS, "sqlite")
    )
    assert [row[3] for row in plan if "event_buffered" in row[3]]


@pytest.mark.parametrize(
    "statement",
    [claims.TAKE, claims.LOOK_DUE, changes.UNPUBLISHED, changes.READ_CHANGES, *LISTINGS],
)
def test_ordered_reads_do_not_sort(sqlite_tables, statement):
    """A claim or a page costs its own rows, not all that are due or listed (W9)."""
    plan = sqlite_tables.cursor().execute(
        f"EXPLAIN QUERY PLAN {statement.text('sqlite')}", values_for(statement, "sqlite")
    )
    steps = [row[3] for row in plan]
    assert not [step for step in steps if "TEMP B-TREE" in step], steps
    if statement in DUE:
        assert [step for step in steps if "run_at<?" in step], steps
    if "instant" in statement.label:
        assert [step for step in steps if "created_at=? AND id<?" in step], steps


@pytest.mark.parametrize("statement", [claims.LOOK_TURNS, claims.NEXT_DUE], ids=lambda each: each.label)
def test_each_workflow_is_asked_for_its_oldest_task(sqlite_tables, statement):
    """Whose turn it is and what is due next cost two look-ups a workflow, whatever waits in the queues (W9, decision 0018)."""
    plan = sqlite_tables.cursor().execute(
        f"EXPLAIN QUERY PLAN {statement.text('sqlite')}", values_for(statement, "sqlite")
    )
    steps = [row[3] for row in plan]
    oldest = [step for step in steps if "task_due (priority=? AND workflow=? " in step]
    assert len(oldest) == 2, steps
    assert not [step for step in steps if "TEMP B-TREE" in step], steps


FILL = """
INSERT INTO keepstep_run SELECT n, 'order', 'i-' || n, 1, true, 1, 'active', 1, false, null, n, null, n, null,
  '{}', null, null FROM generate_series(1, 20000) n;
INSERT INTO keepstep_task SELECT n, 'order', n % 2, CASE WHEN n % 10 = 0 THEN n ELSE 9999999999999 END,
  CASE WHEN n % 100 = 1 THEN n % 7 + 1 END, 1, 0, 0, 0 FROM generate_series(1, 20000) n;
INSERT INTO keepstep_run_step SELECT n, 'do:' || k, k, 'completed', 1, 1, 1, null, null, '1', null
  FROM generate_series(1, 5000) n, generate_series(1, 4) k;
INSERT INTO keepstep_event (run_id, type, event_id, payload, accepted_at, consumed_by)
  SELECT n, 'approval', 'e-' || n, '{}', n, CASE WHEN n % 9 > 0 THEN 'wait:x' END FROM generate_series(1, 20000) n;
INSERT INTO keepstep_log SELECT n, 0, 'info', 'x', null, 1 FROM generate_series(1, 20000) n;
INSERT INTO keepstep_change (run_id, version, seq, kind, workflow, instance_id, run_number, at, pub_seq)
  SELECT n, 1, 0, 'created', 'order', 'i-' || n, 1, n, CASE WHEN n < 19990 THEN n END FROM generate_series(1, 20000) n;
INSERT INTO keepstep_runner SELECT n, 1, 9999999999999, 'host-1', 1, 1 FROM generate_series(1, 7) n;
ANALYZE;
"""


@pytest.fixture(scope="module")
def filled(postgres_url):
    """A PostgreSQL database with twenty thousand runs."""
    with fresh_database(postgres_url) as url:
        make_tables(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(FILL)
            connection.execute("SET plan_cache_mode = force_generic_plan")
            yield connection


def postgres_statements():
    """All but inserts, and what only SQLite is told."""
    only_sqlite = (boundaries.READ_HELD, boundaries.READ_ENDING, claims.TAKE)
    return [claims.CLAIM, claims.NEXT_DUE_SINCE, *(each for each in SQLITE if each not in only_sqlite)]


@pytest.mark.parametrize("statement", postgres_statements(), ids=lambda each: each.label)
def test_no_statement_scans_on_postgresql(filled, statement):
    """With generic plans on full tables no growing table is read as a whole (W9, W10)."""
    filled.execute(f"PREPARE looked_at AS {statement.text('postgresql')}")
    try:
        values = statement.bind(
            "postgresql", {"now": NOW, **{n: VALUES.get(n, 1) for n in names_of(statement)}}
        )
        given = ", ".join(literal(value) for value in values)
        plan = [
            row[0] for row in filled.execute(f"EXPLAIN EXECUTE looked_at{f' ({given})' if given else ''}")
        ]
    finally:
        filled.execute("DEALLOCATE looked_at")
    assert not list(scans_of(plan)), "\n".join(plan)
    if statement in DUE:
        assert [line for line in plan if "Index Cond" in line and "run_at <=" in line], "\n".join(plan)


def test_a_claim_on_postgresql_reads_what_it_takes(filled):
    """Two thousand due tasks, and some of a workflow that nobody asked for, cost a claim nothing (W9, decision 0018)."""
    marks = {"resuming_since": [0] * 3, "fresh_since": [0] * 3}
    plan = analyzed(filled, claims.CLAIM, runner=1, epoch=1, limit=5, workflows=["a", "order", "z"], **marks)
    read = [int(found) for found in re.findall(r"actual time=\S+ rows=(\d+)", "\n".join(plan))]
    assert max(read) == 5, "\n".join(plan)
    assert not [line for line in plan if "Join Filter" in line], "\n".join(plan)


@pytest.mark.parametrize("statement", [claims.LOOK_TURNS, claims.NEXT_DUE], ids=lambda each: each.label)
def test_the_oldest_task_is_one_row_on_postgresql(filled, statement):
    """Whose turn it is and what is due next: one row a workflow and priority is read of all that are due (W9)."""
    plan = analyzed(filled, statement, workflows=["order"])
    read = [
        int(found[1]) for line in plan if "task_due" in line and (found := re.search(r" rows=(\d+)", line))
    ]
    assert read, "\n".join(plan)
    assert max(read) == 1, "\n".join(plan)


def analyzed(connection, statement, **values):
    """The generic plan of a statement with what it really read; its writes are rolled back."""
    given = ", ".join(literal(value) for value in statement.bind("postgresql", {"now": NOW, **values}))
    with connection.transaction(force_rollback=True):
        connection.execute(f"PREPARE analyzed AS {statement.text('postgresql')}")
        rows = connection.execute(f"EXPLAIN (ANALYZE, COSTS OFF) EXECUTE analyzed ({given})").fetchall()
        connection.execute("DEALLOCATE analyzed")
    return [row[0] for row in rows]


DUE = (claims.CLAIM, claims.TAKE, claims.LOOK_DUE)


def scans_of(plan):
    """Lines that read a growing table as a whole: without an index, or through all of one that covers every row."""
    for line, following in itertools.pairwise([*plan, ""]):
        if SMALL.search(line):
            continue
        whole = "Scan" in line and re.search(r"using (pk|uq|ix_keepstep_(run|event|log))_", line)
        if "Seq Scan on keepstep_" in line or (whole and "Index Cond" not in following):
            yield line


def names_of(statement):
    """The parameters' names, from the SQLite text (the claim's own text writes them alike)."""
    return re.findall(r"(?<!:):(\w+)", statement.text("sqlite"))


def literal(value):
    """A value as SQL text."""
    if isinstance(value, list):
        return f"ARRAY[{', '.join(literal(each) for each in value)}]"
    return f"'{value}'" if isinstance(value, str) else "NULL" if value is None else str(value)
