"""A whole engine on PostgreSQL under the troubles of its database: what is recorded is recorded once (B1, C5, defect 7).

Trouble is made by the server itself: a trigger that raises once, a real deadlock, sessions that are ended. Or an answer
is lost after its commit. Each time all runs come to their end, and every step has one row.
"""

import asyncio
from datetime import timedelta

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from keepstep import App, workflow
from keepstep.errors import InstanceTerminalError, StoreConflictError, StoreUnavailableError
from keepstep.model.plan import Hold
from keepstep.store.boundaries import commit_group
from keepstep.store.migrations import migrate
from keepstep.store.migrations.upgrade import LOCK_KEY
from tests.support.rows import NOW, RUN_ID, RUNNER_ID, step_row

BESIDE = 8


async def work(number: int) -> int:
    """A step."""
    return number + 1


@workflow(name="counting")
async def counting(event, step):
    """Three steps, of which the second waits for a word."""
    total = await step.do("first", work, event.payload)
    await step.wait_for_event("go", "go", timeout="1 hour")
    return await step.do("second", work, total)


class Clock:
    """Database time as the test says; the monotonic clock follows."""

    def __init__(self):
        self.now = NOW

    def now_ms(self):
        """Milliseconds."""
        return self.now

    def monotonic(self):
        """Seconds."""
        return self.now / 1000


@pytest.fixture
async def running(arena):
    """A running app on the arena's database, with its store's gate."""
    app = App(arena.store.url, workflows={"COUNTING": counting})
    async with app.running():
        yield app


async def insisting(verb, *args, **options):
    """What a client does whose own connection was lost: ask again for what may be asked twice."""
    while True:
        try:
            return await verb(*args, **options)
        except StoreUnavailableError:
            continue


async def all_is_well(arena, app, count=4):
    """Create instances, send each its word, and see that everything was recorded once and nothing is left over."""
    binding = app.workflows.COUNTING
    instances = [
        await insisting(binding.create, id=f"i-{n}", params=n, if_exists="return") for n in range(count)
    ]
    for instance in instances:
        await insisting(instance.send_event, "go", None, id="the-word")
    results = [await insisting(each.result, timeout=60) for each in instances]
    assert results == [n + 2 for n in range(count)]
    steps = await arena.fetch("SELECT run_id, seq, key, status FROM keepstep_run_step ORDER BY run_id, seq")
    keys = [(1, "do:first", "completed"), (2, "wait:go", "completed"), (3, "do:second", "completed")]
    assert [each[1:] for each in steps] == keys * count
    assert await arena.fetch("SELECT count(*), count(consumed_by) FROM keepstep_event") == [(count, count)]
    assert await arena.fetch("SELECT * FROM keepstep_task") == []


@pytest.mark.parametrize("point", ["begin", "commit"])
@pytest.mark.parametrize("label", ["commit", "claim"])
async def test_sessions_that_end_cost_time_and_nothing_else(arena, running, label, point):
    """The server ends every session of the runner, before a statement, twice in a row (C5, defects 7 and 9)."""
    left = 2

    async def gate(passed, at):
        nonlocal left
        if (passed, at) == (label, point) and left:
            left -= 1
            await arena.kill()

    running._engine.store._gate = gate
    await all_is_well(arena, running)
    assert left == 0 or label == "claim"


@pytest.mark.parametrize("label", ["commit", "claim", "renew"])
async def test_a_commit_whose_answer_is_lost_is_not_repeated(arena, running, label):
    """It took place, and the runner does not know: the same again changes nothing (B1, defect 7)."""
    left = 3

    async def gate(passed, at):
        nonlocal left
        if (passed, at) == (label, "committed") and left:
            left -= 1
            raise StoreUnavailableError(f"{label}: the answer is lost")

    running._engine.store._gate = gate
    await all_is_well(arena, running)


async def test_a_sender_who_lost_the_answer_sends_again(arena, running):
    """An event with an id is stored once, whatever became of the first answer (D7)."""
    instance = await running.workflows.COUNTING.create(id="i", params=1)
    lost = []

    async def gate(label, at):
        if (label, at) == ("send event", "committed") and not lost:
            lost.append(label)
            raise StoreUnavailableError("the answer is lost")

    running._engine.store._gate = gate
    with pytest.raises(StoreUnavailableError):
        await instance.send_event("go", None, id="the-word")
    assert (await instance.send_event("go", None, id="the-word")).duplicate
    assert await instance.result(timeout=60) == 3
    assert await arena.fetch("SELECT count(*) FROM keepstep_event") == [(1,)]


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
@pytest.mark.parametrize("table", ["run_step", "run", "event"])
async def test_a_conflict_that_the_server_reports_is_tried_again(arena, running, state, table):
    """Serialization failure, deadlock, lock timeout: nothing was written, and another try follows (C5)."""
    await arena.bare.execute(
        f"""CREATE SEQUENCE trouble;
        CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF nextval('trouble') <= 2 THEN RAISE EXCEPTION 'trouble' USING ERRCODE = '{state}'; END IF;
          RETURN NEW; END $$;
        CREATE TRIGGER trouble BEFORE INSERT OR UPDATE ON keepstep_{table} FOR EACH ROW EXECUTE FUNCTION trouble()"""
    )
    try:
        await all_is_well(arena, running)
        assert await arena.bare.fetchval("SELECT last_value FROM trouble") > 2
    finally:
        await arena.bare.execute("DROP FUNCTION trouble CASCADE; DROP SEQUENCE trouble")


async def test_the_victim_of_a_deadlock_writes_nothing_and_tries_again(arena, boundary):
    """A real one: a host holds the second run and wants the first, the group holds the first and wants the second."""
    await arena.runner()
    await arena.hold(RUN_ID, BESIDE)
    (name,) = (await arena.fetch("SELECT current_database()"))[0]
    await arena.bare.execute(f'ALTER DATABASE "{name}" SET deadlock_timeout = 500')
    pair = [boundary(each, Hold(), steps=(step_row("do:x", 1, run_id=each),)) for each in (RUN_ID, BESIDE)]
    store = await arena.side()
    await arena.bare.execute("SET deadlock_timeout = '1h'")
    async with arena.bare.transaction():
        lock = "SELECT FROM keepstep_task WHERE run_id = $1 FOR UPDATE"
        await arena.bare.execute(lock, BESIDE)
        script = commit_group("postgresql", RUNNER_ID, 1, pair)
        group = asyncio.get_running_loop().create_task(store.transaction("group", script, "single"))
        assert await arena.until_waiting(group)
        await arena.bare.execute(lock, RUN_ID)
    with pytest.raises(StoreConflictError, match="try again") as refused:
        await group
    assert isinstance(refused.value.__cause__, asyncpg.DeadlockDetectedError)
    await arena.bare.execute(f'ALTER DATABASE "{name}" RESET deadlock_timeout')
    assert await arena.fetch("SELECT FROM keepstep_run_step") == []
    assert (await arena.group(pair)).kept == {RUN_ID, BESIDE}


async def test_a_hosts_open_transaction_holds_up_its_own_run_alone(arena, running):
    """While a host steers one run and does not commit, all others go on; then its own follows (B3, G1)."""
    binding = running.workflows.COUNTING
    one, other = [await binding.create(id=each, params=1) for each in ("one", "other")]
    engine = create_async_engine(arena.store.url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection, connection.begin():
        hosted = await running.using(connection).workflows.COUNTING.get("one")
        await hosted.send_event("go", None)
        await other.send_event("go", None)
        assert await other.result(timeout=60) == 3
        assert (await one.status()).status in {"active", "waiting"}
    assert await one.result(timeout=60) == 3
    await engine.dispose()


@pytest.mark.parametrize("first", ["event", "tick"])
async def test_an_event_and_the_deadline_of_its_wait(arena, latch_at, first):
    """Accepted before the deadline it counts, though the tick came after it; else the wait has timed out (D4, B6)."""
    clock, latch = Clock(), latch_at("send event" if first == "event" else "tick")
    sender, ticker = (
        App(arena.store.url, workflows={"COUNTING": counting}, dispatcher=None, clock=clock) for _ in range(2)
    )
    instance = await sender.workflows.COUNTING.create(id="i", params=1)
    await ticker.tick()
    assert (await instance.status()).status == "waiting"
    holder = sender if first == "event" else ticker
    holder._engine.store._gate = latch
    clock.now += int(timedelta(minutes=59 if first == "event" else 61).total_seconds() * 1000)
    loop = asyncio.get_running_loop()
    calls = [instance.send_event("go", None), ticker.tick()]
    one, other = calls if first == "event" else reversed(calls)
    running = loop.create_task(one)
    async with asyncio.timeout(30):
        await latch.reached.wait()
    clock.now += 120_000
    following = loop.create_task(other)
    assert await arena.until_waiting(following)
    latch.go_on.set()
    await asyncio.gather(running, following, return_exceptions=True)
    await ticker.run_until_idle()
    if first == "event":
        assert await instance.result() == 3
    else:
        assert isinstance(following.exception(), InstanceTerminalError)
        assert (await instance.status()).error.name == "EventTimeoutError"
    consumed = await arena.fetch("SELECT count(consumed_by) FROM keepstep_event")
    assert consumed == [(1 if first == "event" else 0,)]
    await sender.stop()
    await ticker.stop()


async def test_migrations_take_turns(empty_postgres_database, arena):
    """Three processes that start at once on an empty database: one makes the schema, the others find it made."""
    bare = await asyncpg.connect(empty_postgres_database)
    await bare.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
    loop = asyncio.get_running_loop()
    migrating = [loop.create_task(migrate(empty_postgres_database)) for _ in range(3)]
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with asyncio.timeout(30):
        while await bare.fetchval(waiting) < 3:
            assert not any(each.done() for each in migrating)
    await bare.execute("SELECT pg_advisory_unlock($1)", LOCK_KEY)
    await asyncio.gather(*migrating)
    assert await bare.fetchval("SELECT count(*) FROM keepstep_migration") == 1
    await bare.close()
