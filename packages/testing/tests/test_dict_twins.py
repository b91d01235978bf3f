"""Statement by statement: scripts on dicts and on SQLite are answered alike, and leave equal tables (invariant 43)."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from keepstep.errors import StoreError
from keepstep.store.script import Script
from keepstep.store.sqlite import SqliteStore
from keepstep.store.statement import Statement
from keepstep.store.tables import PREFIX
from keepstep_testing.conformance.stores import SetClock
from keepstep_testing.sim.database import Database
from keepstep_testing.sim.dicts import DictDatabase, DictStore
from keepstep_testing.sim.dicts.answers import ANSWERS
from keepstep_testing.whole import ALL_ROWS
from tests.support.moves import BEGINNING, MOVES, Draw, Move, Place


class Twins:
    """A store of each kind, under one clock.

    Attributes:
        place: what moves look at.
        answered: the statements so far.
    """

    def __init__(self, database: Database) -> None:
        database.reset()
        clock = SetClock()
        self.place = Place(DictDatabase(), clock)
        self.answered: set[Statement] = set()
        self._database = database
        self._dict_store = DictStore(self.place.dicts, clock=clock)
        self._sqlite_store = SqliteStore(
            database.path, clock=clock, slow_commit_ms=None, connect=database.connect
        )

    async def open(self) -> None:
        """Open both."""
        await self._dict_store.open()
        await self._sqlite_store.open()

    async def play(self, make: Callable[[], Script[Any]]) -> None:
        """Run a script on both, and compare."""
        answer = await self._outcome(self._dict_store, self._noting(make()))
        assert await self._outcome(self._sqlite_store, make()) == answer
        dicts = self.place.dicts.contents()
        assert {f"{PREFIX}{name}": rows for name, rows in dicts.items()} == self._database.contents()

    async def _outcome(self, store: Any, script: Script[Any]) -> Any:
        try:
            return await store.transaction("test", script)
        except StoreError as error:
            return type(error)

    def _noting(self, script: Script[Any]) -> Script[Any]:
        rows: Any = None
        while True:
            try:
                call = script.send(rows)
            except StopIteration as done:
                return done.value
            self.answered.add(call.statement)
            rows = yield call


def answered_in(database: Database, moves: Sequence[tuple[Move, int]]) -> set[Statement]:
    """Play moves on both, one after the other; the statements that were executed."""
    twins = Twins(database)

    async def play() -> None:
        await twins.open()
        for move, seed in moves:
            await twins.play(move(twins.place, Draw(seed)))

    asyncio.run(play())
    return twins.answered


@pytest.fixture(scope="module")
def database() -> Database:
    """SQLite, emptied for each sequence of moves."""
    return Database()


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)
@given(
    moves=st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 2**32)), min_size=10, max_size=30),
)
def test_dicts_and_sqlite_are_twins(database, moves):
    """Whatever scripts come one after the other."""
    answered_in(database, [*BEGINNING, *moves])


def test_every_statement_is_compared(database):
    """Long sequences reach each statement that has an answer."""
    missing = ANSWERS.keys() - set(ALL_ROWS.values())
    for seed in range(60):
        drawn = random.Random(seed)
        moves = [(drawn.choice(MOVES), drawn.getrandbits(32)) for _ in range(60)]
        missing -= answered_in(database, [*BEGINNING, *moves])
        if not missing:
            break
    assert sorted(each.label for each in missing) == []
