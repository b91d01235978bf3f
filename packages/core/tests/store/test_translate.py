"""Drivers' exceptions as ``StoreError``s (H): told apart by what they say, whichever driver raised them."""

import sqlite3

import asyncpg
import psycopg
import pytest
import sqlalchemy.exc

from keepstep.errors import (
    IntegrityError,
    SchemaVersionError,
    StoreConflictError,
    StoreError,
    StoreUnavailableError,
    UsageError,
)
from keepstep.store.errors import translate, translated


def sqlite_error(code, kind=sqlite3.OperationalError, message="it says"):
    """An error with SQLite's result code."""
    error = kind(message)
    error.sqlite_errorcode = code
    return error


def wrapped(error):
    """As SQLAlchemy hands it on."""
    return sqlalchemy.exc.DBAPIError("SELECT 1", {"secret": 1}, error)


CASES = [
    (asyncpg.SerializationError("x"), StoreConflictError),
    (asyncpg.DeadlockDetectedError("x"), StoreConflictError),
    (asyncpg.LockNotAvailableError("x"), StoreConflictError),
    (asyncpg.QueryCanceledError("x"), StoreConflictError),
    (asyncpg.UniqueViolationError("x"), IntegrityError),
    (asyncpg.ForeignKeyViolationError("x"), IntegrityError),
    (asyncpg.NotNullViolationError("x"), IntegrityError),
    (asyncpg.UndefinedTableError("x"), SchemaVersionError),
    (asyncpg.UndefinedColumnError("x"), SchemaVersionError),
    (asyncpg.AdminShutdownError("x"), StoreUnavailableError),
    (asyncpg.CrashShutdownError("x"), StoreUnavailableError),
    (asyncpg.CannotConnectNowError("x"), StoreUnavailableError),
    (asyncpg.TooManyConnectionsError("x"), StoreUnavailableError),
    (asyncpg.DiskFullError("x"), StoreUnavailableError),
    (asyncpg.ReadOnlySQLTransactionError("x"), StoreUnavailableError),
    (asyncpg.InvalidPasswordError("x"), StoreUnavailableError),
    (asyncpg.ConnectionDoesNotExistError("x"), StoreUnavailableError),
    (asyncpg.InterfaceError("connection is closed"), StoreUnavailableError),
    (
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        StoreUnavailableError,
    ),
    (asyncpg.ProtocolError("unexpected message"), StoreUnavailableError),
    (asyncpg.InvalidCachedStatementError("x"), StoreError),
    (asyncpg.DivisionByZeroError("x"), StoreError),
    (psycopg.errors.SerializationFailure("x"), StoreConflictError),
    (psycopg.errors.UniqueViolation("x"), IntegrityError),
    (psycopg.errors.UndefinedTable("x"), SchemaVersionError),
    (psycopg.OperationalError("server closed the connection unexpectedly"), StoreUnavailableError),
    (sqlite_error(sqlite3.SQLITE_BUSY), StoreConflictError),
    (sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), StoreConflictError),
    (sqlite_error(sqlite3.SQLITE_LOCKED), StoreConflictError),
    (sqlite_error(sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.IntegrityError), IntegrityError),
    (sqlite_error(sqlite3.SQLITE_FULL), StoreUnavailableError),
    (sqlite_error(sqlite3.SQLITE_IOERR_WRITE), StoreUnavailableError),
    (sqlite_error(sqlite3.SQLITE_READONLY), StoreUnavailableError),
    (sqlite_error(sqlite3.SQLITE_CANTOPEN), StoreUnavailableError),
    (sqlite_error(sqlite3.SQLITE_NOTADB, sqlite3.DatabaseError), StoreUnavailableError),
    (sqlite_error(sqlite3.SQLITE_ERROR, message="no such table: keepstep_run"), SchemaVersionError),
    (sqlite_error(sqlite3.SQLITE_ERROR, message="table t has no column named x"), SchemaVersionError),
    (sqlite_error(sqlite3.SQLITE_ERROR, message="near SELCT"), StoreError),
    (sqlite3.ProgrammingError("Cannot operate on a closed database."), StoreUnavailableError),
    (sqlalchemy.exc.TimeoutError("QueuePool limit reached, connection timed out"), StoreUnavailableError),
    (ConnectionRefusedError("x"), StoreUnavailableError),
    (TimeoutError("x"), StoreUnavailableError),
]


@pytest.mark.parametrize(("error", "kind"), CASES, ids=lambda each: getattr(type(each), "__name__", ""))
def test_each_is_what_a_caller_can_act_on(error, kind):
    """Bare or wrapped by SQLAlchemy, with the driver's exception as cause and the label in front."""
    for each in (error, wrapped(error)):
        found = translate(each, "claim")
        assert type(found) is kind
        assert found.__cause__ is each
        assert str(found).startswith("claim: ")
        assert "secret" not in str(found)


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("x"), UsageError("x"), KeyError("x"), ValueError("closed")]
)
def test_what_no_driver_raised_is_left_alone(error):
    """A bug of ours or the user's is not the database's."""
    assert translate(error, "claim") is None


def test_a_store_error_stays_what_it_is():
    """Nothing is wrapped twice."""
    error = IntegrityError("x")
    assert translate(error, "claim") is error
    with pytest.raises(IntegrityError) as caught, translated("claim"):
        raise error
    assert caught.value is error


def test_the_block_translates_and_lets_the_rest_pass():
    """As a context manager."""
    with pytest.raises(StoreConflictError, match="renew"), translated("renew"):
        raise asyncpg.SerializationError("x")
    with pytest.raises(KeyError), translated("renew"):
        raise KeyError("x")
    with translated("renew"):
        pass


def test_a_message_is_one_line():
    """The driver's details and SQLAlchemy's statement stay with the cause."""
    found = translate(wrapped(sqlite_error(5, message="database is locked\nand more")), "claim")
    assert str(found).endswith("OperationalError: database is locked")
