"""The SQLite executor: durable, never blocking the loop for another process, clean after every error (B1, C5)."""

import asyncio
import contextlib
import os
import sqlite3

import pytest
from sqlalchemy import text

from keepstep.errors import (
    IntegrityError,
    SchemaVersionError,
    StoreConflictError,
    StoreUnavailableError,
    UsageError,
)
from keepstep.store.clock import read_now
from keepstep.store.script import Call
from keepstep.store.sqlite import SqliteStore
from keepstep.store.statement import Statement
from tests.support.rows import NOW

CREATE = Statement(text("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, body TEXT)"), "create")
ADD = Statement(text("INSERT INTO note VALUES (:id, :body)"), "add", ("id", "body"))
LIST = Statement(text("SELECT id FROM note ORDER BY rowid"), "list")


class Clock:
    """Stands still."""

    def now_ms(self):
        """The one instant."""
        return NOW


@pytest.fixture
async def open_store(tmp_path):
    """Opens stores on one file with a table of notes, and closes them."""
    opened = []

    async def open_(url=f"sqlite:///{tmp_path}/notes.db", **options):
        store = SqliteStore(url, clock=Clock(), **options)
        await store.open()
        opened.append(store)
        await store.transaction("create", calls(Call(CREATE)))
        return store

    yield open_
    for store in opened:
        await store.close()


def calls(*each):
    """A script of these calls; returns the last one's rows."""
    rows = []
    for call in each:
        rows = yield call
    return rows


def add(*ids, body="x"):
    """A script that adds notes."""
    return calls(*(Call(ADD, {"id": each, "body": body}) for each in ids))


async def listed(store, mode="read"):
    """Ids of all notes."""
    return [row[0] for row in await store.transaction("list", calls(Call(LIST)), mode)]


@pytest.fixture
def other():
    """Connections as another process would have them."""
    with contextlib.ExitStack() as opened:

        def connect(store):
            connection = sqlite3.connect(store.path, isolation_level=None, timeout=0)
            return opened.enter_context(contextlib.closing(connection))

        yield connect


async def turns(count=5):
    """Let other tasks run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_commits_are_durable_beside_readers(open_store, other, tmp_path):
    """Write-ahead log, flushed at each commit, long enough from the start."""
    store = await open_store()
    assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert (tmp_path / "notes.db-wal").stat().st_size > 4_000_000
    await store.transaction("add", add(1))
    assert other(store).execute("SELECT id FROM note").fetchall() == [(1,)]


async def test_a_log_that_others_use_is_left_intact(open_store, other):
    """A second process that opens the database neither loses nor damages what the first wrote."""
    first = await open_store()
    await first.transaction("add", add(1))
    second = await open_store()
    await first.transaction("add", add(2))
    await second.transaction("add", add(3))
    assert await listed(first) == await listed(second) == [1, 2, 3]
    assert other(first).execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_script_that_raises_writes_nothing(open_store):
    """All or nothing, and the next transaction finds a clean connection (B1)."""
    store = await open_store()

    def failing():
        yield Call(ADD, {"id": 1, "body": "x"})
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.transaction("add", failing())
    await store.transaction("add", add(2))
    assert await listed(store) == [2]


async def test_executemany_takes_rows_in_order(open_store):
    """Tuples are bound by position."""
    store = await open_store()
    rows = await store.transaction("add", calls(Call(ADD, [(1, "a"), (2, "b")])))
    assert list(rows) == []
    assert await listed(store) == [1, 2]


async def test_a_constraint_that_refuses_is_an_integrity_error(open_store):
    """The driver's error is the cause, never raised raw (H)."""
    store = await open_store()
    with pytest.raises(IntegrityError, match="twice") as caught:
        await store.transaction("twice", add(1, 1))
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)
    assert await listed(store) == []


async def test_missing_tables_say_to_migrate(open_store):
    """A database without our tables is a matter of its schema."""
    store = await open_store()
    with pytest.raises(SchemaVersionError, match="migrate"):
        await store.transaction(
            "look", calls(Call(Statement(text("SELECT 1 FROM keepstep_run"), "look"))), "read"
        )


async def test_reads_cannot_write(open_store):
    """A read is a snapshot of the last commit, and nothing else."""
    store = await open_store()
    with pytest.raises(StoreUnavailableError, match="read-only"):
        await store.transaction("add", add(1), "read")
    assert await listed(store) == []


async def test_now_is_the_injected_clock(open_store):
    """Database time is the clock that the store was given, one instant a transaction (B5)."""
    store = await open_store()
    assert await store.transaction("now", read_now()) == NOW


async def test_another_processs_lock_is_waited_for_without_blocking(open_store, other):
    """The loop runs on while another process writes; then the transaction goes through."""
    store = await open_store()
    holder = other(store)
    holder.execute("BEGIN IMMEDIATE")
    adding = asyncio.ensure_future(store.transaction("add", add(1)))
    await turns()
    assert not adding.done()
    assert store.busy
    assert await listed(store) == []
    holder.execute("COMMIT")
    await asyncio.wait_for(adding, 5)
    assert await listed(store) == [1]
    assert not store.busy


async def test_a_lock_that_never_ends_is_a_conflict(open_store, other):
    """Waiting is bounded; nothing was written and the store goes on (C5, defect 9)."""
    store = await open_store(busy_timeout_ms=5)
    holder = other(store)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreConflictError, match="another process has held the write lock"):
        await store.transaction("add", add(1))
    holder.execute("ROLLBACK")
    await store.transaction("add", add(2))
    assert await listed(store) == [2]


async def test_a_cancelled_wait_leaves_the_store_usable(open_store, other):
    """A caller that gives up while another process holds the lock takes nothing with it."""
    store = await open_store()
    holder = other(store)
    holder.execute("BEGIN IMMEDIATE")
    adding = asyncio.ensure_future(store.transaction("add", add(1)))
    await turns()
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    holder.execute("ROLLBACK")
    await store.transaction("add", add(2))
    assert await listed(store) == [2]


async def test_slow_commits_leave_the_loops_thread(open_store):
    """With a slow disk only COMMIT moves to a thread, and the loop runs meanwhile."""
    store = await open_store(slow_commit_ms=0)
    adding = asyncio.ensure_future(store.transaction("add", add(1)))
    await turns(1)
    assert store.busy
    await adding
    assert store._thread is not None
    for each in range(2, 80):  # also those that are made inline, to measure
        await store.transaction("add", add(each))
    assert await listed(store) == list(range(1, 80))


async def test_transactions_keep_their_order(open_store):
    """First come, first served; none begins between another's BEGIN and COMMIT."""
    store = await open_store(slow_commit_ms=0)
    await asyncio.gather(*(store.transaction("add", add(100 - each, each)) for each in range(1, 40)))
    expected = [number for each in range(1, 40) for number in (100 - each, each)]
    rows = await store.transaction(
        "list", calls(Call(Statement(text("SELECT id FROM note"), "list"))), "read"
    )
    assert sorted(row[0] for row in rows) == sorted(expected)


async def test_a_caller_cancelled_during_its_commit_waits_for_the_end(open_store):
    """The commit goes on, its caller hears of the cancellation after it, and the connection stays in order."""
    store = await open_store(slow_commit_ms=0)
    adding = asyncio.ensure_future(store.transaction("add", add(1)))
    await turns(1)
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    await store.transaction("add", add(2))
    assert await listed(store) == [1, 2]


async def test_a_caller_cancelled_during_a_commit_that_fails_is_cancelled_all_the_same(open_store):
    """An error of the database in place of the cancellation would have its caller go on, and whoever stops it wait."""
    store = await open_store(slow_commit_ms=0)
    store._writer.executescript(
        "PRAGMA foreign_keys = ON; CREATE TABLE reply (of INTEGER REFERENCES note DEFERRABLE INITIALLY DEFERRED)"
    )
    lost = Statement(text("INSERT INTO reply VALUES (99)"), "lost")  # which only COMMIT refuses
    adding = asyncio.ensure_future(store.transaction("lost", calls(Call(lost))))
    await turns(1)
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    await store.transaction("add", add(1))
    assert await listed(store) == [1]


async def test_a_full_disk_says_so_and_the_store_recovers(open_store):
    """Nothing was written; with space again the next transaction goes through."""
    store = await open_store()
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailableError, match="disk is full: free some space"):
        await store.transaction("add", add(1, body="x" * 100_000))
    store._writer.execute("PRAGMA max_page_count = 1000000")
    await store.transaction("add", add(2, body="x" * 100_000))
    assert await listed(store) == [2]


async def test_a_damaged_file_says_so(open_store, tmp_path):
    """A malformed database is no run's fault."""
    store = await open_store()
    await store.transaction("add", add(*range(50), body="x" * 1000))
    await store.close()
    path = tmp_path / "notes.db"
    raw = path.read_bytes()
    path.write_bytes(raw[:4096] + b"\xff" * (len(raw) - 4096))
    damaged = SqliteStore(path, clock=Clock())
    await damaged.open()
    with pytest.raises(StoreUnavailableError, match="damaged: restore it from a backup"):
        await listed(damaged)
    await damaged.close()


async def test_a_file_that_is_no_database(tmp_path):
    """The message names the file and says what to do."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, " * 100)
    with pytest.raises(StoreUnavailableError, match=r"letter\.txt: the file is not a SQLite database"):
        await SqliteStore(path, clock=Clock()).open()


async def test_a_missing_folder(tmp_path):
    """SQLite's own message would not say which part is missing."""
    store = SqliteStore(f"sqlite:///{tmp_path}/nowhere/x.db", clock=Clock())
    with pytest.raises(StoreUnavailableError, match=r"nowhere does not exist; create it"):
        await store.open()


async def test_a_folder_instead_of_a_file(tmp_path):
    """A path that cannot be opened is explained."""
    with pytest.raises(StoreUnavailableError, match="cannot be opened: check its path"):
        await SqliteStore(tmp_path, clock=Clock()).open()


async def test_a_store_that_is_not_open_says_so(open_store):
    """Before opening and after closing; both may be repeated."""
    store = await open_store()
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailableError, match="is not open"):
        await store.transaction("add", add(1))
    with pytest.raises(StoreUnavailableError, match="is not open"):
        await listed(store)
    await store.open()
    await store.transaction("add", add(1))


async def test_another_loop_or_process_is_refused(open_store, monkeypatch):
    """A connection does not survive a fork, and a store belongs to one loop."""
    store = await open_store()
    with pytest.raises(UsageError, match="another process or event loop"):
        await asyncio.to_thread(asyncio.run, listed(store))
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(UsageError, match="does not survive a fork"):
        await store.transaction("add", add(1))


async def test_what_other_processes_commit_is_noticed(open_store):
    """A hint comes without a thread and without a promise; closing ends it."""
    store = await open_store()
    hinted = asyncio.Event()
    await store.listen(hinted.set)
    neighbour = await open_store()
    await neighbour.transaction("add", add(1))
    neighbour.hint()
    await asyncio.wait_for(hinted.wait(), 5)
    await store.close()
    assert store._poll is None


@pytest.mark.parametrize("url", ["sqlite://", ":memory:", "sqlite:///:memory:"])
async def test_a_database_in_memory(open_store, url):
    """One connection serves reads and writes."""
    store = await open_store(url)
    await store.listen(lambda: None)
    await store.transaction("add", add(1))
    assert await listed(store) == [1]


async def test_two_processes_of_a_simulation_share_one_memory(open_store):
    """Each has a connection of its own to one named database."""
    url = "file:shared-notes?mode=memory&cache=shared"
    first, second = await open_store(url), await open_store(url)
    await first.transaction("add", add(1))
    await second.transaction("add", add(2))
    assert await listed(first) == await listed(second) == [1, 2]


def test_urls_and_paths(tmp_path):
    """What names a file, and what is refused."""
    assert SqliteStore("sqlite:///a/b.db", clock=Clock()).path == "a/b.db"
    assert SqliteStore("sqlite:////a/b.db", clock=Clock()).path == "/a/b.db"
    assert SqliteStore(tmp_path / "x.db", clock=Clock()).path == f"{tmp_path}/x.db"
    with pytest.raises(UsageError, match="takes sqlite:///path only"):
        SqliteStore("sqlite:///x.db?timeout=3", clock=Clock())
    with pytest.raises(UsageError, match="use sqlite:///path"):
        SqliteStore("file:x.db", clock=Clock())


async def test_opening_waits_for_other_processes_too(open_store, other):
    """A store that cannot set up its database in time says who is in the way, and may be opened later."""
    store = await open_store()
    late = SqliteStore(store.path, clock=Clock(), busy_timeout_ms=5)
    holder = other(store)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreConflictError, match="open: another process") as caught:
        await late.open()
    assert caught.value.__cause__ is not caught.value
    holder.execute("ROLLBACK")
    await late.open()
    assert await listed(late) == []
    await late.close()


async def test_opening_waits_while_another_process_has_the_file_for_itself(open_store, other):
    """So it is while the last process that closes takes the log away, or the first one recovers it: nobody may read."""
    store = await open_store()
    await store.close()
    holder = other(store)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("INSERT INTO note VALUES (1, 'x')")
    late = SqliteStore(store.path, clock=Clock())
    opening = asyncio.ensure_future(late.open())
    await turns()
    assert not opening.done()
    holder.close()
    await asyncio.wait_for(opening, 5)
    assert await listed(late) == [1]
    await late.close()


async def test_gates_stand_around_each_transaction(open_store):
    """The simulation's seam: labelled, before BEGIN, before COMMIT, after it; other transactions wait."""
    passed = []

    async def gate(label, point):
        passed.append((label, point))
        await asyncio.sleep(0)

    store = await open_store(gate=gate, slow_commit_ms=None)
    passed.clear()
    await asyncio.gather(store.transaction("one", add(1)), store.transaction("two", add(2)))
    of_one = [point for label, point in passed if label == "one"]
    assert of_one == ["begin", "commit", "committed"]
    assert passed.index(("one", "commit")) < passed.index(("two", "begin"))
