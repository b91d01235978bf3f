"""Hints between processes on PostgreSQL: heard soon, never relied on."""

import asyncio

import asyncpg
import pytest

from keepstep.errors import UsageError
from keepstep.store import hints_pg
from keepstep.store.postgres import PostgresStore
from keepstep.store.script import Call
from tests.support.rows import NOW

WITHIN = 10
"""Seconds after which a test gives up; nothing waits this long when it works."""


@pytest.fixture
async def stores(postgres_database):
    """Two processes' stores on one database."""
    pair = [PostgresStore(postgres_database), PostgresStore(postgres_database)]
    yield pair
    for store in pair:
        await store.close()


class Ear:
    """Counts hints, and waits for them."""

    def __init__(self):
        self.heard = 0
        self.event = asyncio.Event()

    def __call__(self):
        """One more."""
        self.heard += 1
        self.event.set()

    async def next(self):
        """Wait for a hint after this moment."""
        self.event.clear()
        async with asyncio.timeout(WITHIN):
            await self.event.wait()


async def test_a_hint_reaches_another_process(stores):
    """Within the time of a NOTIFY, not of a poll (W4)."""
    there, here = stores
    ear = Ear()
    await there.listen(ear)
    here.hint()
    await ear.next()
    assert ear.heard == 1


async def test_a_process_does_not_hear_itself(stores):
    """It knows already; the other one's hint comes after and is heard alone."""
    here, there = stores
    ear, other_ear = Ear(), Ear()
    await here.listen(ear)
    await there.listen(other_ear)
    here.hint()
    await other_ear.next()
    there.hint()
    await ear.next()
    assert ear.heard == 1


async def test_hints_in_quick_succession_are_one_or_two(stores):
    """One at once, and one for all that came meanwhile: NOTIFY is not free (performance.md)."""
    there, here = stores
    ear = Ear()
    await there.listen(ear)
    for _ in range(1000):
        here.hint()
    await ear.next()
    assert here._sender._sending is not None
    await here._sender._sending
    here.hint()
    await ear.next()
    assert ear.heard <= 2


async def test_hints_stay_within_their_schema(postgres_database):
    """Two apps in two schemas of one database do not wake each other."""
    connection = await asyncpg.connect(postgres_database)
    await connection.execute("CREATE SCHEMA one; CREATE SCHEMA two")
    await connection.close()
    one, two = (PostgresStore(f"{postgres_database}?search_path={name}") for name in ("one", "two"))
    also_one = PostgresStore(f"{postgres_database}?search_path=one")
    ear_one, ear_two = Ear(), Ear()
    await one.listen(ear_one)
    await two.listen(ear_two)
    also_one.hint()
    await ear_one.next()
    assert ear_two.heard == 0
    for store in (one, two, also_one):
        await store.close()


async def listening_pid(connection):
    """The server process that listens."""
    return await connection.fetchval(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    )


async def test_a_lost_listener_listens_again(stores, postgres_database):
    """It asks for a look at once, for what it may have missed, and then hears again."""
    there, here = stores
    ear = Ear()
    await there.listen(ear)
    connection = await asyncpg.connect(postgres_database)
    await connection.execute("SELECT pg_terminate_backend($1)", await listening_pid(connection))
    await connection.close()
    await ear.next()
    here.hint()
    await ear.next()


async def test_listening_survives_a_database_that_is_not_there_yet():
    """``listen`` returns; an outage at the start is no error, the poll works or does not."""
    store = PostgresStore("postgresql://postgres@127.0.0.1:1/nowhere")
    await store.listen(Ear())
    await store.close()


async def test_a_hint_in_an_outage_is_dropped_without_a_word(stores, postgres_database):
    """Nothing raises, nothing is logged as unretrieved, and hints work again afterwards."""
    here, there = stores
    ear = Ear()
    await there.listen(ear)
    here.hint()
    await ear.next()
    connection = await asyncpg.connect(postgres_database)
    await connection.fetchval(
        "SELECT pg_terminate_backend($1, 5000)", here._sender._connection.get_server_pid()
    )
    await connection.close()
    here.hint()
    while here._sender._sending is not None:
        await here._sender._sending
    here.hint()
    await ear.next()


async def test_a_hint_without_a_database_is_dropped():
    """The connection is refused; the caller does not notice."""
    store = PostgresStore("postgresql://postgres@127.0.0.1:1/nowhere")
    store.hint()
    await store._sender._sending
    await store.close()


async def test_a_closed_store_hints_no_more(postgres_database):
    """It would open a connection that nobody closes."""
    store = PostgresStore(postgres_database)
    await store.close()
    store.hint()
    assert store._sender._sending is None


async def test_a_silent_connection_is_asked_whether_it_is_there(monkeypatch):
    """A peer that died without a word is found by a ping, which fails."""
    monkeypatch.setattr(hints_pg, "PING_MS", 1)

    class Dead:
        def add_termination_listener(self, callback):
            """Never called back."""

        def is_closed(self):
            """Not that it knew."""
            return False

        async def execute(self, query):
            """No answer."""
            raise TimeoutError

    with pytest.raises(TimeoutError):
        await hints_pg._until_lost(Dead())


async def test_no_notify_happens_in_a_write_transaction(stores):
    """A NOTIFY inside would serialise every commit of the database: a hint never waits for one, nor joins it."""
    there, here = stores
    ear = Ear()
    await there.listen(ear)

    def script():
        from keepstep.store.clock import READ_NOW

        yield Call(READ_NOW, {"now": NOW})
        here.hint()
        raise UsageError("rolled back")

    with pytest.raises(UsageError):
        await here.transaction("script", script())
    await ear.next()
    assert ear.heard == 1
