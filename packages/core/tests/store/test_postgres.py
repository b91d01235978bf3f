"""The PostgreSQL executor: transactions, errors, outages, and the pool, on a real server."""

import asyncio
import contextlib
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy import text

from keepstep.errors import (
    IntegrityError,
    SchemaVersionError,
    StoreConflictError,
    StoreError,
    StoreUnavailableError,
    UsageError,
)
from keepstep.store.clock import read_now
from keepstep.store.postgres import PostgresStore
from keepstep.store.script import Call
from keepstep.store.statement import Statement


def statement(sql, *order):
    """A statement from text."""
    return Statement(text(sql), sql[:20], order)


MAKE = statement("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)")
ADD = statement("INSERT INTO note VALUES (CAST(:id AS INTEGER), :text)", "id", "text")
READ = statement("SELECT id, text FROM note ORDER BY id")
PID = statement("SELECT pg_backend_pid()")


def make():
    """Create the table."""
    yield Call(MAKE)


def add(*ids, fail=None):
    """Insert notes one by one, and then perhaps raise."""
    for each in ids:
        yield Call(ADD, {"id": each, "text": f"n{each}"})
    if fail is not None:
        raise fail
    return len(ids)


def read():
    """All notes' ids."""
    return [row[0] for row in (yield Call(READ))]


def ask(sql):
    """The rows of one statement."""
    return [tuple(row) for row in (yield Call(statement(sql)))]


class Proxy:
    """A way to the server that a test can cut, or from which it lets no more answers through."""

    def __init__(self, url):
        self.url = url
        self.silent = asyncio.Event()
        self.writers = []
        self.port = 0
        self.server_port = urlsplit(url).port

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        self.cut()
        await self.server.wait_closed()

    @property
    def through(self):
        """The database's URL through the proxy."""
        return self.url.replace(f":{self.server_port}", f":{self.port}")

    async def accept(self, reader, writer):
        """One client."""
        there, back = await asyncio.open_connection("127.0.0.1", self.server_port)
        self.writers += [writer, back]
        never = asyncio.Event()
        await asyncio.gather(
            self.pump(reader, back, never), self.pump(there, writer, self.silent), return_exceptions=True
        )

    async def pump(self, reader, writer, silent):
        """One direction of it."""
        with contextlib.suppress(ConnectionError):
            while found := await reader.read(65536):
                if not silent.is_set():
                    writer.write(found)
                    await writer.drain()
        writer.close()

    def cut(self):
        """Reset every connection."""
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()


@pytest.fixture
async def store(postgres_database):
    """An open store whose database has a table of notes."""
    opened = PostgresStore(postgres_database)
    await opened.open()
    await opened.transaction("make", make())
    yield opened
    await opened.close()


async def test_a_write_commits_as_a_whole(store):
    """What the script returns comes back once all of it is durable."""
    assert await store.transaction("add", add(1, 2)) == 2
    assert await store.transaction("read", read(), "read") == [1, 2]


async def test_a_script_that_raises_writes_nothing(store):
    """The error of the script is the error of the caller, and the connection is used again."""
    with pytest.raises(UsageError, match="no"):
        await store.transaction("add", add(1, fail=UsageError("no")))
    assert await store.transaction("read", read(), "read") == []


async def test_a_single_script_is_one_statement(store):
    """It needs no BEGIN; a second call would be a second transaction and is a bug of the script."""
    await store.transaction("add", add(1), "single")
    with pytest.raises(AssertionError, match="one call"):
        await store.transaction("add", add(2, 3), "single")
    assert await store.transaction("read", read(), "single") == [1, 2]


def nothing():
    """No call at all."""
    return "done"
    yield


@pytest.mark.parametrize("mode", ["single", "write", "read"])
async def test_a_script_without_calls_returns(store, mode):
    """There may be nothing to do."""
    assert await store.transaction("nothing", nothing(), mode) == "done"


async def test_many_rows_in_one_call(store):
    """A list of tuples is an ``executemany``."""

    def script():
        assert (yield Call(ADD, [(1, "a"), (2, "b")])) == []
        return (yield from read())

    assert await store.transaction("add", script()) == [1, 2]


@pytest.mark.parametrize("mode", ["single", "write"])
async def test_a_constraint_is_an_integrity_error(store, mode):
    """With the driver's exception as its cause, and a message without the row's values (H)."""
    await store.transaction("add", add(1))
    with pytest.raises(IntegrityError, match="constraint") as caught:
        await store.transaction("add a note", add(1), mode)
    assert isinstance(caught.value.__cause__, asyncpg.UniqueViolationError)
    assert await store.transaction("read", read(), "read") == [1]


async def test_a_missing_table_says_to_migrate(store):
    """The likely reason is an old schema (H)."""
    with pytest.raises(SchemaVersionError, match=r"app\.migrate\(\)"):
        await store.transaction("ask", ask("SELECT * FROM keepstep_nothing"), "read")


async def test_any_other_refusal_is_a_store_error(store):
    """No driver's exception leaves the store."""
    with pytest.raises(StoreError, match="division by zero"):
        await store.transaction("ask", ask("SELECT 1 / 0"), "read")


UPDATE = "UPDATE note SET text = 'x' WHERE id = $1"


def update(*ids):
    """Update notes one by one."""
    for each in ids:
        yield Call(statement("UPDATE note SET text = 'y' WHERE id = CAST(:id AS INTEGER)"), {"id": each})


async def until_blocked(connection):
    """Wait until a statement of the database waits for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(10):
        while not await connection.fetchval(waiting):
            await connection.execute("SELECT pg_stat_clear_snapshot()")


@pytest.fixture
async def other(postgres_database):
    """A second connection."""
    connection = await asyncpg.connect(postgres_database)
    yield connection
    await connection.close()


async def test_a_deadlock_is_a_conflict(store, other):
    """The victim may try again; the other one goes on (C5)."""
    await store.transaction("add", add(1, 2))
    await other.execute(
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET deadlock_timeout = 500'; END $$"
    )
    await other.execute("SET deadlock_timeout = '1h'")
    victim = PostgresStore(store.url)
    async with other.transaction():
        await other.execute(UPDATE, 2)
        waiting = asyncio.get_running_loop().create_task(victim.transaction("update", update(1, 2)))
        await until_blocked(other)
        await other.execute(UPDATE, 1)
    with pytest.raises(StoreConflictError, match="try again") as refused:
        await waiting
    assert isinstance(refused.value.__cause__, asyncpg.DeadlockDetectedError)
    assert await victim.transaction("ask", ask("SELECT DISTINCT text FROM note"), "read") == [("x",)]
    await victim.close()


async def test_a_lock_timeout_is_a_conflict(store, other):
    """A statement does not wait for ever for what others hold."""
    await store.transaction("add", add(1))
    hasty = PostgresStore(store.url, lock_timeout_ms=10)
    async with other.transaction():
        await other.execute(UPDATE, 1)
        for mode in ("write", "single"):
            with pytest.raises(StoreConflictError):
                await hasty.transaction("update", update(1), mode)
    await hasty.transaction("update", update(1))
    await hasty.close()


async def test_a_serialization_failure_is_a_conflict(store):
    """As any database default, a stricter isolation level is overruled; scripts that ask for it get its errors."""

    def fail():
        yield Call(statement("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$"))

    with pytest.raises(StoreConflictError):
        await store.transaction("fail", fail())


async def test_a_server_default_does_not_change_the_isolation(postgres_database, other):
    """Guards rely on READ COMMITTED, and plans on the settings of the store (B3)."""
    await other.execute(
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database()"
        " || ' SET default_transaction_isolation = serializable'; END $$"
    )
    store = PostgresStore(postgres_database)
    names = ("transaction_isolation", "jit", "plan_cache_mode", "enable_seqscan", "application_name")
    asked = ", ".join(f"current_setting('{name}')" for name in names)
    expected = ("read committed", "off", "force_generic_plan", "off", "keepstep")
    for mode in ("write", "single", "read"):
        assert await store.transaction("ask", ask(f"SELECT {asked}"), mode) == [expected]
    await store.close()


async def test_a_connection_that_was_killed_is_replaced(store, other):
    """The script under way fails as unavailable; the next one has a new connection (C5; defect 9)."""

    def script():
        ((pid,),) = yield Call(PID)
        killed.append(pid)
        yield Call(statement("SELECT pg_terminate_backend(pg_backend_pid())"))

    killed = []
    for mode in ("write", "read"):
        with pytest.raises(StoreUnavailableError):
            await store.transaction("script", script(), mode)
    ((pid,),) = await store.transaction("ask", ask("SELECT pg_backend_pid()"), "read")
    assert pid not in killed


async def test_idle_connections_that_were_killed_cost_one_attempt(store, other):
    """After a restart of the server one script learns it; all dead connections go with the first."""
    await asyncio.gather(*(store.transaction("ask", ask("SELECT 1"), "read") for _ in range(5)))
    assert len(store._pool._idle) > 1
    await other.fetch(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'keepstep'"
    )
    outcomes = []
    for _ in range(5):
        try:
            outcomes.append(await store.transaction("read", read(), "read"))
        except StoreUnavailableError:
            outcomes.append("unavailable")
    assert outcomes.count("unavailable") <= 1


async def test_an_outage_is_unavailable_and_passes(store):
    """While the way is cut every call fails soon; afterwards the same store works (C5)."""
    async with Proxy(store.url) as proxy:
        through = PostgresStore(proxy.through)
        assert await through.transaction("read", read(), "read") == []
        proxy.server.close()
        proxy.cut()
        for mode in ("write", "single", "read"):
            with pytest.raises(StoreUnavailableError):
                await through.transaction("read", read(), mode)
        proxy.server = await asyncio.start_server(proxy.accept, "127.0.0.1", proxy.port)
        assert await through.transaction("read", read(), "read") == []
        await through.close()


async def test_a_commit_whose_answer_is_lost_is_unavailable(store):
    """The caller learns that it does not know, and reads again; here it took place."""
    async with Proxy(store.url) as proxy:

        async def gate(label, point):
            if (label, point) == ("add", "commit"):
                proxy.silent.set()

        through = PostgresStore(proxy.through, gate=gate, command_timeout_ms=200)
        with pytest.raises(StoreUnavailableError):
            await through.transaction("add", add(1))
        await through.close()
    assert await store.transaction("read", read(), "read") == [1]


@pytest.mark.parametrize("mode", ["write", "single", "read"])
async def test_a_server_that_falls_silent_is_unavailable(store, mode):
    """A dead peer sends nothing, not even an error; no call waits longer than the command timeout."""
    async with Proxy(store.url) as proxy:
        through = PostgresStore(proxy.through, command_timeout_ms=100)
        await through.open()
        proxy.silent.set()
        with pytest.raises(StoreUnavailableError):
            await through.transaction("read", read(), mode)
        await through.close()


async def test_a_server_that_never_answers_is_unavailable():
    """A port that accepts and says nothing costs the connect timeout, no more."""
    kept = []
    server = await asyncio.start_server(lambda _reader, writer: kept.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = PostgresStore(f"postgresql://postgres@127.0.0.1:{port}/x", connect_timeout_ms=100)
    with pytest.raises(StoreUnavailableError):
        await store.open()
    await store.close()
    server.close()
    for writer in kept:
        writer.close()


async def test_a_database_that_is_not_there_is_unavailable(postgres_url):
    """Nobody listens, or there is no such database."""
    nowhere = urlsplit(postgres_url)._replace(path="/no_such_database").geturl()
    for url in ("postgresql://postgres@127.0.0.1:1/x", nowhere):
        with pytest.raises(StoreUnavailableError, match="open: the database cannot be reached"):
            await PostgresStore(url).open()


async def test_several_hosts_are_tried_in_turn(store):
    """A URL names the servers of a cluster; the first that can be written is taken."""
    url = store.url.replace("@127.0.0.1", "@127.0.0.1:1,127.0.0.1")
    cluster = PostgresStore(f"{url}?target_session_attrs=read-write")
    assert await cluster.transaction("read", read(), "read") == []
    await cluster.close()


async def test_a_standby_is_left_for_the_next_primary(store, other):
    """A server that turned read-only is no place to stay: its connections are given up (failover)."""
    await other.execute(
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET default_transaction_read_only = on'; END $$"
    )
    demoted = PostgresStore(store.url)
    with pytest.raises(StoreUnavailableError):
        await demoted.transaction("add", add(1))
    assert demoted._pool._idle == []
    await demoted.close()


async def test_a_cancelled_script_writes_nothing_and_leaves_no_lock(store, other):
    """Its connection is thrown away at once; the server rolls back."""
    await store.transaction("add", add(1))
    async with other.transaction():
        await other.execute(UPDATE, 1)
        waiting = asyncio.get_running_loop().create_task(store.transaction("update", update(1)))
        await until_blocked(other)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await store.transaction("ask", ask("SELECT text FROM note"), "read") == [("x",)]


async def test_more_work_than_connections_waits_its_turn(postgres_database):
    """The pool never opens more than its maximum, and everything is done."""
    store = PostgresStore(postgres_database, lanes=1, pool_max=3)
    opened = 0
    connect = store._pool._connect

    async def counted():
        nonlocal opened
        opened += 1
        return await connect()

    store._pool._connect = counted
    modes = ["read", "single", "write"] * 20
    pids = await asyncio.gather(*(store.transaction("ask", ask("SELECT pg_backend_pid()"), m) for m in modes))
    assert len(pids) == 60
    assert opened <= 3
    assert len({rows[0][0] for rows in pids}) <= 3
    await store.close()


async def test_scripts_cannot_take_the_lanes(store, other):
    """However many scripts wait for locks, a group commit and a renewal find a connection (B4)."""
    await store.transaction("add", add(1))
    small = PostgresStore(store.url, lanes=1, pool_max=3)
    async with other.transaction():
        await other.execute(UPDATE, 1)
        stuck = [asyncio.get_running_loop().create_task(small.transaction("u", update(1))) for _ in range(5)]
        await until_blocked(other)
        assert await small.transaction("ask", ask("SELECT 1"), "single") == [(1,)]
    await asyncio.gather(*stuck)
    await small.close()


async def test_the_store_is_busy_while_a_single_script_runs(store, other):
    """What tells the committer to gather."""
    await store.transaction("add", add(1))
    assert not store.busy
    async with other.transaction():
        await other.execute(UPDATE, 1)
        under_way = asyncio.get_running_loop().create_task(store.transaction("update", update(1), "single"))
        await until_blocked(other)
        assert store.busy
    await under_way
    assert not store.busy


async def test_while_commits_are_slow_another_may_go_beside(store):
    """One fuller group is cheaper than two, unless the disk is slow (performance.md)."""
    store._singles, store._pace = 1, 0.0
    assert store.busy
    store._pace = 0.005
    assert not store.busy


async def test_the_injected_clock_is_the_database_time(store, postgres_database):
    """In simulation the same statements take the simulated time (B5)."""

    class Clock:
        def now_ms(self):
            return 1_234

    simulated = PostgresStore(postgres_database, clock=Clock())
    assert await simulated.transaction("now", read_now(), "single") == 1_234
    assert await store.transaction("now", read_now(), "single") > 1_600_000_000_000
    await simulated.close()


async def test_the_gate_sees_each_transaction(postgres_database):
    """A simulation may step in before the work, before the commit, and after it."""
    seen = []

    async def gate(label, point):
        seen.append((label, point))

    store = PostgresStore(postgres_database, gate=gate)
    await store.transaction("a", nothing())
    await store.transaction("b", ask("SELECT 1"), "single")
    assert seen == [(label, point) for label in "ab" for point in ("begin", "commit", "committed")]
    await store.close()


async def test_a_gate_that_raises_at_the_commit_leaves_nothing(postgres_database, store):
    """A simulated crash before the commit."""

    async def gate(label, point):
        if point == "commit":
            raise UsageError("crash")

    crashing = PostgresStore(postgres_database, gate=gate)
    for mode in ("write", "single"):
        with pytest.raises(UsageError, match="crash"):
            await crashing.transaction("add", add(1), mode)
    assert await store.transaction("read", read(), "read") == []
    await crashing.close()


async def test_open_and_close_may_be_repeated(postgres_database):
    """A closed store can be opened again."""
    store = PostgresStore(postgres_database)
    for _ in range(2):
        await store.open()
        await store.open()
        assert await store.transaction("ask", ask("SELECT 1"), "read") == [(1,)]
        await store.close()
        await store.close()


async def test_closing_lets_what_is_under_way_end(store, other):
    """A script that runs while the store is closed is not cut off."""
    await store.transaction("add", add(1))
    async with other.transaction():
        await other.execute(UPDATE, 1)
        under_way = asyncio.get_running_loop().create_task(store.transaction("update", update(1)))
        await until_blocked(other)
        await store.close()
    await under_way
    assert store._pool._idle == []


@pytest.mark.parametrize(("lanes", "pool_max"), [(0, 8), (8, 8), (2, 1)])
def test_a_pool_has_room_for_lanes_and_scripts(lanes, pool_max):
    """A pool that could starve either is refused."""
    with pytest.raises(UsageError, match="lanes"):
        PostgresStore("postgresql://x/y", lanes=lanes, pool_max=pool_max)


def test_another_databases_url_is_refused():
    """And its password is not shown."""
    with pytest.raises(UsageError, match="not a PostgreSQL URL: mysql") as caught:
        PostgresStore("mysql://u:secret@h/d")
    assert "secret" not in str(caught.value)
