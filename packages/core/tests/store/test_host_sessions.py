"""Sessions for steps that write the user's tables (C8): one call is one transaction, of either colour."""

import asyncio
import importlib.util
import sqlite3
import threading

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from keepstep.errors import UsageError
from keepstep.store import sessions as module
from keepstep.store.host import dialect_of, run_async, run_sync
from keepstep.store.migrations import check, migrate
from keepstep.store.sessions import Sessions

DRIVERS = {
    "sqlite": ("sqlite", "sqlite+aiosqlite"),
    "postgresql": ("postgresql+psycopg", "postgresql+asyncpg"),
}
ADD = text("INSERT INTO note VALUES (1)")
COUNT = text("SELECT count(*) FROM note")


@pytest.fixture
def engine(database_url):
    """The host's own engine, on a database with a table."""
    dialect = database_url.partition(":")[0]
    made = create_engine(database_url.replace(dialect, DRIVERS[dialect][0], 1))
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE note (id INTEGER)"))
    yield made
    made.dispose()


@pytest.fixture
async def sessions(engine, database_url):
    """Sessions on that database."""
    opened = Sessions(database_url)
    yield opened
    await opened.close()


def count(engine):
    """How many notes are committed."""
    with engine.connect() as connection:
        return connection.scalar(COUNT)


def add(session):
    """A user's function."""
    session.execute(ADD)
    return "added"


async def add_async(session):
    """An async one."""
    await session.execute(ADD)
    return "added"


def fail(session):
    """Writes and raises."""
    add(session)
    raise ZeroDivisionError


async def fail_async(session):
    """Writes and raises."""
    await add_async(session)
    raise ZeroDivisionError


async def test_sync_work_commits_or_rolls_back(engine, sessions):
    """In the calling thread, with a session of SQLAlchemy's ORM."""
    assert await asyncio.to_thread(sessions.run_sync, add) == "added"
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(sessions.run_sync, fail)
    assert count(engine) == 1


async def test_async_work_commits_or_rolls_back(engine, sessions):
    """On the running loop."""
    assert await sessions.run_async(add_async) == "added"
    with pytest.raises(ZeroDivisionError):
        await sessions.run_async(fail_async)
    assert count(engine) == 1


async def test_scripts_join_the_users_transaction(database_url, engine, sessions):
    """The step's row and the user's rows are one commit (C8)."""
    await migrate(database_url)

    def both(session):
        add(session)
        run_sync(session, check())
        return dialect_of(session)

    async def both_async(session):
        await add_async(session)
        await run_async(session, check())
        return dialect_of(session)

    dialect = database_url.partition(":")[0]
    assert await asyncio.to_thread(sessions.run_sync, both) == dialect
    assert await sessions.run_async(both_async) == dialect
    assert count(engine) == 2


async def test_many_threads_share_one_pool(engine, sessions):
    """Steps run side by side; SQLite's take turns."""
    await asyncio.gather(*(asyncio.to_thread(sessions.run_sync, add) for _ in range(12)))
    assert count(engine) == 12
    assert len(sessions._ours) == 1


async def test_the_hosts_engine_is_used_where_it_fits(engine):
    """What the host has set up on its engine (events, types, tokens) holds for its steps too."""
    opened = Sessions(engine)
    used = await asyncio.to_thread(opened.run_sync, lambda session: session.get_bind())
    assert used is engine
    await opened.close()
    assert count(engine) == 0  # it was not disposed of


async def test_the_hosts_async_engine_is_used_where_it_fits(database_url, engine):
    """Likewise; sync functions then get an engine of our own."""
    dialect = database_url.partition(":")[0]
    theirs = create_async_engine(database_url.replace(dialect, DRIVERS[dialect][1], 1))
    opened = Sessions(theirs)

    async def bind_of(session):
        return session.bind

    assert await opened.run_async(bind_of) is theirs
    assert await asyncio.to_thread(opened.run_sync, add) == "added"
    await opened.close()
    await theirs.dispose()
    assert count(engine) == 1


async def test_closed_sessions_open_again(engine, sessions):
    """An app is stopped and started."""
    await sessions.run_async(add_async)
    await sessions.close()
    await sessions.close()
    assert await asyncio.to_thread(sessions.run_sync, add) == "added"
    assert count(engine) == 2


@pytest.fixture
def without(monkeypatch):
    """Pretends that a driver is not installed."""
    found = importlib.util.find_spec

    def hide(name):
        monkeypatch.setattr(module, "find_spec", lambda wanted: None if wanted == name else found(wanted))

    return hide


async def test_without_psycopg_sync_work_runs_on_asyncpg(postgres_database, without):
    """A private loop in the step's thread carries it; the function notices nothing."""
    without("psycopg")
    opened = Sessions(postgres_database)
    with_table = create_engine(postgres_database.replace("postgresql", "postgresql+psycopg", 1))
    with with_table.begin() as connection:
        connection.execute(text("CREATE TABLE note (id INTEGER)"))

    def work(session):
        assert isinstance(session, Session)
        assert "asyncpg" in type(session.connection().dialect).__module__
        return add(session), threading.current_thread() is not threading.main_thread()

    assert await asyncio.to_thread(opened.run_sync, work) == ("added", True)
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(opened.run_sync, fail)
    assert count(with_table) == 1
    with_table.dispose()


@pytest.mark.parametrize(
    ("url", "driver", "advice"),
    [
        ("sqlite:///a.db", "aiosqlite", "pip install aiosqlite"),
        ("postgresql://h/d", "asyncpg", r"keepstep\[postgres\]"),
        ("postgresql://h/d", "greenlet", r"sqlalchemy\[asyncio\]"),
    ],
)
async def test_a_missing_driver_says_what_to_install(without, url, driver, advice):
    """When the step runs, not with a stack of an import."""
    without(driver)
    with pytest.raises(UsageError, match=advice):
        await Sessions(url).run_async(add_async)


async def test_a_database_in_memory_has_no_second_connection():
    """The user's rows would go into another database."""
    with pytest.raises(UsageError, match="use a file"):
        Sessions("sqlite://").run_sync(add)


async def test_a_sqlite_transaction_begins_as_a_writer(tmp_path):
    """It reads and then writes: a reader that others overtook could not become one (SQLITE_BUSY_SNAPSHOT)."""
    path = f"{tmp_path}/a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE note (id INTEGER)")
    connection.close()
    opened = Sessions(f"sqlite:///{path}")

    def read_then_write(session):
        found = session.scalar(COUNT)
        other = sqlite3.connect(path, timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("INSERT INTO note VALUES (2)")
        other.close()
        add(session)
        return found

    assert await asyncio.to_thread(opened.run_sync, read_then_write) == 0

    async def read_then_write_async(session: AsyncSession):
        return await session.run_sync(read_then_write)

    assert await opened.run_async(read_then_write_async) == 1
    await opened.close()
