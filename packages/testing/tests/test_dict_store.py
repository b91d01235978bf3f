"""The dict lane's store: every statement has an answer, the conformance suite holds, transactions are whole (B1)."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

import anyio
import pytest
from sqlalchemy import select

import keepstep.store
from keepstep.errors import StoreConflictError, StoreError, StoreUnavailableError
from keepstep.store import boundaries, claims_pg, hooks, tables
from keepstep.store.clock import READ_NOW
from keepstep.store.runs import ADD_RUN, DROP_TASK, PUT_TASK
from keepstep.store.script import Call
from keepstep.store.statement import Statement
from keepstep_testing.conformance.rows import run_row, task_row
from keepstep_testing.conformance.stores import SetClock, StoreConformance
from keepstep_testing.sim.dicts import DictDatabase, DictStore
from keepstep_testing.sim.dicts.answers import ANSWERS, UnknownStatementError, answer, answers
from keepstep_testing.sim.dicts.table import ConstraintError

POSTGRESQL_ALONE = {
    claims_pg.CLAIM,
    claims_pg.NEXT_DUE_SINCE,
    hooks.CLAIM,
    hooks.FIRST_DUE["postgresql"],
    boundaries.STAY_AWAKE,
}
"""Scripts use these only where the dialect is PostgreSQL's. It has more, which are made as groups are written."""


def statements_in(value: object) -> Iterator[Statement]:
    """The statements that a module's name stands for."""
    if isinstance(value, Statement):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from statements_in(each)
    elif isinstance(value, tuple):
        for each in value:
            yield from statements_in(each)


def statements_of_the_store() -> set[Statement]:
    """Every statement that is a name in a module of ``keepstep.store``."""
    found: set[Statement] = set()
    for module in pkgutil.walk_packages(keepstep.store.__path__, "keepstep.store."):
        if ".versions" not in module.name:
            for value in vars(importlib.import_module(module.name)).values():
                found.update(statements_in(value))
    return found


def test_every_statement_has_an_answer():
    """None is forgotten: neither a new one here, nor one that is gone there."""
    known = statements_of_the_store()
    assert len(known) > 100
    assert known - POSTGRESQL_ALONE - ANSWERS.keys() == set()
    assert known - ANSWERS.keys() >= POSTGRESQL_ALONE
    assert {each for each in ANSWERS.keys() - known if not each.label.startswith("all rows of")} == set()


class TestDicts(StoreConformance):
    """The conformance suite on the third database."""

    @pytest.fixture
    async def store(self, clock):
        """A store on an empty dict database."""
        store = DictStore(DictDatabase(), clock=clock)
        await store.open()
        yield store
        await store.close()


async def opened(database: DictDatabase, **options) -> DictStore:
    """An open store."""
    store = DictStore(database, clock=SetClock(), **options)
    await store.open()
    return store


def calls(*made: Call):
    """A script of these calls."""
    for each in made:  # noqa: UP028  # a tuple's iterator takes no answers
        yield each


async def test_a_statement_without_an_answer_is_an_error():
    """It says which one, and where its answer belongs; nothing else of the script stays."""
    database = DictDatabase()
    store = await opened(database)
    unknown = Statement(select(tables.run.c.id), "read something new")
    with pytest.raises(UnknownStatementError, match=r"read something new.*statements"):
        await store.transaction("test", calls(Call(PUT_TASK, [task_row()]), Call(unknown)))
    assert database.task.rows == {}


def test_a_statement_has_one_answer():
    """A second one is refused."""
    with pytest.raises(AssertionError, match="read now"):
        answers(READ_NOW)(lambda *_: ())


async def test_what_is_rolled_back_was_never_there():
    """Inserts, changes and deletions are undone, unique values too (B1)."""
    database = DictDatabase()
    store = await opened(database)
    await store.transaction("test", calls(Call(ADD_RUN, [run_row()]), Call(PUT_TASK, [task_row()])))
    before = database.contents()

    def script():
        yield Call(PUT_TASK, [task_row(fence=99)])
        yield Call(DROP_TASK, [(task_row().run_id,)])
        yield Call(ADD_RUN, [run_row(id=8, instance_id="o-8")])
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await store.transaction("test", script())
    assert database.contents() == before
    await store.transaction("test", calls(Call(ADD_RUN, [run_row(id=9, instance_id="o-8")])))


async def test_a_call_that_fails_has_done_nothing():
    """A group of rows of which one is refused leaves none, also where its script goes on."""
    database = DictDatabase()
    database.begin("a host")
    with pytest.raises(ConstraintError, match="is there already"):
        answer(database, ADD_RUN, [run_row(id=1, instance_id="a"), run_row(id=1)], 0)
    database.commit("a host")
    assert database.run.rows == {}


async def test_a_read_that_writes_is_refused():
    """As a database would that it is opened read-only on."""
    database = DictDatabase()
    store = await opened(database)
    with pytest.raises(StoreError, match="only reads"):
        await store.transaction("test", calls(Call(PUT_TASK, [task_row()])), "read")
    assert database.task.rows == {}


async def test_a_closed_store_is_unavailable():
    """It says so instead of answering."""
    store = DictStore(DictDatabase(), clock=SetClock())
    with pytest.raises(StoreUnavailableError):
        await store.transaction("test", calls(Call(READ_NOW)))


async def test_stores_take_turns():
    """Who finds the database locked waits for a bounded time, then it is a conflict (C5)."""
    database = DictDatabase()
    leave, inside = anyio.Event(), anyio.Event()

    async def gate(label: str, point: str) -> None:
        if (label, point) == ("first", "commit"):
            inside.set()
            await leave.wait()

    first, second = await opened(database, gate=gate), await opened(database)
    impatient = await opened(database, busy_timeout_ms=0)
    async with anyio.create_task_group() as group:
        group.start_soon(first.transaction, "first", calls(Call(PUT_TASK, [task_row(fence=1)])))
        await inside.wait()
        assert first.busy
        with pytest.raises(StoreConflictError, match="nothing was written"):
            await impatient.transaction("impatient", calls(Call(READ_NOW)))
        group.start_soon(second.transaction, "second", calls(Call(PUT_TASK, [task_row(fence=2)])))
        await anyio.lowlevel.checkpoint()
        leave.set()
    assert [row.fence for row in database.task.all()] == [2]
