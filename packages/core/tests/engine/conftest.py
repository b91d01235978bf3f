"""Engines as processes: several on one database, each with a store that a test can watch, hold and cut off."""

import asyncio
import random
import selectors
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any

import pytest
from sqlalchemy import create_engine, select, text

from keepstep import Limits, RunnerOptions
from keepstep.authoring.registry import Registry
from keepstep.client.bound import bindings_of
from keepstep.client.mint import Mint
from keepstep.client.ports import EnginePort
from keepstep.engine.engine import Engine
from keepstep.engine.seams import Seams, SystemClock
from keepstep.errors import StoreUnavailableError
from keepstep.store import tables
from keepstep.store.sessions import Sessions
from keepstep.store.sqlite import SqliteStore
from keepstep_node import PollingDispatcher

EPOCH_MS = 1_800_000_000_000
_PIDS = count(1000)


class LoopClock:
    """The running loop's time is everybody's: with a virtual loop all time is virtual."""

    def now_ms(self) -> int:
        """Wall clock."""
        return EPOCH_MS + int(asyncio.get_running_loop().time() * 1000)

    def monotonic(self) -> float:
        """The loop's own."""
        return asyncio.get_running_loop().time()


class HandClock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.ms = EPOCH_MS

    def now_ms(self) -> int:
        """Wall clock."""
        return self.ms

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self.ms / 1000

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.ms += int(seconds * 1000)


Watch = Callable[[str], Awaitable[None]]


class Tap:
    """A store between an engine and its database: counts transactions by label, holds them, loses their answers.

    Attributes:
        labels: transactions that began, by label, reads included.
        statements: how many calls each transaction made, by label.
        before: awaited with the label before a transaction begins; may raise.
        after: awaited with the label once it is durable, before the engine hears of it; may raise.
        down: the database cannot be reached.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self.labels: Counter[str] = Counter()
        self.statements: defaultdict[str, list[int]] = defaultdict(list)
        self.before: Watch | None = None
        self.after: Watch | None = None
        self.down = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def transaction(self, label: str, script: Any, mode: Any = "write") -> Any:
        """See ``keepstep.store.api.Store``."""
        if self.before is not None:
            await self.before(label)
        if self.down:
            raise StoreUnavailableError(f"{label}: cut off by the test")
        self.labels[label] += 1
        made = [0]
        result = await self._store.transaction(label, _counting(script, made), mode)
        self.statements[label].append(made[0])
        if self.after is not None:
            await self.after(label)
        if self.down:
            raise StoreUnavailableError(f"{label}: cut off by the test, the answer is lost")
        return result


def _counting(script: Any, made: list[int]) -> Any:
    rows = None
    while True:
        try:
            call = script.send(rows)
        except StopIteration as done:
            return done.value
        made[0] += 1
        rows = yield call


class Node:
    """One process of a fleet: its engine, its runner, its client.

    Attributes:
        tap: what stands before its database.
        effects: what its steps did, for workflows that note it.
    """

    def __init__(
        self,
        url: str,
        workflows: Any,
        *,
        clock: Any,
        options: RunnerOptions,
        limits: Limits,
        alive: Any,
        host: str,
    ) -> None:
        self.pid = next(_PIDS)
        self.registry = Registry(workflows)
        system = clock or SystemClock()
        if url.startswith("sqlite"):
            store: Any = SqliteStore(url, clock=system, slow_commit_ms=None)
        else:
            from keepstep.store.postgres import PostgresStore

            store = PostgresStore(url, clock=clock)
        self.tap = Tap(store)
        draws = random.Random(self.pid)
        self.engine = Engine(
            self.tap,
            self.registry,
            options=options,
            limits=limits,
            seams=Seams(system, draws, host, self.pid, alive),
            sessions=Sessions(url),
        )
        self.runner = self.engine.runner
        mint = Mint(limits, system.now_ms, draws.getrandbits)
        self.workflows = bindings_of(self.registry, EnginePort(self.engine, self.engine.open), mint)
        self.crashed = False

    async def start(self, *, dispatch: bool = True) -> None:
        """Start the runner, and a poll that has it look."""
        await self.engine.open()
        await self.engine.start()
        if dispatch:
            self.engine.dispatcher = PollingDispatcher()
            await self.engine.dispatcher.start(self.runner)

    async def stop(self) -> None:
        """Drain, and disconnect. Idempotent."""
        dispatcher, self.engine.dispatcher = self.engine.dispatcher, None
        if dispatcher is not None:
            await dispatcher.stop()
        if not self.crashed:
            await self.engine.stop()
        await self.engine.close()

    async def crash(self) -> None:
        """The process is gone: nothing of it runs or writes any more, and nobody tells the database."""
        self.crashed = self.tap.down = True
        self.runner.lease._renewals.cancel()
        self.runner.lease.held = False
        self.runner.committer.drop()
        self.runner.advancer.drop_all()
        await self.stop()

    @property
    def held(self) -> list[str]:
        """The instances in this runner's hands."""
        return sorted(each.run.instance_id for each in self.runner.advancer.held.values())


class Fleet:
    """Nodes on one database.

    Args:
        url: the database, whose tables are made.
        clock: everybody's; None = each its own machine's.
    """

    def __init__(self, url: str, clock: Any = None) -> None:
        self.url = url
        self.clock = clock
        self.nodes: list[Node] = []
        self.dead: set[int] = set()
        self._engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        tables.metadata.create_all(self._engine)

    def node(
        self,
        *workflows: Any,
        options: RunnerOptions | None = None,
        limits: Limits | None = None,
        host: str = "host-1",
    ) -> Node:
        """One more process, not started; each workflow is bound by its name."""
        node = Node(
            self.url,
            {each.name: each for each in workflows},
            clock=self.clock,
            options=options or RunnerOptions(),
            limits=limits or Limits(),
            alive=lambda pid: pid not in self.dead,
            host=host,
        )
        self.nodes.append(node)
        return node

    async def started(self, *workflows: Any, dispatch: bool = True, **parts: Any) -> Node:
        """One more process, running."""
        node = self.node(*workflows, **parts)
        await node.start(dispatch=dispatch)
        return node

    def execute(self, sql: str) -> list[Any]:
        """Run a statement beside all engines, and commit it."""
        with self._engine.begin() as connection:
            done = connection.execute(text(sql))
            return [tuple(row) for row in done] if done.returns_rows else []

    def rows(self, table: Any) -> list[Any]:
        """All rows of a table, in order of its key, read beside all engines."""
        with self._engine.begin() as connection:
            return list(connection.execute(select(table).order_by(*table.primary_key)))

    @staticmethod
    async def passing(seconds: float) -> None:
        """Let time pass, virtual or not."""
        loop = asyncio.get_running_loop()
        passed = loop.create_future()
        loop.call_later(seconds, passed.set_result, None)
        await passed

    async def until(self, true: Callable[[], object]) -> None:
        """Let everything go on until something is the case."""
        for _ in range(200):  # at once, if it is a matter of turns
            if true():
                return
            await asyncio.sleep(0)
        async with asyncio.timeout(100 if self.clock is None else 3_600):
            while not true():
                await self.passing(0.001)

    async def stop(self) -> None:
        """Stop all."""
        for node in self.nodes:
            await node.stop()
        self._engine.dispose()


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: a wait for a timer moves the clock, a wait for nothing is a dead end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def select(self, timeout: float | None = None) -> Any:
        """Move the clock to the next timer."""
        if timeout is None:
            raise RuntimeError("nothing would ever happen: the test waits for what nobody does")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Reads its time from the selector that moves it."""

    def __init__(self) -> None:
        self._virtual = _JumpingSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """The virtual time."""
        return self._virtual.now

    def jump(self, seconds: float) -> None:
        """The process stands still for so long: no task runs, no timer fires."""
        self._virtual.now += seconds


@pytest.fixture
def virtually(tmp_path: Any) -> Callable[[Callable[[Fleet], Coroutine[Any, Any, None]]], None]:
    """Runs a coroutine function with a fleet on SQLite in virtual time."""

    def run(main: Callable[[Fleet], Coroutine[Any, Any, None]]) -> None:
        async def within() -> None:
            fleet = Fleet(f"sqlite:///{tmp_path}/keepstep.db", LoopClock())
            try:
                async with asyncio.timeout(100 * 86_400):
                    await main(fleet)
            finally:
                await fleet.stop()

        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(within())

    return run


@pytest.fixture
async def fleet(database_url: str) -> Any:
    """A fleet on each kind of database, in real time."""
    made = Fleet(database_url)
    yield made
    await made.stop()


@pytest.fixture
async def fleet_of() -> Any:
    """Makes fleets on databases that the test names."""
    made: list[Fleet] = []

    def make(url: str) -> Fleet:
        made.append(Fleet(url))
        return made[-1]

    yield make
    for each in made:
        await each.stop()


@pytest.fixture
async def lite(tmp_path: Any) -> Any:
    """A fleet on SQLite, in real time: for what the kind of database does not matter to."""
    made = Fleet(f"sqlite:///{tmp_path}/keepstep.db")
    yield made
    await made.stop()


@pytest.fixture
def clock() -> HandClock:
    """A clock that the test moves."""
    return HandClock()


@pytest.fixture
async def frozen(tmp_path: Any, clock: HandClock) -> Any:
    """A fleet on SQLite whose clock stands still until the test moves it."""
    made = Fleet(f"sqlite:///{tmp_path}/keepstep.db", clock)
    yield made
    await made.stop()


@pytest.fixture
async def still(database_url: str, clock: HandClock) -> Any:
    """A fleet on each kind of database whose clock stands still until the test moves it: for ticks."""
    made = Fleet(database_url, clock)
    yield made
    await made.stop()
