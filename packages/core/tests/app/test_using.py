"""Verbs in a host's own transaction: they commit and roll back with the host's rows (G1)."""

import asyncio

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from keepstep import App, InstanceAlreadyExistsError, InstanceNotFoundError, Status, UsageError
from keepstep.errors import InvalidInstanceIdError, StoreConflictError

metadata = MetaData()
orders = Table("shop_order", metadata, Column("id", String(50), primary_key=True), Column("number", Integer))
COUNT = select(func.count()).select_from(orders)


@pytest.fixture
async def app(database_url, workflows, recording):
    """A started app whose runner looks only when the test says so."""
    async with App(database_url, workflows=workflows, dispatcher=recording()).running() as app:
        yield app


@pytest.fixture
def host(database_url):
    """The host's sync engine and its table."""
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
async def async_host(host, database_url):
    """The host's async engine."""
    url = database_url.replace("postgresql://", "postgresql+asyncpg://").replace(
        "sqlite://", "sqlite+aiosqlite://"
    )
    engine = create_async_engine(url)
    yield engine
    await engine.dispose()


def look(app):
    """One pass of the runner."""
    return app._engine.runner.look()


async def exists(app, name="o-1"):
    """Whether the instance is there for everybody."""
    try:
        await app.workflows.DOUBLING.get(name)
    except InstanceNotFoundError:
        return False
    return True


class RollBackError(Exception):
    """Ends a transaction."""


def place(app, transaction, name):
    """What a host does: its own row, and an instance for it."""
    transaction.execute(insert(orders).values(id=name, number=1))
    return app.using(transaction).workflows.DOUBLING.create(id=name, params=2)


def place_and_fail(app, begin, name):
    """The same, in a transaction that the host gives up."""
    with begin() as transaction:
        place(app, transaction, name)
        raise RollBackError


def sync_transactions(engine):
    """The four things that a sync host may have."""

    class Scoped:
        def __enter__(self):
            self.session = scoped_session(sessionmaker(engine))
            self.session.begin()
            return self.session

        def __exit__(self, kind, *_):
            (self.session.rollback if kind else self.session.commit)()
            self.session.remove()

    return {
        "connection": engine.begin,
        "session": sessionmaker(engine).begin,
        "scoped": Scoped,
    }


@pytest.mark.parametrize("kind", ["connection", "session", "scoped"])
async def test_a_sync_host_commits_both_or_neither(app, host, kind):
    """The host's row and the instance: one commit, one rollback (G1)."""
    begin = sync_transactions(host)[kind]
    with begin() as transaction:
        instance = place(app, transaction, "o-1")
        assert instance.id == "o-1"
        assert instance.status().status is Status.ACTIVE, "a transaction reads what it wrote"
    assert await exists(app)
    with pytest.raises(RollBackError):
        place_and_fail(app, begin, "o-2")
    assert not await exists(app, "o-2")
    with host.connect() as connection:
        assert connection.scalar(COUNT) == 1


@pytest.mark.parametrize("kind", ["connection", "session"])
async def test_an_async_host_commits_both_or_neither(app, async_host, kind):
    """The same, awaited (G1)."""

    def begin():
        return async_host.begin() if kind == "connection" else AsyncSession(async_host)

    async with begin() as transaction:
        await transaction.execute(insert(orders).values(id="o-1", number=1))
        instance = await app.using(transaction).workflows.DOUBLING.create(id="o-1", params=2)
        assert (await instance.status()).status is Status.ACTIVE
        await transaction.commit()
    assert await exists(app)
    async with begin() as transaction:
        await transaction.execute(insert(orders).values(id="o-2", number=1))
        await app.using(transaction).workflows.DOUBLING.create(id="o-2", params=2)
        await transaction.rollback()
    assert not await exists(app, "o-2")


async def test_runners_are_woken_after_the_commit_and_not_before(app, host):
    """A wake before the commit would find nothing; a rollback wakes nobody (G1, B6)."""
    dispatcher = app._engine.dispatcher
    with Session(host) as session:
        app.using(session).workflows.DOUBLING.create(id="o-1", params=2)
        await asyncio.sleep(0)
        assert dispatcher.wakes == 0
        session.rollback()
        app.using(session).workflows.DOUBLING.create(id="o-2", params=2)
        session.commit()
    async with asyncio.timeout(30):
        await dispatcher.woken.wait()
    await look(app)
    assert (await app.workflows.DOUBLING.instance("o-2").details()).started_at is not None


async def test_a_commit_in_another_thread_wakes_the_loop(app, host):
    """A host's worker threads commit; the runner lives on the app's loop (G1)."""

    def work():
        with Session(host) as session, session.begin():
            app.using(session).workflows.DOUBLING.create(id="o-1", params=2)

    await asyncio.to_thread(work)
    async with asyncio.timeout(30):
        await app._engine.dispatcher.woken.wait()


async def test_a_bare_connection_wakes_when_its_commit_is_certain(app, host):
    """The pool or the next transaction proves the commit."""
    with host.begin() as connection:
        app.using(connection).workflows.DOUBLING.create(id="o-1", params=2)
    async with asyncio.timeout(30):
        await app._engine.dispatcher.woken.wait()


async def test_an_app_that_is_not_open_still_writes(host, database_url, workflows):
    """A web process without a runner: nobody to wake, the instance is there (G1)."""
    app = App(database_url, workflows=workflows)
    await app.migrate()
    with Session(host) as session, session.begin():
        app.using(session).workflows.DOUBLING.create(id="o-1", params=2)
    assert await exists(app)
    await app.stop()


async def test_every_verb_works_in_the_hosts_transaction(app, host):
    """Events, steering, listing and reading write and see the same transaction (G1)."""
    with Session(host) as session, session.begin():
        binding = app.using(session).workflows.DOUBLING
        instance = binding.create(id="o-1", params=2)
        assert instance.send_event("go", id="e").duplicate is False
        assert instance.send_event("go", id="e").duplicate is True
        instance.pause()
        assert instance.details().buffered_events == 1
        assert [item.status for item in binding.list().items] == [Status.PAUSED]
        instance.resume()
        instance.restart(3)
        assert (instance.details().run_number, instance.details().params) == (2, 3)
        assert [event.id for event in instance.history(run=1).events] == ["e"]
        made = binding.create_batch([{"id": "o-1", "params": 1}, {"id": "o-2", "params": 1}])
        assert [each.id for each in made] == ["o-2"]
        binding.restart_or_create("o-2", 5, if_status_in=["active"])
        binding.get("o-2").cancel("no")
        binding.get("o-2").terminate("no")
        assert "terminated" in binding.get("o-2").why()
    assert (await app.workflows.DOUBLING.instance("o-2").status()).status is Status.TERMINATED


async def test_a_refusal_leaves_the_transaction_usable(app, host):
    """An existing id or a bad one is found without an error of the database (E2, H)."""
    with Session(host) as session, session.begin():
        binding = app.using(session).workflows.DOUBLING
        binding.create(id="o-1", params=2)
        with pytest.raises(InstanceAlreadyExistsError):
            binding.create(id="o-1", params=2)
        with pytest.raises(InvalidInstanceIdError):
            binding.create(id="not an id", params=2)
        session.execute(insert(orders).values(id="o-1", number=1))
    assert await exists(app)


async def test_a_result_is_read_but_not_waited_for(app, host):
    """Waiting would hold the host's transaction (G1)."""
    with Session(host) as session, session.begin():
        instance = app.using(session).workflows.DOUBLING.create(id="o-1", params=2)
        with pytest.raises(UsageError, match=r"cannot wait.*hold your transaction open"):
            instance.result(timeout=30)
    await app.workflows.DOUBLING.instance("o-1").send_event("go")
    await app._engine.tick()
    with Session(host) as session:
        assert app.using(session).workflows.DOUBLING.get("o-1").result() == 8


async def test_bindings_in_a_transaction_are_typed_by_their_workflow(app, host, async_host, definition):
    """`binding(workflow)` in both colours."""
    with Session(host) as session, session.begin():
        assert app.using(session).binding(definition).create(id="o-1", params=2).id == "o-1"
    async with AsyncSession(async_host) as session:
        assert (await app.using(session).binding(definition).get("o-1")).id == "o-1"


async def test_a_savepoint_takes_its_wakes_along(app, host):
    """What was created in a savepoint that is rolled back never was (G1)."""
    with Session(host) as session, session.begin():
        savepoint = session.begin_nested()
        app.using(session).workflows.DOUBLING.create(id="o-1", params=2)
        savepoint.rollback()
        app.using(session).workflows.DOUBLING.create(id="o-2", params=2)
    assert not await exists(app, "o-1")
    assert await exists(app, "o-2")


@pytest.mark.parametrize("bad", [None, 7, "sqlite:///x.db", object()])
async def test_what_is_no_transaction_is_refused(app, bad):
    """H: the message says what to give."""
    with pytest.raises(UsageError, match="Connection, Session, AsyncConnection or AsyncSession"):
        app.using(bad)


async def test_an_engine_is_no_transaction(app, host):
    """An engine has no transaction to join."""
    with pytest.raises(UsageError, match="no open SQLAlchemy transaction"):
        app.using(host)


async def test_autocommit_is_no_transaction(app, host):
    """Each statement would commit alone (G1, H)."""
    with (
        host.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(UsageError, match="AUTOCOMMIT"),
    ):
        app.using(connection).workflows.DOUBLING.create(params=1)


async def test_a_transaction_on_another_kind_of_database_is_refused(tmp_path, workflows, postgres_database):
    """The app's tables are not there (H)."""
    app = App(tmp_path / "x.db", workflows=workflows)
    engine = create_engine(postgres_database.replace("postgresql://", "postgresql+psycopg://"))
    with (
        engine.connect() as connection,
        pytest.raises(UsageError, match="on postgresql, but the app's database is sqlite"),
    ):
        app.using(connection).workflows.DOUBLING.create(params=1)
    engine.dispose()


async def test_a_stale_reader_on_sqlite_may_not_write(tmp_path, workflows):
    """A transaction that read before others wrote is refused as a conflict, instead of overwriting them (B3)."""
    url = f"sqlite:///{tmp_path}/x.db"
    app = App(url, workflows=workflows, dispatcher=None)
    await app.start()
    instance = await app.workflows.DOUBLING.create(id="o-1", params=1)
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        app.using(connection).workflows.DOUBLING.get("o-1").status()
        await app.run_until_idle()
        with pytest.raises(StoreConflictError):
            app.using(connection).workflows.DOUBLING.get("o-1").pause()
        connection.rollback()
    assert (await instance.status()).status is Status.WAITING
    engine.dispose()
    await app.stop()
