"""The databases that tests get are empty, one's own, and gone afterwards."""

import sqlite3
import tempfile
from pathlib import Path

import asyncpg
import psycopg
import pytest

from tests.support import postgres


async def test_a_database_is_empty_and_takes_tables(database_url):
    """Both kinds can be written to, by a coroutine, and hold nothing from an earlier test."""
    if database_url.startswith("sqlite:///"):
        connection = sqlite3.connect(database_url.removeprefix("sqlite:///"))
        connection.execute("CREATE TABLE leftover (id integer)")
        connection.close()
    else:
        connection = await asyncpg.connect(database_url)
        await connection.execute("CREATE TABLE leftover (id integer)")
        await connection.close()


def test_two_databases_are_two(postgres_databases):
    """Each call makes another database."""
    with postgres_databases() as one, postgres_databases() as other:
        assert one != other


def test_a_database_is_dropped_under_a_connection(postgres_databases):
    """A connection that a test left open does not keep its database alive."""
    with postgres_databases() as url:
        left_open = psycopg.connect(url)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)
    left_open.close()


def test_a_private_server_starts_and_stops():
    """A machine without PostgreSQL gets one from a wheel, and is left as it was."""
    with tempfile.TemporaryDirectory(prefix="keepstep-test-") as folder:
        server = postgres.PrivateServer(Path(folder))
        url = server.start()
        try:
            with postgres.fresh_database(url) as database, psycopg.connect(database) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        finally:
            server.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
