"""Two lanes: the same seed on dicts and on SQLite, and what is said where they differ (invariant 43)."""

import re
from pathlib import Path

import pytest
from sqlalchemy import func, or_, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from keepstep.errors import IntegrityError, StoreConflictError
from keepstep.model.status import Status
from keepstep.store import claims, runs
from keepstep.store.errors import translate
from keepstep.store.host import run_sync
from keepstep.store.script import Call
from keepstep.store.statement import Statement, among, db_now, fixed, ids
from keepstep.store.tables import run
from keepstep_testing.__main__ import main
from keepstep_testing.conformance.rows import run_row, task_row
from keepstep_testing.conformance.stores import SetClock
from keepstep_testing.sim import lanes
from keepstep_testing.sim.campaign import Campaign
from keepstep_testing.sim.corpus import read_case
from keepstep_testing.sim.dicts.answers import ANSWERS
from keepstep_testing.sim.exhaustive import plain
from keepstep_testing.sim.lanes import LANES, play_in_both
from keepstep_testing.sim.scenario import drawn
from keepstep_testing.sim.schedule import play
from keepstep_testing.sim.shrink import Shrinker

CORPUS = sorted((Path(__file__).parent / "sim_corpus").glob("*.json"))


@pytest.fixture(scope="module")
def sqlite():
    """The engine's own lane."""
    return LANES["sqlite"]()


@pytest.fixture(scope="module")
def dicts():
    """The dict lane."""
    return LANES["dict"]()


@pytest.fixture
def user(dicts):
    """An engine for transactions of the user's in the dict lane, which is empty."""
    dicts.reset()
    return dicts.user_engine


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_was_found_once_is_the_same_in_both_lanes(path, sqlite, dicts):
    """Cases of the corpus are told no differently by dicts."""
    assert play_in_both(read_case(path).scenario, dicts, sqlite).violation is None


def test_a_plain_run_comes_to_its_end_on_dicts(sqlite, dicts):
    """With a transaction of the user's, a hook, an event and a retry; and the same rows are left as in SQLite."""
    result = play(plain(3), dicts)
    assert result.violation is None
    rows = dicts.contents()
    assert [row[6] for row in rows["keepstep_run"]] == [Status.COMPLETE]
    assert [row[0] for row in rows["sim_row"]] == ["i1"]
    assert play(plain(3), sqlite).trace.digest == result.trace.digest
    assert sqlite.contents() == rows


def test_a_seed_on_dicts_is_played_twice_alike(dicts):
    """Equal traces and equal rows (45)."""
    assert play(drawn(5), dicts).digest == play(drawn(5), dicts).digest


# --- what is noticed


def faulty_sql(monkeypatch):
    """A claim that no longer says when the run was changed: no other invariant looks at that."""
    faulty = Statement(
        run.update()
        .where(
            among(run.c.id, ids("run_ids")),
            or_(run.c.status != fixed(Status.ACTIVE), run.c.started_at.is_(None)),
        )
        .values(
            status=fixed(Status.ACTIVE),
            started_at=func.coalesce(run.c.started_at, db_now()),
            version=run.c.version + fixed(1),
        ),
        "start claimed runs",
    )
    monkeypatch.setitem(ANSWERS, faulty, ANSWERS[claims.START_RUNS])
    monkeypatch.setattr(claims, "START_RUNS", faulty)


def faulty_dicts(monkeypatch):
    """Dicts that say a run falls due a second later than it does."""
    right = ANSWERS[claims.NEXT_DUE]

    def late(db, given, now):
        ((now, *instants),) = right(db, given, now)
        return [(now, *(None if each is None else each + 1_000 for each in instants))]

    monkeypatch.setitem(ANSWERS, claims.NEXT_DUE, late)


def test_a_fault_of_the_sql_is_a_commit_that_differs(monkeypatch):
    """Neither client nor trace shows it; the campaign fails with the seed, the commit and the row (43)."""
    faulty_sql(monkeypatch)
    campaign = Campaign()
    violation = campaign.play_seed(2).violation
    assert campaign.failed
    assert violation.rule == "43"
    assert re.search(r"seed 2: commit \d+ \(.*claim\) has \('run', RunRecord\(.*in the other", str(violation))


def test_a_fault_of_the_dicts_is_a_choice_that_differs_and_shrinks(monkeypatch, sqlite, dicts):
    """It is found, said with the place in the trace, and made small by playing both lanes (43)."""
    faulty_dicts(monkeypatch)
    result = play_in_both(plain(1), sqlite, dicts)
    assert result.violation.rule == "43"
    assert "choice " in str(result.violation)
    shrinker = Shrinker(result, sqlite, dicts)
    small = shrinker.shrink()
    assert shrinker.reproduces
    assert len(str(small)) < len(str(plain(1)))
    assert shrinker.play(small).violation.rule == "43"


def test_an_answer_that_differs_is_told(monkeypatch, sqlite, dicts):
    """What a client is answered is compared although the traces are equal."""

    def answers_otherwise(scenario, database, **options):
        result = play(scenario, database, **options)
        if database is dicts:
            result.answers[0] = (*result.answers[0][:2], "refused", "")
        return result

    monkeypatch.setattr(lanes, "play", answers_otherwise)
    assert "a client is answered ('create', 'i1', 'ok'" in str(
        play_in_both(plain(1), sqlite, dicts).violation
    )


def test_what_breaks_in_one_lane_only_is_told(monkeypatch, sqlite, dicts):
    """An invariant that only dicts break is a difference, not a finding about the engine."""
    right = ANSWERS[claims.TAKE]

    def unfenced(db, given, now):
        return [task._replace(fence=task.fence + 1) for task in right(db, given, now)]

    monkeypatch.setitem(ANSWERS, claims.TAKE, unfenced)
    violation = play_in_both(plain(1), sqlite, dicts).violation
    assert violation.rule == "43"
    assert "only one of them breaks invariant" in str(violation)


def test_the_command_plays_a_lane(capsys):
    """``--lane`` and ``--compare``; the report says what was played and compared."""
    assert main(["sim", "--lane", "dict", "--n", "2", "--compare", "1"]) == 0
    told = capsys.readouterr().out
    assert "2 schedules on dict" in told
    assert "1 compared with sqlite" in told


# --- the user's transactions


def add(*run_ids):
    """A script that adds runs, and reads one."""
    yield Call(runs.ADD_RUN, [run_row(id=each, instance_id=f"o-{each}") for each in run_ids])
    yield Call(runs.PUT_TASK, [task_row(run_id=run_ids[0])])
    return (yield Call(runs.PRESENT_RUNS, {"run_ids": list(run_ids)}))


INSERT = text("INSERT INTO sim_row (instance, run, step) VALUES ('i', 1, 's')")


def test_a_users_transaction_is_of_both(dicts, user):
    """Rows of the user's and keepstep's commit together (C8, G1)."""
    with Session(user) as session, session.begin():
        session.execute(INSERT)
        found = run_sync(session, add(1, 2), SetClock())
    assert [row[0] for row in found] == [1, 2]
    assert [row[0] for row in dicts.contents()["keepstep_run"]] == [1, 2]
    assert len(dicts.rows("SELECT * FROM sim_row")) == 1


def test_a_users_transaction_rolls_back_both(dicts, user):
    """Who does not commit has written nothing."""
    with Session(user) as session:
        session.execute(INSERT)
        run_sync(session, add(1), SetClock())
        session.rollback()
    assert dicts.contents()["keepstep_run"] == []
    assert dicts.rows("SELECT * FROM sim_row") == []
    assert dicts.dicts.owner is None


def test_a_savepoint_is_of_both(dicts, user):
    """What was written within it goes with it, what was before stays."""
    with Session(user) as session, session.begin():
        run_sync(session, add(1), SetClock())
        nested = session.begin_nested()
        session.execute(INSERT)
        run_sync(session, add(2), SetClock())
        nested.rollback()
    assert [row[0] for row in dicts.contents()["keepstep_run"]] == [1]
    assert dicts.rows("SELECT * FROM sim_row") == []


def test_a_constraint_in_a_users_transaction_is_an_integrity_error(dicts, user):
    """As from a driver, in the engine's words (H)."""
    with pytest.raises(IntegrityError), Session(user) as session, session.begin():
        run_sync(session, add(1, 1), SetClock())
    assert dicts.contents()["keepstep_run"] == []


def test_a_users_transaction_may_find_the_database_locked(dicts, user):
    """A process is within a transaction: a conflict, as from SQLite (C5)."""
    dicts.dicts.begin("a process")
    with pytest.raises(OperationalError) as caught, Session(user) as session, session.begin():
        session.connection()
    assert isinstance(translate(caught.value, "user"), StoreConflictError)
    dicts.cut()
    assert dicts.dicts.owner is None
