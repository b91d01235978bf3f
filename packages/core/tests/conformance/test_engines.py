"""A whole engine keeps its conformance suite, on each database, with a runner and without, with and without memory."""

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import asyncpg
import pytest

from keepstep import App, RunnerOptions
from keepstep.store import tables
from keepstep.store.migrations import migrate
from keepstep_testing.conformance.engines import Clock, EngineConformance, HandDispatcher
from keepstep_testing.conformance.engines.story import Story, workflows

LEASE = "30 days"
"""Tests move the clock by hours, and nobody is to take the runner for dead."""
EMPTIED = [name for name in tables.metadata.tables if name != tables.migration.name]


def migrated(url):
    """Migrate, from wherever a fixture is called."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(migrate(url))).result()
    return url


@pytest.fixture(scope="module")
def postgres(postgres_databases):
    """A migrated PostgreSQL database for all tests of the module."""
    with postgres_databases() as url:
        yield migrated(url)


@pytest.fixture(scope="module")
def sqlite_file(tmp_path_factory):
    """A migrated SQLite database, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "keepstep.db"
    migrated(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
async def empty_database(request, tmp_path):
    """An empty database that has keepstep's tables."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_file"), tmp_path / "keepstep.db")
        return f"sqlite:///{tmp_path}/keepstep.db"
    url = request.getfixturevalue("postgres")
    bare = await asyncpg.connect(url)
    await bare.execute(f"TRUNCATE {', '.join(EMPTIED)} RESTART IDENTITY")
    await bare.close()
    return url


class TestTicks(EngineConformance):
    """No runner: optimistic ticks only (B9)."""

    @pytest.fixture
    def open_app(self, empty_database, clock):
        """An app that does nothing by itself."""

        @asynccontextmanager
        async def opened(definitions):
            app = App(empty_database, workflows=definitions, clock=clock, dispatcher=None)
            yield app
            await app.stop()

        return opened


class Looking(EngineConformance):
    """A runner, which looks when the suite says so."""

    cache: int

    @pytest.fixture
    def open_app(self, empty_database, clock):
        """An app with a runner."""

        @asynccontextmanager
        async def opened(definitions):
            async with running(empty_database, definitions, clock, self.cache) as app:
                yield app

        return opened

    async def advance(self, app):
        """One look."""
        await app.hand.look()


@asynccontextmanager
async def running(url, definitions, clock, cache):
    """An app whose runner keeps so many suspended bodies, and its dispatcher as ``app.hand``."""
    hand = HandDispatcher()
    options = RunnerOptions(lease=LEASE, cache=cache)
    app = App(url, workflows=definitions, clock=clock, dispatcher=hand, runner=options)
    app.hand = hand
    async with app.running(migrate=False):
        yield app


class TestRunner(Looking):
    """Suspended bodies stay in memory (A6)."""

    cache = 1_000_000


class TestRunnerWithoutMemory(Looking):
    """Every run is replayed from its records, each time (A2, A6)."""

    cache = 0


def recorded(history):
    """What must not depend on memory: all of a history but the instants of its rows."""
    steps = [
        (each.key, each.seq, each.status, each.attempts, each.result, each.error) for each in history.steps
    ]
    return steps, [(each.payload, each.consumed_by) for each in history.events]


async def histories(url, cache):
    """What the suite's workflows record when each is helped to its end in the same way."""
    clock = Clock()

    async def advance(app):
        await app.hand.look()

    async with running(url, workflows(), clock, cache) as app:
        story = Story(app, clock, advance)
        found = {}
        for key, awaited in HELPED.items():
            instance = await story.create(key, 1 if key == "CONTINUING" else None, f"{key}-{cache}")
            for keys, word in awaited:
                await story.waits(instance, *keys)
                if word is None:
                    clock.move(hours=2)
                else:
                    await instance.send_event("word", word)
            await story.output(instance)
            found[key] = recorded(await instance.history())
        return found


REST, WORD = "sleep:rest", "wait:word"
HELPED = {
    "STRAIGHT": [],
    "CATCHING": [([REST], None)],
    "SLEEPING": [([REST], None)],
    "WAITING": [(["wait:one"], "a"), (["wait:two"], "b")],
    "PATIENT": [([WORD], None)],
    "BRANCHING": [([REST, WORD], "heard"), ([REST], None)],
    "DRAWING": [([REST], None)],
    "CONTINUING": [],
}


async def test_memory_changes_no_history(empty_database):
    """A6: with a cache of 0 and without a bound the same is recorded, in the same order."""
    without, kept = [await histories(empty_database, cache) for cache in (0, 1_000_000)]
    assert without == kept
    assert sum(len(steps) for steps, _ in kept.values()) > 15
