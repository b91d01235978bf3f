"""A whole engine keeps its conformance suite, on each database, with a runner and without, with and without memory."""

from contextlib import asynccontextmanager

import pytest

from keepstep import App, RunnerOptions
from keepstep_testing.conformance.engines import Clock, EngineConformance, HandDispatcher
from keepstep_testing.conformance.engines.story import Story, workflows

LEASE = "30 days"
"""Tests move the clock by hours, and nobody is to take the runner for dead."""


class TestTicks(EngineConformance):
    """No runner: optimistic ticks only (B9)."""

    @pytest.fixture
    def open_app(self, database_url, clock):
        """An app that does nothing by itself."""

        @asynccontextmanager
        async def opened(definitions):
            app = App(database_url, workflows=definitions, clock=clock, dispatcher=None)
            yield app
            await app.stop()

        return opened


class Looking(EngineConformance):
    """A runner, which looks when the suite says so."""

    cache: int

    @pytest.fixture
    def open_app(self, database_url, clock):
        """An app with a runner."""

        @asynccontextmanager
        async def opened(definitions):
            async with running(database_url, definitions, clock, self.cache) as app:
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


async def test_memory_changes_no_history(database_url):
    """A6: with a cache of 0 and without a bound the same is recorded, in the same order."""
    without, kept = [await histories(database_url, cache) for cache in (0, 1_000_000)]
    assert without == kept
    assert sum(len(steps) for steps, _ in kept.values()) > 15
