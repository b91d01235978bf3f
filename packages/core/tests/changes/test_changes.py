"""The change feed: every transition that is subscribed, once, in one dense order (F3, defect 16)."""

import asyncio
import contextlib

import pytest
from sqlalchemy import create_engine, func, select

from keepstep import UsageError
from keepstep.changes import ChangeFeed, ChangeKind, InstanceCompleted, StepCompleted
from keepstep.errors import ChangesPrunedError, InvalidInputError
from keepstep.kernel.changes import tell_boundary, tell_creation
from keepstep.kernel.create import plan_create
from keepstep.model.change import CHANGE
from keepstep.model.plan import Boundary
from keepstep.store import changes as store
from keepstep.store.boundaries import commit_group
from keepstep.store.tables import change as table
from tests.support.looking import Idle
from tests.support.rows import run_row, step_row


async def test_a_life_is_told_whole(app, told, clock):
    """F3: created, step completed, timer fired, event received, completed, in the order in which they happened."""
    instance = await app.workflows.ORDER.create(id="o-1", params=4)
    await app.run_until_idle()
    clock.ms += 10_000
    await app.run_until_idle()
    await instance.send_event("go", {"ok": True})
    assert await told(app, "pub_seq") == [
        ("created", 1),
        ("step_completed", 2),
        ("timer_fired", 3),
        ("event_received", 4),
        ("completed", 5),
    ]
    found = await app.changes()
    assert {(each.workflow, each.instance_id, each.run_number) for each in found} == {("order", "o-1", 1)}
    match found[1:]:
        case [StepCompleted(step_key="do:double", attempt=1), timer, received, InstanceCompleted() as last]:
            assert timer.step_key == "later>sleep:rest"
            assert (received.step_key, received.event_type) == ("wait:go", "go")
            assert last.duration_ms == 10_000
        case _:
            pytest.fail(repr(found))
    assert len({each.id for each in found}) == len(found)


async def test_operations_are_told(app, told, clock):
    """E3-E6, F3: pause, resume, terminate, restart, cancel and a failure, each by its kind."""
    instance = await app.workflows.ORDER.create(id="o-1", params=4)
    await app.run_until_idle()
    await instance.pause()
    await instance.pause()
    await instance.resume()
    await instance.terminate()
    await instance.restart(params=-1)
    await app.run_until_idle()
    await instance.restart(params=1)
    await app.run_until_idle()
    await instance.cancel("enough")
    steps = {"step_completed", "timer_fired"}
    kinds = [(kind, run) for kind, run in await told(app, "run_number") if kind not in steps]
    assert kinds == [
        ("created", 1),
        ("paused", 1),
        ("resumed", 1),
        ("terminated", 1),
        ("restarted", 2),
        ("errored", 2),
        ("restarted", 3),
        ("cancelled", 3),
    ]


async def test_a_restart_of_a_live_run_ends_it(app, told):
    """E6: the old run is told as terminated, then the new one begins."""
    instance = await app.workflows.ORDER.create(id="o-1", params=4)
    await instance.restart()
    assert (await told(app, "run_number"))[:3] == [("created", 1), ("terminated", 1), ("restarted", 2)]


async def test_a_batch_and_restart_or_create(app, told):
    """E2, E6: instances that exist are told once; the first run of restart_or_create is a creation."""
    quiet = app.workflows.QUIET
    await quiet.create_batch([{"id": "a", "params": 1}, {"id": "b", "params": 2}])
    await quiet.create_batch([{"id": "b", "params": 1}, {"id": "c", "params": 2}])
    await quiet.create(id="c", params=3, if_exists="return")
    await quiet.restart_or_create("d", params=1)
    await app.run_until_idle()
    await quiet.restart_or_create("d", params=1)
    found = await told(app, "instance_id")
    assert sorted(each for each in found if each[0] == "created") == [("created", each) for each in "abcd"]
    assert [each for each in found if each[1] == "d"] == [
        ("created", "d"),
        ("completed", "d"),
        ("restarted", "d"),
        ("completed", "d"),
    ]


async def test_nothing_is_told_of_what_was_rolled_back(app, told, database_url):
    """B1, G1: a change is in the transaction of what it tells."""
    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url)
    with engine.connect() as connection, connection.begin() as transaction:
        app.using(connection).workflows.QUIET.create(id="gone", params=1)
        transaction.rollback()
    with engine.begin() as connection:
        app.using(connection).workflows.QUIET.create(id="kept", params=1)
    engine.dispose()
    assert await told(app, "instance_id") == [("created", "kept"), ("completed", "kept")]


async def test_only_what_is_subscribed_is_written(opened, told):
    """F3: per kind and per workflow; without a feed nothing is written at all."""
    feed = ChangeFeed(kinds={"completed"}, workflows={"quiet"})
    app = await opened(feed)
    await app.workflows.QUIET.create(id="q", params=1)
    await app.workflows.ORDER.create(id="o", params=-1)
    assert await told(app, "workflow") == [("completed", "quiet")]
    silent = await opened(None)
    await silent.workflows.QUIET.create(id="q-2", params=1)
    assert await told(silent, "instance_id") == [("completed", "q")]


async def test_a_running_app_publishes_by_itself(opened):
    """F3: what a runner commits is published without a look of the dispatcher, and read by number."""
    app = await opened(ChangeFeed(), dispatcher=Idle(), clock=None)
    async with app.running(), asyncio.timeout(20):
        await app.workflows.QUIET.create(id="q", params=1)
        while len(found := await app.changes()) < 2:  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0)
        assert [each.pub_seq for each in await app.changes(after=1)] == [2]
    assert [(each.kind, each.pub_seq) for each in found] == [("created", 1), ("completed", 2)]


async def test_pages_follow_one_another(app, told):
    """F3: numbers are dense, and a page begins after any of them."""
    await app.workflows.QUIET.create_batch([{"id": f"q-{n}", "params": n} for n in range(9)])
    await told(app)
    after, seen = None, []
    while page := await app.changes(after=after, limit=5):
        seen += page
        after = page[-1].pub_seq
    assert [each.pub_seq for each in seen] == list(range(1, 19))
    assert [CHANGE.validate_json(each.model_dump_json()) for each in seen] == seen


@pytest.mark.parametrize("wrong", [{"after": -1}, {"after": True}, {"after": "1"}, {"limit": 0}])
async def test_what_cannot_be_read_is_refused(app, wrong):
    """H: a number of the stream is 0 or more, a limit 1 to 1000."""
    with pytest.raises(InvalidInputError):
        await app.changes(**wrong)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kinds": {"creatd"}}, "unknown kinds of changes: creatd; there are created"),
        ({"kinds": ()}, "no kinds"),
        ({"sinks": [print]}, "has a name, a batch and a way to deliver"),
    ],
)
def test_a_wrong_feed_is_refused(options, says):
    """H: said where it is made."""
    with pytest.raises(UsageError, match=says):
        ChangeFeed(**options)


async def test_a_feed_of_an_unknown_workflow_is_refused(opened):
    """H: a misspelt workflow would be silent for ever."""
    with pytest.raises(UsageError, match="does not have: ordr; it has order, quiet"):
        await opened(ChangeFeed(workflows={"ordr"}))


async def test_old_changes_are_pruned_and_a_gap_is_said(opened, told, clock):
    """F3: retention; who reads from before it is told, instead of missing some."""
    app = await opened(ChangeFeed(retention="1 day"))
    await app.workflows.QUIET.create(id="old", params=1)
    await told(app)
    clock.ms += 86_400_001
    await app.workflows.QUIET.create(id="young", params=1)
    await told(app)
    await app._engine.feeds._prune(ChangeFeed(retention="1 day"))
    assert [each.pub_seq for each in await app.changes()] == [3, 4]
    assert [each.pub_seq for each in await app.changes(after=2)] == [3, 4]
    with pytest.raises(ChangesPrunedError, match="up to 2 are kept no more"):
        await app.changes(after=0)


async def test_a_change_that_is_written_twice_is_told_once(app, told):
    """B3: a group whose answer was lost is committed again: the change has the same name."""
    await app.workflows.QUIET.create(id="q", params=1)
    await told(app)

    def again():
        rows = yield store.Call(store.READ_CHANGES, {"after": 0, "limit": 9})
        yield store.Call(store.ADD_CHANGE, [tuple(row[1:]) for row in rows])

    await app._engine.store.transaction("again", again())
    assert await told(app) == [("created",), ("completed",)]
    assert [(await app.changes())[0].kind] == [ChangeKind.CREATED]


async def test_the_sync_face_reads_too(opened, told):
    """G1: the same verbs for sync hosts."""
    app = await opened(ChangeFeed())
    await app.workflows.QUIET.create(id="q", params=1)
    await told(app)
    found = await asyncio.to_thread(app.sync.changes, 1)
    assert [each.pub_seq for each in found] == [2]
    assert await asyncio.to_thread(app.sync.changes.sinks) == []


class Host:
    """Connections of a host, each with a transaction that the test ends."""

    def __init__(self, url: str) -> None:
        self.engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))

    def begun(self, app, name):
        """A transaction that has created an instance and is not committed."""
        connection = self.engine.connect()
        transaction = connection.begin()
        app.using(connection).workflows.QUIET.create(id=name, params=1)
        return connection, transaction

    def unnumbered(self):
        """How many changes have no number."""
        with self.engine.connect() as connection:
            return connection.scalar(select(func.count()).where(table.c.pub_seq.is_(None)))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
class TestOutOfOrder:
    """Defect 16: transactions that take their keys early and commit late."""

    async def test_none_is_missed_none_is_numbered_twice(self, opened, database_url):
        """A reader that follows the numbers sees every change once, whatever order they commit in."""
        app = await opened(ChangeFeed(kinds={"created"}))
        host = Host(database_url)
        late = [host.begun(app, f"late-{n}") for n in range(3)]
        seen = []
        for turn in range(3):
            await app.workflows.QUIET.create(id=f"early-{turn}", params=1)
            await app.tick()
            seen += await app.changes(after=seen[-1].pub_seq if seen else None)
            connection, transaction = late.pop()  # the last that began commits first
            transaction.commit()
            connection.close()
            assert host.unnumbered() == 1
            await app.tick()
            seen += await app.changes(after=seen[-1].pub_seq)
        host.engine.dispose()
        assert [each.pub_seq for each in seen] == [1, 2, 3, 4, 5, 6]
        assert [each.instance_id for each in seen] == [
            "early-0",
            "late-2",
            "early-1",
            "late-1",
            "early-2",
            "late-0",
        ]

    async def test_publishers_do_not_meet(self, opened, database_url):
        """Whoever finds the stream locked leaves it to the other: numbers stay dense."""
        feed = ChangeFeed(kinds={"created"})
        one, other = await opened(feed), await opened(feed)
        await one.workflows.QUIET.create_batch([{"id": f"q-{n}", "params": 1} for n in range(50)])
        await asyncio.gather(one.tick(), other.tick())
        await one.workflows.QUIET.create_batch([{"id": f"r-{n}", "params": 1} for n in range(50)])
        await asyncio.gather(*(each._engine.feeds.feed_due() for each in (one, other) * 5))
        assert [each.pub_seq for each in await one.changes(limit=1000)] == list(range(1, 101))

    async def test_a_stream_that_is_locked_is_left_alone(self, opened, database_url):
        """A publisher under way holds up nobody: no other waits for it."""
        app = await opened(ChangeFeed(kinds={"created"}))
        await app.tick()
        await app.workflows.QUIET.create(id="q", params=1)
        engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT * FROM keepstep_change_stream FOR UPDATE")
            await app._engine.feeds.feed_due()
            assert await app.changes() == []
        engine.dispose()
        await app._engine.feeds.feed_due()
        assert [each.instance_id for each in await app.changes()] == ["q"]


def test_a_group_without_changes_is_the_statement_that_it_was():
    """F3: who subscribes nothing pays nothing: no part of the statement is about changes, and no other is sent."""
    boundary = Boundary(1, 1, None, 1, 1, steps=(step_row("do:a", 1, run_id=1),))
    creation = plan_create("w", 1, "i", 2, "null", 1)
    calls = list(drained(commit_group("postgresql", 1, 1, [boundary], [creation])))
    assert len(calls) == 1
    assert "keepstep_change" not in calls[0].statement.text("postgresql")
    told = tell_boundary(frozenset(ChangeKind), run_row(), boundary)
    assert [each.kind for each in told.changes] == ["step_completed"]
    (call,) = drained(
        commit_group("postgresql", 1, 1, [told], [tell_creation(frozenset(ChangeKind), creation)])
    )
    assert call.statement.text("postgresql").count("INSERT INTO keepstep_change") == 2


def drained(script):
    """The calls of a script whose answers say that all went well."""
    answer = None
    with contextlib.suppress(StopIteration):
        while True:
            call = script.send(answer)
            yield call
            answer = [(True, [], [], [2])]
