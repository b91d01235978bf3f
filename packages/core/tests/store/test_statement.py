"""One construct, one text a dialect, whatever the values."""

import pytest
from sqlalchemy import bindparam, create_engine, literal, select

from keepstep.model.records import (
    ChangeRecord,
    EventRecord,
    LogRecord,
    RunnerRecord,
    RunRecord,
    SinkRecord,
    StepRecord,
    TaskRecord,
)
from keepstep.store import tables
from keepstep.store.statement import Statement, among, db_now, fixed, ids, limited, names

BY_IDS = Statement(select(tables.task.c.fence).where(among(tables.task.c.run_id, ids("run_ids"))), "by ids")


@pytest.mark.parametrize(
    ("table", "record"),
    [
        (tables.run, RunRecord),
        (tables.run_step, StepRecord),
        (tables.event, EventRecord),
        (tables.task, TaskRecord),
        (tables.log, LogRecord),
        (tables.runner, RunnerRecord),
        (tables.change_sink, SinkRecord),
    ],
    ids=lambda each: getattr(each, "__name__", str(each)),
)
def test_columns_stand_in_the_order_of_the_records(table, record):
    """Rows become records by position."""
    assert tuple(table.columns.keys()) == record._fields


def test_a_change_is_written_without_key_and_number():
    """What others assign comes first and last (F3)."""
    assert tuple(tables.change.columns.keys()) == ("id", *ChangeRecord._fields, "pub_seq")


def test_a_list_is_one_parameter():
    """Lists of every length share one text, so drivers and servers prepare it once."""
    assert "json_each(:run_ids)" in BY_IDS.text("sqlite")
    assert BY_IDS.bind("sqlite", {"run_ids": [1, 2]}) == {"run_ids": "[1,2]"}
    assert "= ANY ($1::BIGINT[])" in BY_IDS.text("postgresql")
    assert BY_IDS.bind("postgresql", {"run_ids": [1, 2]}) == ([1, 2],)
    assert BY_IDS.text("sqlite") is BY_IDS.text("sqlite")


def test_a_hosts_own_connection_takes_the_same_clause():
    """SQLAlchemy executes what the raw drivers get as text (G1)."""
    engine = create_engine("sqlite://")
    tables.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(
            tables.task.insert(), dict(zip(TaskRecord._fields, (7, "w", 0, 5, None, 3, 0, 0, 0), strict=True))
        )
        assert connection.execute(BY_IDS.clause, {"run_ids": [7, 8]}).all() == [(3,)]
        by_name = select(tables.task.c.fence).where(among(tables.task.c.workflow, names("workflows")))
        assert connection.execute(by_name, {"workflows": ["w"]}).all() == [(3,)]
        assert connection.execute(by_name, {"workflows": []}).all() == []
    engine.dispose()


def test_now_is_bound_or_the_databases():
    """Simulations bind ``now``; None is the database's clock (B5)."""
    statement = Statement(select(db_now()), "now")
    assert statement.bind("sqlite", {}) == {"now": None}
    assert statement.bind("postgresql", {}) == (None,)
    assert statement.bind("postgresql", {"now": 5}) == (5,)
    assert statement.takes_now
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        assert connection.execute(statement.clause, {"now": 5}).scalar() == 5
        assert connection.execute(statement.clause, {"now": None}).scalar() > 1_700_000_000_000
    engine.dispose()


def test_constants_are_written_into_the_text():
    """A planner sees them; a bound constant is a mistake that is told at once."""
    good = Statement(select(tables.task.c.run_id).where(tables.task.c.workflow == fixed("it's")), "good")
    assert "= 'it''s'" in good.text("sqlite")
    bad = Statement(select(literal(1)), "bad")
    with pytest.raises(AssertionError, match=r"bad: write constants with fixed\(\)"):
        bad.text("postgresql")


def test_rows_are_positional_in_the_order_that_was_declared():
    """A statement whose text asks for another order is a mistake that is told at once."""
    right = Statement(tables.log.insert(), "right", tables.log.c.keys())
    assert right.positional().count("?") == len(LogRecord._fields)
    wrong = Statement(tables.log.insert(), "wrong", ("number", "run_id"))
    with pytest.raises(AssertionError, match="wrong: rows are"):
        wrong.positional()
    with pytest.raises(AssertionError, match="wrong: rows are"):
        wrong.text("postgresql")


def test_a_limit_is_one_parameter():
    """Also on SQLite, where SQLAlchemy would bind an offset."""
    statement = Statement(
        limited(select(tables.log.c.number).where(tables.log.c.at == bindparam("at"))), "some"
    )
    assert statement.bind("sqlite", {"at": 1, "limit": 2}) == {"at": 1, "limit": 2}
    assert statement.bind("postgresql", {"at": 1, "limit": 2}) == (1, 2)
