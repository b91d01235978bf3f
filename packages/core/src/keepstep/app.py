"""The composition root: an app owns its database connections, registry, runner and dispatcher. There are no globals."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, Unpack, overload

from sqlalchemy import Connection

from keepstep.authoring.feed import ChangeFeed, hooks_of, subscribed
from keepstep.authoring.registry import AnyWorkflow, Bindings, KeyedBindings, Registry
from keepstep.client.binding import Binding
from keepstep.client.bound import Workflow, binding_of, bindings_of
from keepstep.client.changes import Changes
from keepstep.client.hooks import Hooks
from keepstep.client.hosted import Hosted, HostPort, HostTransaction
from keepstep.client.mint import Mint
from keepstep.client.mounted import FragmentAttributes, Mounted
from keepstep.client.ports import EnginePort
from keepstep.engine.dispatch import Dispatcher, RemoteDispatcher
from keepstep.engine.engine import Engine
from keepstep.engine.options import RunnerOptions
from keepstep.engine.seams import Clock, Seams
from keepstep.engine.stopping import Stopping
from keepstep.engine.surroundings import Surroundings
from keepstep.errors import InvalidInputError, UsageError
from keepstep.fragment.composition import AnyFragment, Composition
from keepstep.fragment.definition import Fragment, FragmentInstance
from keepstep.fragment.mount import FragmentMount
from keepstep.fragment.tx import Tx
from keepstep.model.limits import Limits
from keepstep.model.outcome import TickResult
from keepstep.store.address import MEMORY, Address, Database, url_of
from keepstep.store.aftermath import ends_elsewhere
from keepstep.store.api import Store
from keepstep.store.host import is_async, sync_target
from keepstep.store.migrations import CORE, Line, migrate, prepare
from keepstep.store.sessions import Sessions
from keepstep.store.sqlite import SqliteStore
from keepstep.sync.client import SyncClient
from keepstep.sync.hosted import SyncHosted, SyncHostPort
from keepstep.sync.tx import OpenTx

if TYPE_CHECKING:  # it needs greenlet, which a sync host on SQLite does not install
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session, scoped_session

    from keepstep.routes.access import Authorize
    from keepstep.routes.asgi import RouteOptions, Routes
    from keepstep.routes.endpoints import Served

P = TypeVar("P")
R = TypeVar("R")
W = TypeVar("W", bound=Bindings)
OnCommit = Callable[[Callable[[], None]], object] | None


class Default(enum.Enum):
    """The type of ``DEFAULT``: a dispatcher that the app makes itself."""

    DISPATCHER = "keepstep_node.PollingDispatcher()"


DEFAULT: Final = Default.DISPATCHER


class App(FragmentAttributes, Generic[W]):
    """Workflows on a database.

    Args:
        database: ``sqlite:///path``, ``postgresql://user@host/name``, or a SQLAlchemy engine, sync or async.
        workflows: a dict, whose keys become attributes of ``app.workflows``, or a ``Bindings`` class, which makes
            them typed.
        fragments: what libraries offer, mounted as attributes of the app: ``app.billing``. A subclass may name them in
            its body instead, ``class Shop(App): billing = billing``, which makes the attributes typed.
        dispatcher: who decides when the runner looks; by default a poll that is woken by events. None = nothing runs
            by itself: :meth:`tick` does what is due.
        runner: how the runner works.
        limits: sizes and counts that may not be exceeded (C10).
        changes: what is published of its instances' changes (F3), the same in every process; None = nothing.
        clock: time instead of the machine's, for tests.

    Attributes:
        workflows: the bindings.
        hooks: the outbox: hooks that were triggered, and what became of them.
        changes: the change feed: ``await app.changes(after=…)``, and its sinks.
        sync: the same verbs for sync code.

    Raises:
        UsageError: a database or workflow that keepstep cannot work with, or fragments that cannot be composed.
    """

    @overload
    def __init__(
        self,
        database: Database | Surroundings,
        *,
        workflows: type[W],
        fragments: Iterable[AnyFragment] = (),
        dispatcher: Dispatcher | Default | None = DEFAULT,
        runner: RunnerOptions = ...,
        limits: Limits = ...,
        changes: ChangeFeed | None = None,
        clock: Clock | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: App[KeyedBindings],
        database: Database | Surroundings,
        *,
        workflows: Mapping[str, AnyWorkflow] | None = None,
        fragments: Iterable[AnyFragment] = (),
        dispatcher: Dispatcher | Default | None = DEFAULT,
        runner: RunnerOptions = ...,
        limits: Limits = ...,
        changes: ChangeFeed | None = None,
        clock: Clock | None = None,
    ) -> None: ...
    def __init__(
        self,
        database: Database | Surroundings,
        *,
        workflows: type[W] | Mapping[str, AnyWorkflow] | None = None,
        fragments: Iterable[AnyFragment] = (),
        dispatcher: Dispatcher | Default | None = DEFAULT,
        runner: RunnerOptions = RunnerOptions(),  # noqa: B008  # frozen
        limits: Limits = Limits(),  # noqa: B008  # frozen
        changes: ChangeFeed | None = None,
        clock: Clock | None = None,
    ) -> None:
        around = database if isinstance(database, Surroundings) else _surroundings_of(database, clock)
        self._database = database
        self._wanted = dispatcher
        mounting = [*_named_in_class(type(self)), *fragments]
        stored = subscribed(changes)
        given: type[Bindings] | Mapping[str, AnyWorkflow] = {} if workflows is None else workflows
        self._registry = Registry(given, stored=stored, may_be_empty=bool(mounting))
        self._composition = Composition(
            mounting, self._registry, _Transactions(self), _reserved(self), stored
        )
        if changes is not None:
            changes.check(self._composition.registry.names)
        store, seams = around.store, around.seams
        self._engine = Engine(
            store,
            self._composition.registry,
            options=runner,
            limits=limits,
            seams=seams,
            sessions=around.sessions,
            hooks={**self._composition.hooks, **hooks_of(changes)},
            feed=changes,
        )
        self._mint = Mint(limits, seams.clock.now_ms, seams.random.getrandbits)
        self._port = EnginePort(self._engine, self._ready)
        # On SQLite the database's clock is this machine's, so a clock that is given replaces it there too (B5).
        host_clock = seams.clock if store.dialect == "sqlite" else clock
        self._hosting = HostTransaction(store.dialect, host_clock, self._touched_from_any_thread)
        self._home: asyncio.AbstractEventLoop | None = None
        self._connected = False
        self._started = False
        self._changing = asyncio.Lock()
        self.workflows: W = bindings_of(self._registry, self._port, self._mint)
        self.hooks = Hooks(self._port)
        self.changes = Changes(self._port)
        self.sync = SyncClient(self, self._registry, self._port, self._mint, self._composition)

    def __repr__(self) -> str:
        return f"<App on {_shown(self._database)}: {', '.join(self._composition.registry.names)}>"

    def binding(self, workflow: Workflow[P, R]) -> Binding[P, R]:
        """The binding of a workflow, typed by it, however the app was given its workflows.

        Raises:
            WorkflowNotFoundError: the app does not have it.
        """
        return binding_of(self._registry, workflow, self._port, self._mint)

    @property
    def dispatcher(self) -> Dispatcher | Default | None:
        """The dispatcher that it was given: ``DEFAULT`` = it makes one when it starts, None = nothing runs by itself."""
        return self._wanted

    @property
    def workflow_names(self) -> tuple[str, ...]:
        """The names of its workflows, sorted."""
        return self._registry.names

    # --- life

    @asynccontextmanager
    async def running(self, *, migrate: bool = True) -> AsyncGenerator[Self]:
        """Start the app, and stop it at the end of the block."""
        await self.start(migrate=migrate)
        try:
            yield self
        finally:
            await self.stop()

    async def start(
        self,
        *,
        migrate: bool = True,
        dispatcher: Dispatcher | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Connect, bring the schema up to date, start runner and dispatcher. A second start changes nothing.

        Args:
            migrate: False = only see that the schema is the one this code needs.
            dispatcher: instead of the app's own; None = its own.
            concurrency: runs in hand at the same time, instead of ``RunnerOptions.concurrency``.

        Raises:
            InvalidInputError: no concurrency that can be.
            SchemaVersionError: the database is newer than this code; or older, and ``migrate`` is False.
            StoreUnavailableError: it cannot be reached.
            UsageError: the app is open on another event loop, or the default dispatcher is not installed.
        """
        if concurrency is not None and (type(concurrency) is not int or concurrency < 1):
            raise InvalidInputError(f"concurrency must be an integer of 1 or more, not {concurrency!r}")
        await self._ready()
        async with self._changing:
            if self._started:
                return
            if dispatcher is None:
                dispatcher = _default_dispatcher() if self._wanted is DEFAULT else self._wanted
            store = self._engine.store
            try:
                own = None if isinstance(self._database, Surroundings) or not migrate else self._database
                await prepare(store, self._lines, migrating=own)
                if dispatcher is not None:
                    if not isinstance(dispatcher, RemoteDispatcher):
                        await self._engine.start(concurrency)
                    await dispatcher.start(self._engine.runner)
                    self._engine.dispatcher = dispatcher  # only one that is ours is woken, and stopped
            except BaseException:
                await self._end()
                raise
            self._started = True

    async def stop(self) -> None:
        """Stop the dispatcher, drain the runner, disconnect. A second stop changes nothing; a start may follow.

        Steps in flight get the time that ``RunnerOptions.drain`` gives; what has not ended then is given back. A stop
        that waits for a database or for code of yours half a minute longer says where, and goes on without.
        """
        if self._home is None:
            return
        self._check_home()
        async with self._changing:
            await self._end()

    async def migrate(self) -> None:
        """Bring the database's schema up to date. Safe in several processes at once; needs no start.

        Raises:
            SchemaVersionError: the database is newer than this code.
        """
        if isinstance(self._database, Surroundings):
            raise UsageError("surroundings that replace the database have their schema in place")
        await migrate(self._database, *self._lines)

    async def ping(self) -> None:
        """Ask the database something small: it answers, and has the tables. For health checks; needs no start.

        Raises:
            StoreUnavailableError: it is away.
            StoreError: it has trouble, or lacks the tables.
        """
        await self._ready()
        await self._engine.runner.next_due(self.workflow_names)

    # --- without a runner

    async def tick(
        self, max_instances: int | None = None, *, workflows: Collection[str] | None = None
    ) -> TickResult:
        """Advance what is due, each instance until it waits or ends, one transaction for each boundary (B9).

        Args:
            max_instances: how many at most; None = all that are due.
            workflows: names of the only ones to look at, where ticks are shared out by workflow; None = all.

        Returns:
            How many were advanced, and when to look next.

        Raises:
            WorkflowNotFoundError: the app does not have one of the workflows.
        """
        if max_instances is not None and (type(max_instances) is not int or max_instances < 1):
            raise InvalidInputError(f"max_instances must be an integer of 1 or more, not {max_instances!r}")
        known = self._composition.registry
        names = None if workflows is None else [known.by_name(name).name for name in workflows]
        await self._ready()
        return await self._engine.tick(max_instances, names)

    async def run_until_idle(self) -> int:
        """Tick until nothing is due now; how many instances were advanced. Timers of the future stay."""
        await self._ready()
        return await self._engine.run_until_idle()

    # --- in a host's transaction

    @overload
    def using(
        self, transaction: AsyncSession | AsyncConnection, *, on_commit: OnCommit = None
    ) -> Hosted[W]: ...
    @overload
    def using(
        self, transaction: Session | Connection | scoped_session[Any], *, on_commit: OnCommit = None
    ) -> SyncHosted: ...
    def using(self, transaction: Any, *, on_commit: OnCommit = None) -> Hosted[W] | SyncHosted:
        """The app's verbs in a transaction of yours: they commit or roll back with it (G1).

        Args:
            transaction: a SQLAlchemy session or connection on the app's database. With a sync one verbs are plain
                functions, with an async one they are awaited. Runners are woken after your commit.
            on_commit: takes what is to be called after the commit, where others than SQLAlchemy commit: Django's
                ``transaction.on_commit``. None = SQLAlchemy says so.

        Raises:
            UsageError: it is neither.
        """
        if on_commit is not None:
            ends_elsewhere(transaction, on_commit)
        if is_async(transaction):
            return Hosted(HostPort(transaction, self._hosting), self._registry, self._mint, self._composition)
        port = SyncHostPort(sync_target(transaction), self._hosting)
        return SyncHosted(port, self._registry, self._mint, self._composition)

    def routes(self, *, authorize: Authorize = None, **options: Unpack[RouteOptions]) -> Routes:
        """Make an ASGI application of the verbs: mount it, or serve it alone. It needs ``keepstep[http]``.

        Args:
            authorize: who may do what: see :mod:`keepstep.routes.access`. What it does not allow is denied (G3).
            options: ``tick``, ``prefix``, ``body_bytes_max``, ``wait_max``: see :class:`keepstep.routes.RouteOptions`.
        """
        routes, served = _routing()
        app = served(
            self._composition.registry,
            self._port,
            self._mint,
            self.tick,
            self.running,
            lambda: self._started,
            tuple(self._composition.mounts.values()),
        )
        return routes(app, authorize=authorize, **options)

    # --- inside

    @property
    def _lines(self) -> tuple[Line, ...]:
        return (CORE, *self._composition.lines)

    @property
    def home(self) -> asyncio.AbstractEventLoop | None:
        """The event loop on which the app is open, None while it is not."""
        return self._home

    async def _ready(self) -> None:
        """Connect on the running loop, if that has not been done."""
        if self._home is None:
            self._home = asyncio.get_running_loop()
        else:
            self._check_home()
        if not self._connected:
            await self._engine.open()
            self._connected = True

    def _check_home(self) -> None:
        if self._home is not asyncio.get_running_loop():
            raise UsageError(
                "the app is open on another event loop: await app.stop() there before it is used here, "
                "or call it from a thread through app.sync"
            )

    async def _end(self) -> None:
        """Undo what a start did, each part whatever becomes of the others, and however long it takes."""
        dispatcher, self._engine.dispatcher = self._engine.dispatcher, None
        stopping = Stopping(self._engine.options.drain_ms / 1000)
        async with AsyncExitStack() as ending:
            ending.callback(self._forget)
            ending.push_async_callback(stopping.part, "the connections", self._engine.close)
            ending.push_async_callback(stopping.part, "the runner", self._engine.stop)
            if dispatcher is not None:
                ending.push_async_callback(stopping.part, "the dispatcher", dispatcher.stop)

    def _forget(self) -> None:
        self._started = self._connected = False
        self._home = None

    def _touched_from_any_thread(self, run_id: int | None) -> None:
        home = self._home
        if home is not None and self._connected and home.is_running():
            home.call_soon_threadsafe(self._engine.touched, run_id)


class _Transactions:
    """How the app gives its fragments transactions."""

    def __init__(self, app: App[Any]) -> None:
        self._app = app

    def open(self, mount: FragmentMount, target: Any) -> Tx:
        return OpenTx(mount, target, self._app._hosting, self._app._mint)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    async def call(self, mount: FragmentMount, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        mounted = Mounted[Any, Any](mount, self._app._port, self._app._mint)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return await mounted.call(fn, *args, **kwargs)


def _named_in_class(cls: type) -> list[AnyFragment]:
    """The fragments that a subclass of ``App`` names in its body."""
    found = {name: value for base in reversed(cls.__mro__) for name, value in vars(base).items()}
    return [each for each in found.values() if isinstance(each, Fragment | FragmentInstance)]


def _reserved(app: App[Any]) -> set[str]:
    """Names that no fragment may have: attributes that say something else."""
    own = {
        name
        for name in dir(type(app))
        if not isinstance(vars(type(app)).get(name), Fragment | FragmentInstance)
    }
    return own | {"workflows", "hooks", "changes", "sync"}


def _address_of(database: Database) -> Address:
    address = url_of(database)
    if address.location == MEMORY:
        raise UsageError(
            "a database in memory cannot be shared by an app's connections: give a file, sqlite:///path"
        )
    return address


def _shown(database: Database | Surroundings) -> str:
    return "surroundings" if isinstance(database, Surroundings) else repr(_address_of(database))


def _surroundings_of(database: Database, clock: Clock | None) -> Surroundings:
    seams = Seams.production(clock)
    return Surroundings(
        _store_at(_address_of(database), seams.clock, clock), Sessions(database, clock), seams
    )


def _store_at(address: Address, system: Clock, given: Clock | None) -> Store:
    if address.dialect == "sqlite":
        return SqliteStore(address.location, clock=system)
    from keepstep.store.postgres import PostgresStore  # noqa: PLC0415  # it needs asyncpg, SQLite does not

    return PostgresStore(address.location, clock=given)


def _default_dispatcher() -> Dispatcher:
    try:
        from keepstep_node import PollingDispatcher  # noqa: PLC0415  # the core does not depend on it
    except ImportError as error:
        raise UsageError(
            "the default dispatcher is in a package of its own: pip install 'keepstep[node]'; "
            "or give App(dispatcher=None) and call app.tick()"
        ) from error
    return PollingDispatcher()


def _routing() -> tuple[type[Routes], type[Served]]:
    try:
        from keepstep.routes.asgi import Routes  # noqa: PLC0415  # it needs Starlette, an app does not
        from keepstep.routes.endpoints import Served  # noqa: PLC0415  # likewise
    except ImportError as error:
        raise UsageError("routes need Starlette: pip install 'keepstep[http]'") from error
    return Routes, Served
