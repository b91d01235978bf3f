"""The world of the simulation: deterministic, in virtual time, closed to the real one; crashes run no cleanup."""

import asyncio
import random
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from keepstep_testing.sim.chooser import Recording, Straight
from keepstep_testing.sim.clock import ProcessClock, WorldClock
from keepstep_testing.sim.database import Database
from keepstep_testing.sim.guard import RealWorldError, no_real_world
from keepstep_testing.sim.loop import EndlessProcessError, SimLoop
from keepstep_testing.sim.play import USER_TABLE
from keepstep_testing.sim.scenario import drawn, of_json
from keepstep_testing.sim.schedule import play
from keepstep_testing.sim.world import PASSED_MAX, World


@pytest.fixture(scope="module")
def database():
    """One database for all schedules of this file."""
    return Database(user_tables=[USER_TABLE])


@pytest.fixture
def clock():
    """True time."""
    return WorldClock()


def loop_of(clock, **of_process):
    """A process's loop."""
    return SimLoop(ProcessClock(clock, **of_process), lambda call: call(), lambda text: None)


def test_a_seed_is_one_schedule(database):
    """Equal seeds give equal traces and equal databases (45)."""
    for seed in (3, 20, 41):
        first, second = play(drawn(seed), database), play(drawn(seed), database)
        assert first.digest == second.digest
        assert first.picks == second.picks


def test_hash_seeds_change_nothing():
    """No order of a set or a dict of ours decides: another process with other hashes plays the same."""
    program = (
        "from keepstep_testing.sim.campaign import Campaign; c = Campaign(); "
        "print([c.play_seed(seed).digest for seed in (5, 7, 10)])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": hashes, "PATH": ""},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hashes in ("1", "2")
    }
    assert len(printed) == 1


def test_a_record_replays_the_schedule(database):
    """The departures from the schedule without preemptions, by name, are the whole schedule."""
    from keepstep_testing.sim.shrink import recorded

    for seed in (3, 8, 14):
        result = play(drawn(seed), database)
        again = play(recorded(result), database)
        assert again.digest == result.digest


def test_a_scenario_survives_json():
    """What is kept in the corpus is what was played."""
    for seed in range(30):
        scenario = drawn(seed)
        assert of_json(scenario.to_json()) == scenario


@pytest.mark.parametrize(
    "call",
    [
        time.time,
        time.monotonic,
        lambda: time.sleep(0),
        random.random,
        lambda: random.choice([1]),
        lambda: threading.Thread(target=print).start(),
        lambda: __import__("socket").socket(),
        lambda: __import__("os").urandom(4),
    ],
    ids=["time", "monotonic", "sleep", "random", "choice", "thread", "socket", "urandom"],
)
def test_the_real_world_raises_at_the_call(call):
    """Real time, threads, sockets and unseeded randomness are refused, and are back afterwards."""
    name = getattr(call, "__name__", "")
    with no_real_world(), pytest.raises(RealWorldError, match="was called in a simulation by"):
        (
            getattr(time, name)
            if name in {"time", "monotonic"}
            else random.random
            if name == "random"
            else call
        )()
    assert time.time() > 0


def test_callbacks_run_first_in_first_out_and_timers_by_the_process_clock(clock):
    """A clock that gains 1 % is a hundredth early by true time."""
    fast, plain, seen = loop_of(clock, drift_ppm=10_000), loop_of(clock), []
    for loop, name in ((fast, "fast"), (plain, "plain")):
        loop.call_soon(seen.append, f"{name} first")
        loop.call_soon(seen.append, f"{name} second")
        loop.call_later(1.01, seen.append, f"{name} timer")
        loop.run_ready()
    assert seen == ["fast first", "fast second", "plain first", "plain second"]
    assert fast.next_due_us() == 1_000_000
    assert plain.next_due_us() == 1_010_000
    clock.us = 1_000_000
    fast.fire_due(clock.us)
    plain.fire_due(clock.us)
    fast.run_ready()
    plain.run_ready()
    assert seen[4:] == ["fast timer"]


def test_a_crash_runs_no_finally(clock):
    """A process that is gone does nothing any more, not even clean up."""
    loop, done = loop_of(clock), []

    async def work():
        try:
            await asyncio.sleep(1)
        finally:
            done.append("cleanup")

    loop.create_task(work())
    loop.run_ready()
    loop.stopped = True
    clock.us = 5_000_000
    loop.fire_due(clock.us)
    loop.run_ready()
    assert done == []
    loop.bury()


def test_an_endless_process_is_named(clock):
    """A process that goes round without a wait ends the world, not the machine."""
    loop = loop_of(clock)

    async def spin():
        while True:  # noqa: ASYNC110  # going round is the point
            await asyncio.sleep(0)

    loop.create_task(spin())
    with pytest.raises(EndlessProcessError, match="calls without a wait"):
        loop.run_ready()
    loop.bury()


def test_the_oracle_sees_what_was_committed_and_nothing_else(database):
    """Changes are rows as they were and as they are; what is rolled back is not seen."""
    database.reset()
    connection = database.connect()
    insert = "INSERT INTO keepstep_runner VALUES (1, 1, 5, 'h', 2, 0)"
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(insert)
    connection.execute("ROLLBACK")
    assert database.changes() == []
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(insert)
    connection.execute("UPDATE keepstep_runner SET epoch = 2")
    connection.execute("COMMIT")
    born, changed = database.changes()
    assert (born.table, born.old, born.new.epoch) == ("runner", None, 1)
    assert (changed.old.epoch, changed.new.epoch) == (1, 2)
    connection.close()


INSERT = "INSERT INTO keepstep_runner VALUES (?, 1, 5, 'h', 2, 0)"
TWO_OF_WHICH_ONE_FAILS = (
    "INSERT INTO keepstep_runner SELECT 5 - n, 1, 5, 'h', 2, 0 FROM (SELECT 1 AS n UNION ALL SELECT 4)"
)


def test_open_gates_close_on_who_goes_round_in_circles(database):
    """Nothing is picked at an open gate; but a process that passes without end at one instant stops at last."""
    database.reset()
    world = World(1, database, chooser=Recording(Straight()))
    process, passed = world.process("r1"), []

    async def go_round():
        while True:
            await process.gate("step")
            passed.append(world.clock.us)

    process.spawn(go_round(), "main")
    world.settle()
    assert len(passed) == PASSED_MAX == world.labels["step"]
    assert world.picks == 0
    world.run(lambda: len(passed) > PASSED_MAX, 5)
    assert world.picks == 1
    world.bury()


def test_one_process_writes_at_a_time(database):
    """Who comes while another is in a transaction is refused as SQLite refuses it; nobody sees what is not committed."""
    database.reset()
    one, other = database.connect(), database.connect()
    one.execute("BEGIN IMMEDIATE")
    one.execute(INSERT, (1,))
    with pytest.raises(sqlite3.OperationalError) as refused:
        other.execute("BEGIN IMMEDIATE")
    assert refused.value.sqlite_errorcode == sqlite3.SQLITE_BUSY
    with pytest.raises(sqlite3.OperationalError) as refused:
        other.execute("SELECT * FROM keepstep_runner")
    assert refused.value.sqlite_errorcode == sqlite3.SQLITE_LOCKED
    assert (one.in_transaction, other.in_transaction) == (True, False)
    one.close()
    other.execute("BEGIN IMMEDIATE")
    assert other.execute("SELECT * FROM keepstep_runner").fetchall() == []
    other.close()


def test_what_is_gone_back_on_was_not_changed(database):
    """Neither after a statement that fails, nor after a return to a savepoint."""
    database.reset()
    connection = database.connect()
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(INSERT, (1,))
    connection.execute("SAVEPOINT here")
    connection.execute(INSERT, (2,))
    connection.execute("ROLLBACK TO SAVEPOINT here")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(TWO_OF_WHICH_ONE_FAILS)
    connection.execute(INSERT, (3,))
    connection.execute("COMMIT")
    assert [change.new.id for change in database.changes()] == [1, 3]
    assert database.changes() == []
