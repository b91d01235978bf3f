"""Scripts on a host's own SQLAlchemy transaction (G1): every kind of connection, and the same outcome as in a store."""

import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from keepstep.errors import IntegrityError, SchemaVersionError, StoreConflictError, UsageError
from keepstep.model.plan import Consumed, Creation, Finish, Steering
from keepstep.model.records import LogRecord, RunnerRecord
from keepstep.model.status import Status, StepStatus
from keepstep.store import tables
from keepstep.store.boundaries import commit_leased, commit_optimistic
from keepstep.store.claims import claim, due, next_due, register_runner, renew
from keepstep.store.clock import read_now
from keepstep.store.histories import history_events, history_logs, history_steps
from keepstep.store.host import dialect_of, is_async, run_async, run_sync, sync_target
from keepstep.store.listings import list_runs
from keepstep.store.postgres import PostgresStore
from keepstep.store.rescue import release_runner, rescue
from keepstep.store.runs import (
    apply_steering,
    existing_ids,
    find_event,
    holder,
    insert_creations,
    load_events,
    load_steps,
    open_steps,
    read_instance,
    read_run,
    waits_for,
)
from keepstep.store.script import Call
from keepstep.store.sqlite import SqliteStore
from keepstep.store.statement import Statement
from keepstep.store.tables import metadata
from tests.support.rows import NOW, RUN_ID, RUNNER_ID, event_row, run_row, step_row, task_row

DRIVERS = {
    "sqlite": ("sqlite", "sqlite+aiosqlite"),
    "postgresql": ("postgresql+psycopg", "postgresql+asyncpg"),
}


class Clock:
    """Database time as the test says."""

    def __init__(self):
        self.now = NOW

    def now_ms(self):
        """The instant that was set."""
        return self.now


def sync_url(url):
    """The URL for a sync driver."""
    dialect = url.partition(":")[0]
    return url.replace(dialect, DRIVERS[dialect][0], 1)


def async_url(url):
    """The URL for an async driver."""
    dialect = url.partition(":")[0]
    return url.replace(dialect, DRIVERS[dialect][1], 1)


@asynccontextmanager
async def hosting(kind, url):
    """A way to open the host's transactions, as a sync or async context manager that commits."""
    if kind.startswith("Async"):
        engine = create_async_engine(async_url(url))
        opened = AsyncSession(engine) if kind == "AsyncSession" else None
        yield opened.begin if opened else engine.begin, opened
        if opened:
            await opened.close()
        await engine.dispose()
    else:
        engine = create_engine(sync_url(url))
        opened = Session(engine) if kind == "Session" else None
        yield opened.begin if opened else engine.begin, opened
        if opened:
            opened.close()
        engine.dispose()


KINDS = ["Connection", "Session", "AsyncConnection", "AsyncSession"]


@pytest.fixture(params=KINDS)
async def host(request, database_url):
    """Runs a script in a transaction of the host's, of each kind."""
    clock = Clock()
    async with hosting(request.param, database_url) as (begin, session):

        async def run(script, clock=clock):
            if request.param.startswith("Async"):
                async with begin() as opened:
                    return await run_async(session or opened, script, clock)
            with begin() as opened:
                return run_sync(session or opened, script, clock)

        run.clock = clock
        run.begin, run.session = begin, session
        run.is_async = request.param.startswith("Async")
        yield run


@asynccontextmanager
async def a_store(url, clock):
    """The engine's own store."""
    store = SqliteStore(url, clock=clock) if url.startswith("sqlite") else PostgresStore(url, clock=clock)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def boundary_of(**changes):
    """A boundary that fits the claimed run."""
    from keepstep.model.plan import Boundary

    guard = {"run_id": RUN_ID, "fence": 5, "wake_seq": 9, "version": 6, "at": NOW, **changes}
    return Boundary(**guard)


def scripts(dialect, clock):
    """Most of what the store can do, in an order that makes sense; each with what it is called here."""
    waiting = step_row("wait:x", None, StepStatus.WAITING, event_type="approval", due_at=NOW + 9)
    other = Creation(run_row(id=8, instance_id="o-2", created_at=90), task_row(run_id=8, run_at=NOW))
    again = Creation(run_row(id=9, instance_id="o-2"), task_row(run_id=9))
    yield "now", read_now()
    yield "register", register_runner(RunnerRecord(RUNNER_ID, 1, 0, "host-1", 1, 0), 1000)
    yield "create", insert_creations(dialect, [Creation(run_row(), task_row(run_at=NOW)), other])
    yield "create again", insert_creations(dialect, [again])
    yield "exists", existing_ids("order", ["o-1", "o-2", "o-3"])
    yield "due", due(10, ["order"])
    yield "next due", next_due(["order"])
    yield "claim", claim(dialect, RUNNER_ID, 1, 1, ["order"])
    yield "renew", renew(RUNNER_ID, 1, 5000)
    yield "holder", holder(RUN_ID)
    yield (
        "leased",
        commit_leased(
            dialect, RUNNER_ID, 1, boundary_of(wake_seq=None, steps=(step_row("do:a", 1), waiting))
        ),
    )
    yield "stale", commit_leased(dialect, RUNNER_ID, 1, boundary_of(fence=4))
    yield "lock", read_instance("order", "o-1", lock=True)
    event = Steering(
        RUN_ID, 5, task=task_row(owner=RUNNER_ID, fence=5, wake_seq=10), event=event_row(0, event_id="e")
    )
    yield "event", apply_steering(dialect, event)
    yield "moved", apply_steering(dialect, Steering(RUN_ID, 77, drop_task=True))
    yield "find event", find_event(RUN_ID, "e")
    yield "waits", waits_for(RUN_ID, "approval")
    yield "open", open_steps(RUN_ID)
    yield "steps", load_steps(dialect, [RUN_ID, 8])
    yield "events", load_events(dialect, [RUN_ID, 8])
    done = Finish(Status.COMPLETE, '"x"', None)
    logs = (LogRecord(RUN_ID, 1, "info", "hi", None, NOW),)
    received = step_row("wait:x", 2, result="{}", event_type="approval")
    last = boundary_of(
        wake_seq=10, version=5, steps=(received,), consumed=(Consumed(1, "wait:x"),), logs=logs, end=done
    )
    yield "finish", commit_leased(dialect, RUNNER_ID, 1, last)
    yield "optimistic", commit_optimistic(dialect, boundary_of(run_id=8, fence=4, version=5, end=done))
    yield "history", history_steps(RUN_ID)
    yield "history of events", history_events(RUN_ID)
    yield "history of logs", history_logs(RUN_ID)
    yield "list", list_runs("order", None, 10)
    yield "list complete", list_runs("order", "complete", 1)
    yield "next page", list_runs("order", "complete", 1, after=(100, 7))
    yield "old run", read_run("order", "o-1", 3)
    clock.now += 60_000
    yield "rescue", rescue(dialect, 10)
    yield "release", release_runner(dialect, RUNNER_ID, 2)


def dump(url):
    """Everything that the tables hold."""
    engine = create_engine(sync_url(url))
    with engine.connect() as connection:
        found = {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in metadata.sorted_tables
        }
    engine.dispose()
    return found


async def test_every_script_does_on_a_hosts_connection_what_it_does_in_a_store(host, database_url, request):
    """Results and rows are equal, statement by statement (G1)."""
    dialect = database_url.partition(":")[0]
    hosted = {name: await host(script) for name, script in scripts(dialect, host.clock)}
    rows = dump(database_url)
    empty(database_url)
    clock = Clock()
    async with a_store(database_url, clock) as store:
        stored = {name: await store.transaction(name, script) for name, script in scripts(dialect, clock)}
    assert hosted == stored
    assert rows == dump(database_url)
    assert hosted["leased"] is hosted["event"] is hosted["finish"] is hosted["optimistic"] is True


def empty(url):
    """Start anew."""
    engine = create_engine(sync_url(url))
    with engine.begin() as connection:
        theirs = [each for each in metadata.sorted_tables if each is not tables.migration]
        metadata.drop_all(connection, theirs)
        metadata.create_all(connection)
    engine.dispose()


def create(run_id=RUN_ID, instance_id="o-1"):
    """A script that creates an instance."""
    return insert_creations(
        "sqlite", [Creation(run_row(id=run_id, instance_id=instance_id), task_row(run_id=run_id))]
    )


async def test_what_the_host_rolls_back_was_never_there(host, database_url):
    """A start of a workflow goes with the host's own rows (G1)."""
    with pytest.raises(ZeroDivisionError):
        await host(raising(create()))
    assert dump(database_url)["keepstep_run"] == []


def raising(script):
    """The script, and then an error of the host's."""
    yield from script
    raise ZeroDivisionError


async def test_several_scripts_share_the_hosts_transaction(host, database_url):
    """Nothing commits before the host does."""
    if host.is_async:
        async with host.begin() as opened:
            await run_async(host.session or opened, create(), host.clock)
            found = await run_async(host.session or opened, read_instance("order", "o-1"), host.clock)
    else:
        with host.begin() as opened:
            run_sync(host.session or opened, create(), host.clock)
            found = run_sync(host.session or opened, read_instance("order", "o-1"), host.clock)
    assert found.run.id == RUN_ID
    assert [row[0] for row in dump(database_url)["keepstep_run"]] == [RUN_ID]


async def test_a_constraint_is_an_integrity_error(host):
    """A host sees keepstep's errors from keepstep's verbs, with the driver's as cause (H)."""

    def script():
        clause = tables.runner.insert()
        yield Call(
            Statement(clause, "add", tables.runner.c.keys()), [(1, 1, 1, "h", 1, 1), (1, 1, 1, "h", 1, 1)]
        )

    with pytest.raises(IntegrityError, match="add: a constraint") as caught:
        await host(script())
    assert caught.value.__cause__ is not None


async def test_missing_tables_say_to_migrate(host):
    """The host's connection may lead to a database that was never migrated."""

    def script():
        yield Call(Statement(text("SELECT * FROM keepstep_absent"), "look"))

    with pytest.raises(SchemaVersionError, match=r"app\.migrate\(\)"):
        await host(script())


async def test_without_a_clock_the_database_tells_the_time(host):
    """In production (B5)."""
    assert await host(read_now(), clock=None) > 1_600_000_000_000
    assert await host(read_now()) == NOW


async def test_a_script_is_closed_when_its_statement_fails(host):
    """It holds nothing open, and its own error handling does not run into the host's transaction."""
    closed = []

    def script():
        try:
            yield Call(Statement(text("SELECT * FROM keepstep_absent"), "look"))
        finally:
            closed.append(True)

    with pytest.raises(SchemaVersionError):
        await host(script())
    assert closed == [True]


def test_a_locked_sqlite_database_is_a_conflict(tmp_path):
    """Another process writes for longer than the host's driver waits (C5)."""
    url = f"sqlite:///{tmp_path}/a.db"
    engine = create_engine(url, connect_args={"timeout": 0})
    metadata.create_all(engine)
    writer = sqlite3.connect(f"{tmp_path}/a.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreConflictError), engine.begin() as connection:
        run_sync(connection, create(), Clock())
    writer.close()
    engine.dispose()


def test_dialects_are_told_apart(database_url):
    """By the connection, of whatever driver."""
    engine = create_engine(sync_url(database_url))
    with engine.connect() as connection, Session(engine) as session:
        assert dialect_of(connection) == dialect_of(session) == database_url.partition(":")[0]
        assert not is_async(connection)
    engine.dispose()


async def test_async_targets_are_told_apart(database_url):
    """So that a verb knows whether to be awaited."""
    engine = create_async_engine(async_url(database_url))
    async with engine.connect() as connection, AsyncSession(engine) as session:
        assert is_async(connection)
        assert is_async(session)
        assert dialect_of(connection) == database_url.partition(":")[0]
    await engine.dispose()


def test_a_scoped_session_is_its_session(database_url):
    """As frameworks hand it out."""
    engine = create_engine(sync_url(database_url))
    scoped = scoped_session(sessionmaker(engine))
    run_sync(scoped, create(), Clock())
    assert sync_target(scoped) is scoped()
    assert not is_async(scoped)
    scoped.commit()
    scoped.remove()
    engine.dispose()
    assert len(dump(database_url)["keepstep_run"]) == 1


@pytest.mark.parametrize("target", [None, "sqlite://", 7, object()])
def test_what_is_no_transaction_is_refused(target):
    """With a word about what is one."""
    with pytest.raises(UsageError, match="AsyncConnection"):
        sync_target(target)


def test_an_engine_is_no_transaction():
    """It would be unclear who commits."""
    with pytest.raises(UsageError, match="Engine is no open"):
        sync_target(create_engine("sqlite://"))


def test_an_async_connection_that_is_not_open_is_refused():
    """``engine.connect()`` without ``async with``."""
    with pytest.raises(UsageError, match="no open"):
        sync_target(create_async_engine("sqlite+aiosqlite://").connect())


def test_another_dialect_is_refused():
    """Only two databases are supported."""

    class Elsewhere(Session):
        def connection(self):
            """A connection of a dialect that nobody installed."""
            return SimpleNamespace(dialect=SimpleNamespace(name="mysql"))

    with pytest.raises(UsageError, match="mysql"):
        dialect_of(Elsewhere())


def test_what_few_apps_use_is_not_imported_by_all():
    """Start-up costs what is used: the ORM, asyncio's SQLAlchemy and the PostgreSQL driver are loaded when needed (W7)."""
    unwanted = ("sqlalchemy.orm", "sqlalchemy.ext.asyncio", "asyncpg", "starlette", "httpx")
    program = f"import sys, keepstep; sys.exit(', '.join(each for each in {unwanted!r} if each in sys.modules) or 0)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
