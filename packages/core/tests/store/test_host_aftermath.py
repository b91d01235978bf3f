"""What follows a host's commit (G1): once, after it, and not after a rollback, of whatever the host had open."""

from contextlib import asynccontextmanager, contextmanager

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from keepstep.errors import UsageError
from keepstep.store.aftermath import after_commit

DRIVERS = {
    "sqlite": ("sqlite", "sqlite+aiosqlite"),
    "postgresql": ("postgresql+psycopg", "postgresql+asyncpg"),
}


@pytest.fixture
def engine(database_url):
    """A sync engine on a database with a table."""
    dialect = database_url.partition(":")[0]
    made = create_engine(database_url.replace(dialect, DRIVERS[dialect][0], 1))
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE note (id INTEGER)"))
    yield made
    made.dispose()


@pytest.fixture
async def async_engine(engine, database_url):
    """An async engine on the same database."""
    dialect = database_url.partition(":")[0]
    made = create_async_engine(database_url.replace(dialect, DRIVERS[dialect][1], 1))
    yield made
    await made.dispose()


class Probe:
    """Notes, when called, what another connection can see: a callback before the commit sees nothing."""

    def __init__(self, engine):
        self.engine = engine
        self.seen = []

    def __call__(self):
        """Look."""
        with self.engine.connect() as connection:
            self.seen.append(connection.scalar(text("SELECT count(*) FROM note")))


@pytest.fixture
def probe(engine):
    """A callback."""
    return Probe(engine)


WRITE = text("INSERT INTO note VALUES (1)")


@contextmanager
def a_session(engine):
    """A session whose block commits."""
    with Session(engine) as session, session.begin():
        yield session


@contextmanager
def a_connection(engine):
    """A connection whose block commits."""
    with engine.begin() as connection:
        yield connection


@contextmanager
def a_connection_as_you_go(engine):
    """A connection that commits by hand."""
    with engine.connect() as connection:
        yield connection
        connection.commit()


@contextmanager
def a_joined_session(engine):
    """A session within a transaction that a connection ends."""
    with engine.begin() as connection, Session(connection) as session:
        yield session
        session.commit()


SYNC = [a_session, a_connection, a_connection_as_you_go, a_joined_session]


@pytest.mark.parametrize("opened", SYNC)
def test_the_callback_comes_after_the_commit(engine, probe, opened):
    """Once, and it sees what was written."""
    with opened(engine) as target:
        target.execute(WRITE)
        after_commit(target, probe)
        assert probe.seen == []
    assert probe.seen == [1]


@pytest.mark.parametrize("opened", SYNC)
def test_a_rollback_calls_nothing(engine, probe, opened):
    """There is nothing to wake for."""
    with pytest.raises(ZeroDivisionError), opened(engine) as target:  # noqa: PT012  # the block is the transaction
        target.execute(WRITE)
        after_commit(target, probe)
        raise ZeroDivisionError
    assert probe.seen == []


@pytest.mark.parametrize("opened", SYNC)
def test_each_callback_of_a_transaction_is_called(engine, opened):
    """Several verbs may have been used."""
    called = []
    with opened(engine) as target:
        after_commit(target, lambda: called.append(1))
        target.execute(WRITE)
        after_commit(target, lambda: called.append(2))
    assert called == [1, 2]


@pytest.mark.parametrize("opened", SYNC)
def test_a_callback_that_fails_does_not_disturb_the_host(engine, probe, caplog, opened):
    """The commit stands, and the next one is called."""
    with opened(engine) as target:
        target.execute(WRITE)
        after_commit(target, lambda: 1 / 0)
        after_commit(target, probe)
    assert probe.seen == [1]
    assert "the commit stands" in caplog.text


@pytest.mark.parametrize("opened", SYNC)
def test_a_released_savepoint_calls_nothing_yet(engine, probe, opened):
    """Only the outermost commit counts."""
    with opened(engine) as target:
        with target.begin_nested():
            target.execute(WRITE)
            after_commit(target, probe)
        assert probe.seen == []
    assert probe.seen == [1]


@pytest.mark.parametrize("opened", SYNC)
def test_what_was_asked_for_in_a_savepoint_goes_with_it(engine, opened):
    """What was asked for around it stays."""
    called = []
    with opened(engine) as target:
        target.execute(WRITE)
        after_commit(target, lambda: called.append("before"))
        savepoint = target.begin_nested()
        target.execute(WRITE)
        after_commit(target, lambda: called.append("in"))
        with target.begin_nested():
            target.execute(WRITE)
            after_commit(target, lambda: called.append("deep in"))
        savepoint.rollback()
        after_commit(target, lambda: called.append("after"))
    assert called == ["before", "after"]


@pytest.mark.parametrize("opened", SYNC)
def test_a_savepoint_that_began_before_is_recognised(engine, opened):
    """The first verb of a transaction may be used within a savepoint."""
    called = []
    with opened(engine) as target:
        target.execute(WRITE)
        savepoint = target.begin_nested()
        target.execute(WRITE)
        after_commit(target, lambda: called.append("in"))
        savepoint.rollback()
        after_commit(target, lambda: called.append("after"))
    assert called == ["after"]


def test_each_transaction_of_a_session_has_its_own(engine, probe):
    """A session is used again and again."""
    with Session(engine) as session:
        for _ in range(2):
            session.execute(WRITE)
            after_commit(session, probe)
            session.commit()
        session.execute(WRITE)
        session.commit()
        session.execute(WRITE)
        after_commit(session, probe)
        session.rollback()
        session.execute(WRITE)
        session.commit()
    assert probe.seen == [1, 2]


def test_a_connection_that_is_kept_tells_at_its_next_transaction(engine, probe):
    """Nothing says that a bare connection has committed; its next BEGIN proves it."""
    with engine.connect() as connection:
        connection.execute(WRITE)
        after_commit(connection, probe)
        connection.commit()
        assert probe.seen == []
        connection.execute(WRITE)
        assert probe.seen == [1]
        connection.rollback()
    assert probe.seen == [1]


def test_a_session_that_is_closed_without_a_commit_calls_nothing(engine, probe):
    """Closing rolls back; what comes later is another transaction."""
    session = Session(engine)
    session.execute(WRITE)
    after_commit(session, probe)
    session.close()
    session.execute(WRITE)
    session.commit()
    session.close()
    assert probe.seen == []


def test_a_commit_that_fails_calls_nothing(postgres_database):
    """A deferred constraint is found out at COMMIT."""
    engine = create_engine(postgres_database.replace("postgresql", "postgresql+psycopg", 1))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE one (id INTEGER UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    called = []
    for opened in SYNC:
        with pytest.raises(Exception, match="duplicate key"), opened(engine) as target:  # noqa: PT012  # likewise
            target.execute(text("INSERT INTO one VALUES (1), (1)"))
            after_commit(target, lambda: called.append(1))
    engine.dispose()
    assert called == []


@asynccontextmanager
async def an_async_session(engine):
    """A session whose block commits."""
    async with AsyncSession(engine) as session, session.begin():
        yield session


@asynccontextmanager
async def an_async_connection(engine):
    """A connection whose block commits."""
    async with engine.begin() as connection:
        yield connection


@pytest.mark.parametrize("opened", [an_async_session, an_async_connection])
async def test_async_targets_do_the_same(async_engine, probe, opened):
    """After the commit once, after a rollback never, with savepoints respected."""
    async with opened(async_engine) as target:
        await target.execute(WRITE)
        after_commit(target, probe)
        savepoint = await target.begin_nested()
        after_commit(target, probe)
        await savepoint.rollback()
        assert probe.seen == []
    assert probe.seen == [1]
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  # likewise
        async with opened(async_engine) as target:
            await target.execute(WRITE)
            after_commit(target, probe)
            raise ZeroDivisionError
    assert probe.seen == [1]


def test_what_is_no_transaction_is_refused():
    """An engine would have nothing to wait for."""
    with pytest.raises(UsageError):
        after_commit(create_engine("sqlite://"), print)
