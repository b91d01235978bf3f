"""The databases that tests get are empty, one's own, and gone afterwards."""

import contextlib
import sqlite3
import tempfile
from pathlib import Path

import asyncpg
import psycopg
import pytest

from tests.support import postgres
from tests.support.databases import DatabasePool, fresh_database, schema_of


async def test_a_database_is_empty_and_takes_tables(empty_database_url):
    """Both kinds can be written to, by a coroutine, and hold nothing from an earlier test."""
    if empty_database_url.startswith("sqlite:///"):
        connection = sqlite3.connect(empty_database_url.removeprefix("sqlite:///"))
        connection.execute("CREATE TABLE leftover (id integer)")
        connection.close()
    else:
        connection = await asyncpg.connect(empty_database_url)
        await connection.execute("CREATE TABLE leftover (id integer)")
        await connection.close()


def test_two_databases_are_two(postgres_databases):
    """Each call makes another database."""
    with postgres_databases() as one, postgres_databases() as other:
        assert one != other


def test_a_database_is_dropped_under_a_connection(postgres_url):
    """A connection that a test left open does not keep its database alive."""
    with fresh_database(postgres_url) as url:
        left_open = psycopg.connect(url)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)
    left_open.close()


@pytest.fixture
def pool(postgres_url):
    """A pool of databases, with nothing in it yet."""
    with contextlib.closing(DatabasePool(postgres_url)) as opened:
        yield opened


LEFT_BEHIND = """
INSERT INTO keepstep_runner VALUES (1, 1, 1, 'host', 1, 1);
INSERT INTO keepstep_event (run_id, type, payload, accepted_at) VALUES (1, 'go', '1', 1);
CREATE TABLE mine (id integer PRIMARY KEY);
INSERT INTO keepstep_migration VALUES ('mine', '0001', 1);
DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET default_transaction_read_only = on'; END $$
"""


def state_of(url):
    """What a test could notice of those that came before."""
    with psycopg.connect(url, autocommit=True) as connection:
        names = sorted(connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        counts = [(name, connection.execute(f"SELECT count(*) FROM {name}").fetchone()) for (name,) in names]
        settings = connection.execute("SHOW default_transaction_read_only").fetchone()
        number = "INSERT INTO keepstep_event (run_id, type, payload, accepted_at) VALUES (1, 'go', '1', 1) RETURNING id"
        return counts, settings, connection.execute(number).fetchone()


def test_a_database_is_used_again_without_what_was_in_it(pool):
    """Rows, tables, settings, sequences and sessions of one test are gone before the next."""
    with pool.database() as url:
        at_first = state_of(url)
    with pool.database() as again:
        assert again == url
        left_open = psycopg.connect(again, autocommit=True)
        left_open.execute(LEFT_BEHIND)
        left_open.execute("BEGIN READ WRITE; LOCK keepstep_run")
    left_open.close()
    with pool.database() as third:
        assert third == url
        assert state_of(third) == at_first


CHANGES = [
    "ALTER TABLE keepstep_run ADD more integer",
    "DROP INDEX ix_keepstep_change_unpublished",
    "CREATE SCHEMA other",
    "CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE TYPE t AS ENUM ('a')",
    "UPDATE keepstep_migration SET revision = '9999'",
    "ALTER TABLE keepstep_run SET (fillfactor = 50)",
    "ALTER TABLE keepstep_run ADD CHECK (id > 0)",
]


def test_what_a_test_changed_in_the_schema_is_seen(pool):
    """Each kind of change makes another schema."""
    with pool.database() as url, psycopg.connect(url) as connection:
        before = schema_of(connection)
        for change in CHANGES:
            connection.rollback()
            assert schema_of(connection) == before
            connection.execute(change)
            assert schema_of(connection) != before, change


LARGE = "CREATE TABLE keepstep_large AS SELECT g, repeat('x', 1000) FROM generate_series(1, 20000) g"


@pytest.mark.parametrize("change", [CHANGES[0], LARGE], ids=["changed", "large"])
def test_a_database_that_is_not_as_it_was_is_not_used_again(pool, change):
    """Who changes keepstep's own tables, or makes the database large, has had the last use of it."""
    with pool.database() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute(change)
    with pool.database() as other:
        assert other != url


def test_a_private_server_starts_and_stops():
    """A machine without PostgreSQL gets one from a wheel, and is left as it was."""
    with tempfile.TemporaryDirectory(prefix="keepstep-test-") as folder:
        server = postgres.PrivateServer(Path(folder))
        url = server.start()
        try:
            with fresh_database(url) as database, psycopg.connect(database) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        finally:
            server.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
