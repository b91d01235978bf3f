"""Databases for tests: empty ones, and ones with keepstep's tables that are emptied and used again."""

import contextlib
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from sqlalchemy import NullPool, create_engine

from keepstep.store import tables
from keepstep.store.migrations import CORE
from keepstep.store.migrations.upgrade import apply

_SETTINGS = "ALTER DATABASE {name} RESET ALL; ALTER DATABASE {name} SET synchronous_commit = off"
_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_TABLES = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
_SEQUENCES = "SELECT setval(oid, 1, false) FROM pg_class WHERE relkind = 'S'"
_SIZE = "SELECT pg_database_size(current_database())"
_SIZE_MAX = 16 << 20
_SCHEMA = """
WITH mine AS (SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
SELECT 'relation', concat_ws(' ', nspname, relname, relkind, reloptions::text, relhastriggers, relhasrules)
FROM pg_class JOIN mine ON mine.oid = relnamespace
UNION ALL
SELECT 'column', concat_ws(' ', relname, attnum, attname, atttypid, attnotnull, atthasdef, attidentity, attcollation)
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid JOIN mine ON mine.oid = relnamespace WHERE relkind = 'r'
UNION ALL
SELECT 'index', pg_get_indexdef(indexrelid)
FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN mine ON mine.oid = relnamespace
UNION ALL
SELECT 'constraint', concat_ws(' ', conname, pg_get_constraintdef(c.oid))
FROM pg_constraint c JOIN mine ON mine.oid = connamespace
UNION ALL
SELECT 'function', proname FROM pg_proc JOIN mine ON mine.oid = pronamespace
UNION ALL
SELECT 'type', typname FROM pg_type JOIN mine ON mine.oid = typnamespace
UNION ALL
SELECT 'schema', nspname FROM mine
UNION ALL
SELECT 'revision', concat_ws(' ', fragment, revision) FROM keepstep_migration
ORDER BY 1, 2
"""


@contextlib.contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """Create an empty database on `server`, give its URL, and drop it whoever is still connected."""
    name = f"keepstep_test_{secrets.token_hex(8)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def make_tables(url: str) -> None:
    """Migrate an empty database of either kind, without an event loop."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    with engine.begin() as connection:
        apply(connection, (CORE,))


class DatabasePool:
    """Databases of one test process: to make, migrate and drop one costs more than most tests.

    Commits do not wait for the disk in them: what is killed in tests is clients, never the server.

    Args:
        server: the URL of a server's maintenance database.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._made: dict[str, contextlib.ExitStack] = {}
        self._spare: list[str] = []
        self._schema: list[tuple[str, str]] = []

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a database with keepstep's tables and no rows; its sessions are ended afterwards."""
        url = self._spare.pop() if self._spare else self._make()
        yield url
        if self._emptied(url):
            self._spare.append(url)
        else:
            self._made.pop(url).close()

    def close(self) -> None:
        """Drop them all."""
        for each in self._made.values():
            each.close()

    def _make(self) -> str:
        stack = contextlib.ExitStack()
        url = stack.enter_context(fresh_database(self._server))
        self._made[url] = stack
        make_tables(url)
        with _connected(url) as connection:
            self._schema = schema_of(connection)
        return url

    def _emptied(self, url: str) -> bool:
        """End its sessions, drop what is not keepstep's, delete all rows; False when it is still not as it was, or has grown."""
        ours = set(tables.metadata.tables)
        with _connected(url) as connection:
            connection.execute(_END_SESSIONS)
            if connection.execute(_SIZE).fetchone() > (_SIZE_MAX,):
                return False
            found = {name for (name,) in connection.execute(_TABLES)}
            for name in found - ours:
                connection.execute(sql.SQL("DROP TABLE {} CASCADE").format(sql.Identifier(name)))
            if not ours <= found:
                return False
            connection.execute("DELETE FROM keepstep_migration WHERE fragment <> 'keepstep'")
            if schema_of(connection) != self._schema:
                return False
            emptied = "; ".join(f"DELETE FROM {name}" for name in ours - {tables.migration.name})
            connection.execute(f"{emptied}; {_SEQUENCES}".encode())
        return True


def schema_of(connection: psycopg.Connection) -> list[tuple[str, str]]:
    """All but the rows that a test could leave in a database."""
    return connection.execute(_SCHEMA).fetchall()


@contextlib.contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection]:
    """A session in a database whose settings are the server's again, but for the commits."""
    options = "-c default_transaction_read_only=off"
    with psycopg.connect(url, autocommit=True, options=options) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL(_SETTINGS).format(name=name))
        yield connection
