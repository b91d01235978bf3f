"""Migrations: one schema whichever way it came, applied once however many processes ask, checked with one row."""

import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from keepstep.errors import SchemaVersionError, StoreUnavailableError, UsageError
from keepstep.store import tables
from keepstep.store.migrations import CORE, Line, check, migrate, prepare
from keepstep.store.postgres import PostgresStore
from keepstep.store.sqlite import SqliteStore

PROCESSES = 8


class Clock:
    """A clock that stands still."""

    def now_ms(self):
        """An instant."""
        return 1_000


@asynccontextmanager
async def opened(url):
    """An open store on the database."""
    store = SqliteStore(url, clock=Clock()) if url.startswith("sqlite") else PostgresStore(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def engine_for(url):
    """A SQLAlchemy engine on the database."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        yield engine
    finally:
        engine.dispose()


CATALOGUE = """
SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'column', concat_ws(' ', table_name, ordinal_position, column_name, data_type, is_nullable, collation_name,
  column_default, is_identity, identity_generation) FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL
SELECT 'storage', concat_ws(' ', relname, reloptions::text) FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'constraint', conname || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
"""


def catalogue(engine):
    """All that the database knows about its schema, as text."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            rows = connection.execute(text("SELECT type, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
            return sorted((kind, " ".join(sql.replace(" ,", ",").split())) for kind, sql in rows)
        return sorted(tuple(row) for row in connection.execute(text(CATALOGUE)))


async def test_the_migrated_schema_is_the_one_of_the_tables(empty_database_url):
    """Alembic finds no difference between a migrated database and ``tables.py``."""
    await migrate(empty_database_url)
    with engine_for(empty_database_url) as engine, engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


async def test_not_even_the_catalogue_tells_a_migrated_database_from_a_created_one(empty_database_url):
    """Collations, predicates, sort orders and storage settings are the same too: Alembic does not compare those."""
    await migrate(empty_database_url)
    with engine_for(empty_database_url) as engine:
        migrated = catalogue(engine)
        with engine.begin() as connection:
            tables.metadata.drop_all(connection)
            tables.metadata.create_all(connection)
        assert migrated == catalogue(engine)


def test_the_line_ends_where_the_code_says():
    """The check knows the newest revision without Alembic, and Alembic agrees."""
    scripts = ScriptDirectory(str(CORE.folder), version_locations=[str(CORE.folder)])
    assert scripts.get_current_head() == CORE.head


MIGRATE = """
import asyncio, multiprocessing, sys
from keepstep.store.migrations import migrate, upgrade
import asyncpg, sqlalchemy.dialects.postgresql.asyncpg, sqlalchemy.dialects.sqlite
def one(together, url):
    together.wait()
    asyncio.run(migrate(url))
forking, url, count = multiprocessing.get_context("fork"), sys.argv[1], int(sys.argv[2])
together = forking.Barrier(count)
processes = [forking.Process(target=one, args=(together, url)) for _ in range(count)]
for each in processes:
    each.start()
for each in processes:
    each.join()
print([each.exitcode for each in processes])
"""


def test_eight_processes_migrate_a_fresh_database_at_once(empty_database_url):
    """One of them does it, all of them succeed, and nothing is there twice."""
    command = [sys.executable, "-c", MIGRATE, empty_database_url, str(PROCESSES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([0] * PROCESSES), done.stderr
    with engine_for(empty_database_url) as engine, engine.connect() as connection:
        rows = connection.execute(text("SELECT fragment, revision FROM keepstep_migration")).all()
    assert rows == [(CORE.fragment, CORE.head)]


async def test_a_migrated_database_passes_the_check(empty_database_url):
    """The check is satisfied, again and again."""
    await migrate(empty_database_url)
    async with opened(empty_database_url) as store:
        await store.transaction("check", check(), "read")
        await prepare(store, [CORE], migrating=empty_database_url)


async def test_a_fresh_database_is_migrated_if_needed(empty_database_url):
    """What the check refuses is repaired through the app's own start."""
    async with opened(empty_database_url) as store:
        await prepare(store, [CORE], migrating=empty_database_url)
        await store.transaction("check", check(), "read")


def test_a_check_that_is_satisfied_imports_no_alembic(tmp_path):
    """A start on a current database does not pay for Alembic."""
    program = f"""
import asyncio, sys
from keepstep.store.migrations import CORE, prepare
from keepstep.store.sqlite import SqliteStore
class Clock:
    def now_ms(self): return 1
async def main():
    store = SqliteStore("sqlite:///{tmp_path}/a.db", clock=Clock())
    await store.open()
    await prepare(store, [CORE], migrating="sqlite:///{tmp_path}/a.db")
    await store.close()
asyncio.run(main())
print("alembic" in sys.modules)
"""
    told = [subprocess.check_output([sys.executable, "-c", program]).decode().strip() for _ in range(2)]
    assert told == ["True", "False"]


async def test_without_tables_the_check_says_what_to_do(empty_database_url):
    """Missing tables are a schema version, not a driver's riddle."""
    async with opened(empty_database_url) as store:
        with pytest.raises(SchemaVersionError, match=r"app\.migrate\(\)"):
            await store.transaction("check", check(), "read")


async def test_a_newer_database_is_left_alone(empty_database_url):
    """Older code neither works on a newer schema nor touches it."""
    await migrate(empty_database_url)
    with engine_for(empty_database_url) as engine, engine.begin() as connection:
        connection.execute(text("UPDATE keepstep_migration SET revision = '0999'"))
    async with opened(empty_database_url) as store:
        with pytest.raises(SchemaVersionError, match="newer than this code's"):
            await store.transaction("check", check(), "read")
        with pytest.raises(SchemaVersionError, match="nothing was changed"):
            await prepare(store, [CORE], migrating=empty_database_url)


SECOND_LINE = """
import sqlalchemy as sa
from alembic import op
revision = "{revision}"
down_revision = {down}
def upgrade():
    {upgrade}
"""


def a_line(folder, *upgrades):
    """A fragment's line with one revision per upgrade."""
    for number, upgrade in enumerate(upgrades, 1):
        down = repr(f"{number - 1:04}") if number > 1 else None
        content = SECOND_LINE.format(revision=f"{number:04}", down=down, upgrade=upgrade)
        (folder / f"v{number:04}.py").write_text(content)
    return Line("billing", f"{len(upgrades):04}", folder)


CREATE = 'op.create_table("billing_invoice", sa.Column("id", sa.Integer, primary_key=True))'
GROW = 'op.add_column("billing_invoice", sa.Column("total", sa.Integer))'


async def test_each_fragment_has_a_line_of_its_own(empty_database_url, tmp_path):
    """A fragment's tables go forward revision by revision, beside keepstep's and whatever those do (G2)."""
    await migrate(empty_database_url, CORE, a_line(tmp_path, CREATE))
    await migrate(empty_database_url, a_line(tmp_path, CREATE, GROW))
    with engine_for(empty_database_url) as engine, engine.begin() as connection:
        connection.execute(text("INSERT INTO billing_invoice (id, total) VALUES (1, 99)"))
        rows = connection.execute(text("SELECT fragment, revision FROM keepstep_migration ORDER BY 1")).all()
    assert rows == [("billing", "0002"), ("keepstep", CORE.head)]


async def test_a_migration_that_fails_leaves_nothing(empty_database_url, tmp_path):
    """All revisions of a call are one transaction, on both databases."""
    with pytest.raises(ZeroDivisionError):
        await migrate(empty_database_url, a_line(tmp_path, CREATE, "1 / 0"))
    with engine_for(empty_database_url) as engine:
        assert catalogue(engine) == []


async def test_a_database_that_is_not_there_is_unavailable(tmp_path):
    """Nobody listens, or the folder does not exist: the driver's error is a cause."""
    with pytest.raises(StoreUnavailableError):
        await migrate("postgresql://postgres@127.0.0.1:1/nowhere")
    with pytest.raises(StoreUnavailableError):
        await migrate(f"sqlite:///{tmp_path}/no/such/folder/a.db")


async def test_a_database_in_memory_cannot_be_migrated_from_outside():
    """A second connection would be a second database."""
    with pytest.raises(UsageError, match="memory"):
        await migrate("sqlite://")
