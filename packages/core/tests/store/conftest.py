"""A store of each kind, on an empty database with keepstep's tables, under a clock that the test sets."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Table, create_engine, select

from keepstep.model.plan import Boundary, Creation, End, Hold
from keepstep.model.records import RunnerRecord, RunRecord, TaskRecord
from keepstep.store import tables
from keepstep.store.api import Mode
from keepstep.store.boundaries import commit_group
from keepstep.store.claims import register_runner
from keepstep.store.group import GroupResult
from keepstep.store.postgres import PostgresStore
from keepstep.store.runs import insert_creations
from keepstep.store.script import Call, Script
from keepstep.store.sqlite import SqliteStore
from keepstep.store.statement import Statement
from tests.support.rows import NOW, RUN_ID, RUNNER_ID, run_row, task_row

LEASE_MS = 30_000


@dataclass
class SetClock:
    """Database time as the test says."""

    now: int = NOW

    def now_ms(self) -> int:
        """The instant that was set."""
        return self.now


@dataclass
class World:
    """A store and the shorthand that its tests share."""

    store: Any
    url: str
    clock: SetClock = field(default_factory=SetClock)

    @property
    def dialect(self) -> Any:
        """Which kind this test runs on."""
        return self.store.dialect

    async def run(self, script: Script[Any], mode: Mode = "write") -> Any:
        """Run a script in a transaction of its own."""
        return await self.store.transaction("test", script, mode)

    async def rows(self, table: Table) -> list[tuple[Any, ...]]:
        """All rows of a table, by primary key."""

        def script() -> Script[list[tuple[Any, ...]]]:
            found = yield Call(Statement(select(table).order_by(*table.primary_key), "all rows"))
            return [tuple(row) for row in found]

        return await self.run(script(), "read")

    async def runner(self, id: int = RUNNER_ID, epoch: int = 1, lease_ms: int = LEASE_MS) -> None:  # noqa: A002
        """Register a runner."""
        await self.run(register_runner(RunnerRecord(id, epoch, 0, "host-1", 1, 0), lease_ms))

    async def add(self, run: RunRecord, task: TaskRecord) -> None:
        """Insert a run with its task as they are."""
        await self.run(insert_creations(self.dialect, [Creation(run, task)]))

    async def hold(self, *run_ids: int, **changes: Any) -> None:
        """Insert runs that :data:`RUNNER_ID` holds under fence 4, with wake_seq 9 and version 5."""
        for run_id in run_ids or (RUN_ID,):
            run = run_row(id=run_id, instance_id=f"o-{run_id}")
            await self.add(run, task_row(run_id=run_id, owner=RUNNER_ID, **changes))

    async def group(
        self, boundaries: Sequence[Boundary], creations: Sequence[Creation] = (), epoch: int = 1
    ) -> GroupResult:
        """Commit a group of :data:`RUNNER_ID`'s."""
        return await self.run(commit_group(self.dialect, RUNNER_ID, epoch, boundaries, creations), "single")

    async def task(self, run_id: int = RUN_ID) -> TaskRecord | None:
        """One task row."""
        return next((TaskRecord._make(r) for r in await self.rows(tables.task) if r[0] == run_id), None)

    async def row(self, run_id: int = RUN_ID) -> RunRecord:
        """One run row."""
        return next(RunRecord._make(r) for r in await self.rows(tables.run) if r[0] == run_id)


def boundary(run_id: int = RUN_ID, end: End | None = None, **changes: Any) -> Boundary:
    """A boundary whose guard fits what :meth:`World.hold` inserts."""
    end = Hold() if end is None else end
    wake_seq = None if isinstance(end, Hold) else 9
    guard: dict[str, Any] = {"fence": 4, "wake_seq": wake_seq, "version": 5, "at": NOW, **changes}
    return Boundary(run_id=run_id, end=end, **guard)


@pytest.fixture(name="boundary")
def boundary_fixture() -> Any:
    """The function :func:`boundary`: test modules cannot import each other."""
    return boundary


def make_tables(url: str) -> None:
    """Create the tables as ``tables.py`` says them."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    tables.metadata.create_all(engine)
    engine.dispose()


@pytest.fixture
async def postgres_world(postgres_database: str) -> AsyncIterator[World]:
    """The same on PostgreSQL only."""
    make_tables(postgres_database)
    clock = SetClock()
    opened = PostgresStore(postgres_database, clock=clock)
    await opened.open()
    yield World(opened, postgres_database, clock)
    await opened.close()


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A store on an empty database; a test that asks for it runs on each kind."""
    make_tables(database_url)
    clock = SetClock()
    store: Any = SqliteStore if database_url.startswith("sqlite") else PostgresStore
    opened = store(database_url, clock=clock)
    await opened.open()
    yield World(opened, database_url, clock)
    await opened.close()


@pytest.fixture
def sqlite_url(tmp_path: Any) -> str:
    """The URL of a SQLite database that has the tables."""
    url = f"sqlite:///{tmp_path}/keepstep.db"
    make_tables(url)
    return url
