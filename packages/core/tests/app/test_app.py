"""The app: its life, its schema check, its dispatcher, and life without one (B9, G1, H)."""

import asyncio
import sys

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from keepstep import App, InstanceAlreadyExistsError, RunnerOptions, Status, TickResult, UsageError
from keepstep.errors import InvalidInputError, SchemaVersionError, StoreError, StoreUnavailableError
from keepstep_node import PollingDispatcher


def driver(url, *, asynchronous=False):
    """The URL with a driver that the tests have."""
    if url.startswith("sqlite"):
        return url.replace("sqlite://", "sqlite+aiosqlite://") if asynchronous else url
    return url.replace("postgresql://", "postgresql+asyncpg://" if asynchronous else "postgresql+psycopg://")


async def finished(app, number=4, name="d-1"):
    """Have the app run an instance to its end."""
    instance = await app.workflows.DOUBLING.create(id=name, params=number)
    await instance.send_event("go")
    return await instance.result(timeout="30 seconds")


async def test_a_running_app_migrates_runs_and_drains(database_url, workflows):
    """`running()` is all that is needed on an empty database."""
    app = App(database_url, workflows=workflows)
    async with app.running() as running:
        assert running is app
        assert await finished(app) == 16
        assert app.home is asyncio.get_running_loop()
    assert app.home is None


async def test_one_of_two_creates_wins_while_the_runner_commits_in_groups(database_url, workflows):
    """Creations that join one group lose alone: one instance, one error for each id (E2)."""
    async with App(database_url, workflows=workflows).running() as app:
        binding = app.workflows.DOUBLING
        both = await asyncio.gather(
            *(binding.create(id=f"d-{n % 10}", params=n) for n in range(20)), return_exceptions=True
        )
        assert sum(isinstance(each, InstanceAlreadyExistsError) for each in both) == 10
        made = await binding.create_batch([{"id": f"d-{n}", "params": n} for n in range(15)])
        assert [instance.id for instance in made] == [f"d-{n}" for n in range(10, 15)]
        assert len((await binding.list()).items) == 15


async def test_start_and_stop_are_idempotent_and_repeatable(database_url, workflows):
    """A second start or stop changes nothing, at the same time either; a start after a stop runs again."""
    app = App(database_url, workflows=workflows)
    await app.stop()
    await asyncio.gather(app.start(), app.start())
    await app.start()
    assert await finished(app, name="d-1") == 16
    await asyncio.gather(app.stop(), app.stop())
    await app.stop()
    await app.start()
    assert await finished(app, name="d-2") == 16
    await app.stop()


async def test_a_start_may_bring_a_dispatcher(database_url, workflows):
    """An app that only commits elsewhere runs here; its own dispatcher stays what it was."""
    app = App(database_url, workflows=workflows, dispatcher=None)
    assert app.dispatcher is None
    await app.start(dispatcher=PollingDispatcher(), concurrency=1)
    assert await finished(app) == 16
    await app.stop()
    assert app.dispatcher is None


@pytest.mark.parametrize("concurrency", [0, -1, True, "3"])
async def test_a_start_takes_only_a_concurrency_that_can_be(database_url, workflows, concurrency):
    """It is refused before anything is started (H)."""
    app = App(database_url, workflows=workflows)
    with pytest.raises(InvalidInputError, match="concurrency must be an integer of 1 or more"):
        await app.start(concurrency=concurrency)
    assert app.home is None


async def test_a_ping_says_whether_the_database_answers(empty_database_url, workflows, tmp_path):
    """For health checks: it needs no start; tables that are missing are trouble, too."""
    app = App(empty_database_url, workflows=workflows, dispatcher=None)
    with pytest.raises(StoreError):
        await app.ping()
    await app.migrate()
    await app.ping()
    await app.stop()
    away = App(f"sqlite:///{tmp_path}/missing/folder.db", workflows=workflows)
    with pytest.raises(StoreUnavailableError):
        await away.ping()
    await away.stop()


async def test_without_a_dispatcher_nothing_runs_by_itself(database_url, workflows):
    """Also when it is started; `tick` does everything that is due (B9)."""
    app = App(database_url, workflows=workflows, dispatcher=None)
    async with app.running():
        instance = await app.workflows.DOUBLING.create(params=4)
        assert (await instance.details()).started_at is None
        result = await app.tick()
        assert result.processed == 1
        assert result.next_due == (await instance.details()).next_wake_at
        assert (await instance.status()).status is Status.WAITING
        await instance.send_event("go")
        assert await app.run_until_idle() == 1
        assert await instance.result(timeout=0) == 16
        assert await app.tick() == TickResult(0, None)


async def test_an_app_works_without_start(database_url, workflows):
    """Migrate, create, tick: that is all a serverless host does."""
    app = App(database_url, workflows=workflows, dispatcher=None)
    await app.migrate()
    await app.workflows.DOUBLING.create_batch([{"params": n} for n in range(3)])
    assert (await app.tick(max_instances=2)).processed == 2
    assert (await app.tick()).processed == 1
    await app.stop()


@pytest.mark.parametrize("bad", [0, -1, 1.5, "all", True])
async def test_a_tick_advances_at_least_one_instance(database_url, workflows, bad):
    """H: `max_instances` is a count or None."""
    app = App(database_url, workflows=workflows, dispatcher=None)
    with pytest.raises(InvalidInputError, match="max_instances"):
        await app.tick(max_instances=bad)


async def test_a_newer_schema_is_refused(database_url, workflows):
    """Code that does not know the tables must not write them; nothing is left open."""
    app = App(database_url, workflows=workflows)
    await app.migrate()
    engine = create_engine(driver(database_url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE keepstep_migration SET revision = '9999'"))
    engine.dispose()
    with pytest.raises(SchemaVersionError, match="newer"):
        await app.start()
    with pytest.raises(SchemaVersionError, match="newer"):
        await app.migrate()
    assert app.home is None


async def test_a_missing_schema_is_said_when_it_may_not_be_made(empty_database_url, workflows):
    """`migrate=False`: for hosts whose deployment migrates."""
    app = App(empty_database_url, workflows=workflows)
    with pytest.raises(SchemaVersionError, match=r"app\.migrate\(\)"):
        await app.start(migrate=False)
    await app.migrate()
    async with app.running(migrate=False):
        assert await finished(app) == 16


async def test_verbs_on_a_database_without_tables_say_what_to_do(empty_database_url, workflows):
    """H: the driver's error is the cause, not the message."""
    app = App(empty_database_url, workflows=workflows, dispatcher=None)
    with pytest.raises(SchemaVersionError, match=r"app\.migrate\(\)"):
        await app.workflows.DOUBLING.create(params=1)
    await app.stop()


async def test_a_start_that_fails_leaves_nothing_behind(database_url, workflows, recording):
    """What had been started is stopped again, and a later start works."""
    dispatcher = recording(fail_on_start=True)
    app = App(database_url, workflows=workflows, dispatcher=dispatcher)
    with pytest.raises(RuntimeError, match="cannot start"):
        await app.start()
    assert dispatcher.calls == ["start"]
    assert app.home is None
    dispatcher.fail_on_start = False
    await app.start()
    await app.stop()
    assert dispatcher.calls == ["start", "start", "stop"]


async def test_what_a_commit_brings_wakes_the_dispatcher(database_url, workflows, recording):
    """After an event the dispatcher is woken; the runner's look does the rest."""
    dispatcher = recording()
    app = App(database_url, workflows=workflows, dispatcher=dispatcher)
    async with app.running():
        instance = await app.workflows.DOUBLING.create(params=4)
        await instance.send_event("go")
        async with asyncio.timeout(30):
            await dispatcher.woken.wait()
            while (await instance.status()).status is not Status.COMPLETE:
                await dispatcher.runner.look()
                await asyncio.sleep(0)


async def test_the_default_dispatcher_must_be_installed(database_url, workflows, monkeypatch):
    """Without its package the error names it (H)."""
    monkeypatch.setitem(sys.modules, "keepstep_node", None)
    app = App(database_url, workflows=workflows)
    with pytest.raises(UsageError, match=r"pip install 'keepstep\[node\]'"):
        await app.start()
    await app.stop()


async def test_two_apps_live_in_one_process(database_url, workflows):
    """No globals: both run on one database, each with its runner."""
    first, second = (App(database_url, workflows=workflows) for _ in range(2))
    async with first.running(), second.running():
        results = await asyncio.gather(
            *(finished(app, n, f"d-{n}") for n, app in enumerate([first, second] * 5))
        )
        assert results == [4 * n for n in range(10)]


async def test_one_dispatcher_serves_one_app(database_url, workflows):
    """Sharing a dispatcher is refused, and the second app is left stopped."""
    dispatcher = PollingDispatcher()
    first, second = (App(database_url, workflows=workflows, dispatcher=dispatcher) for _ in range(2))
    async with first.running():
        with pytest.raises(UsageError, match="each app its own"):
            await second.start()
        assert await finished(first) == 16


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_sqlalchemy_engine_is_a_database(database_url, workflows, asynchronous):
    """The host's engine says where the database is."""
    url = driver(database_url, asynchronous=asynchronous)
    engine = create_async_engine(url) if asynchronous else create_engine(url)
    app = App(engine, workflows=workflows)
    async with app.running():
        assert await finished(app) == 16
    if asynchronous:
        await engine.dispose()
    else:
        engine.dispose()


async def test_a_path_is_a_database(tmp_path, workflows):
    """A SQLite file by its path."""
    async with App(tmp_path / "here.db", workflows=workflows).running() as app:
        assert await finished(app) == 16
    assert [path.name for path in tmp_path.glob("*.db")] == ["here.db"]


@pytest.mark.parametrize(
    ("database", "said"),
    [
        ("mysql://localhost/x", "keepstep does not work on 'mysql'"),
        ("not a url", "cannot be read"),
        (7, "a database is a URL or a SQLAlchemy engine, not int"),
        ("sqlite://", "in memory cannot be shared"),
    ],
)
def test_what_is_no_database_is_refused(database, said, workflows):
    """H: the message says what is expected."""
    with pytest.raises(UsageError, match=said):
        App(database, workflows=workflows)


async def test_a_database_that_is_not_there_is_said(tmp_path, workflows):
    """Infrastructure, with what to correct (C5, H)."""
    app = App(f"sqlite:///{tmp_path}/no/such/folder/x.db", workflows=workflows)
    with pytest.raises(StoreUnavailableError, match="does not exist"):
        await app.start()
    await app.stop()


@pytest.mark.parametrize("workflows", [None, {}, {"A": print}, {"not a key": None}, 7])
def test_what_are_no_workflows_is_refused(workflows, tmp_path):
    """H: at construction, with all that is wrong."""
    with pytest.raises(UsageError, match="workflow"):
        App(f"sqlite:///{tmp_path}/x.db", workflows=workflows)


async def test_another_event_loop_is_refused(database_url, workflows):
    """Connections belong to one loop; the message says what to do (H)."""
    app = App(database_url, workflows=workflows, dispatcher=None)
    await app.start()

    async def elsewhere():
        with pytest.raises(UsageError, match=r"open on another event loop.*app\.sync"):
            await app.workflows.DOUBLING.get("x")
        with pytest.raises(UsageError, match="another event loop"):
            await app.stop()

    await asyncio.to_thread(asyncio.run, elsewhere())
    await app.stop()


def test_an_app_can_move_to_another_loop_after_a_stop(tmp_path, workflows):
    """Scripts call `asyncio.run` more than once."""
    app = App(tmp_path / "x.db", workflows=workflows)

    async def life(name):
        async with app.running():
            return await finished(app, name=name)

    assert asyncio.run(life("a")) == 16
    assert asyncio.run(life("b")) == 16


def test_an_app_says_what_it_is_without_its_password(workflows):
    """`repr` is safe to log."""
    app = App("postgresql://user:secret@db/shop", workflows=workflows)
    assert "secret" not in repr(app)
    assert "doubling" in repr(app)


def test_unknown_options_are_answered_with_the_known_ones(workflows):
    """A misspelt option is a TypeError that lists what there is (H)."""
    with pytest.raises(TypeError, match=r"RunnerOptions knows no option leese; it knows lease, concurrency"):
        RunnerOptions(leese="1 minute")
    with pytest.raises(TypeError):
        RunnerOptions("1 minute")
    with pytest.raises(TypeError, match="dispacher"):
        App("sqlite:///x.db", workflows=workflows, dispacher=None)


@pytest.mark.parametrize(
    "options",
    [
        {"lease": "50ms"},
        {"concurrency": 0},
        {"sync_steps_max": 0},
        {"cache": -1},
        {"cache_bytes": 1.5},
        {"group_max": True},
    ],
)
def test_options_out_of_range_are_refused(options):
    """H: the message names the option."""
    with pytest.raises(UsageError, match=next(iter(options))):
        RunnerOptions(**options)


def test_options_read_their_durations():
    """Durations are text or `timedelta`, read once (D1)."""
    options = RunnerOptions(lease="1 minute", drain="500ms", cache=0)
    assert (options.lease_ms, options.drain_ms, options.cache) == (60_000, 500, 0)
    assert RunnerOptions() == RunnerOptions(lease="30 seconds")
