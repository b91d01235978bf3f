"""Steps that write the user's tables: their rows and the step's commit together or not at all (C8)."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from keepstep import (
    Retry,
    StepContext,
    StepFailedError,
    WorkflowEvent,
    WorkflowStep,
    step_context,
    workflow,
)
from keepstep.errors import StoreConflictError
from keepstep.store import tables

INSERT = text("INSERT INTO effect (value) VALUES (:value)")
ONCE = Retry(max_attempts=2, delay="10ms", backoff="constant")


def write(session, value: int) -> int:
    """A write of the user's, in a thread."""
    session.execute(INSERT, {"value": value})
    return value


async def write_async(session, value: int) -> int:
    """The same on the host's loop."""
    await session.execute(INSERT, {"value": value})
    return value


@workflow(name="two")
async def two(event: WorkflowEvent[None], step: WorkflowStep) -> list[int]:
    """Two transactions side by side, of both colours."""
    a, b = step.transaction("a", write, 1), step.transaction("b", write_async, 2)
    return list(await asyncio.gather(a, b))


def then_fail(session) -> int:
    """Write and fail."""
    session.execute(INSERT, {"value": 1})
    raise KeyError("after the write")


async def then_fail_async(session) -> int:
    """Write and fail."""
    await session.execute(INSERT, {"value": 1})
    raise KeyError("after the write")


@pytest.fixture
def effects(fleet):
    """The user's table: reads its values, in order."""
    fleet.execute("CREATE TABLE effect (value INTEGER PRIMARY KEY)")
    return lambda: sorted(row[0] for row in fleet.execute("SELECT value FROM effect"))


async def test_transactions_side_by_side_take_turns(fleet, effects):
    """A2, C8: two transaction steps of one run, sync and async, commit one after the other, and both end."""
    node = await fleet.started(two)
    instance = await node.workflows.two.create("i")
    assert await instance.result(timeout=10) == [1, 2]
    assert effects() == [1, 2]
    assert sorted(each.seq for each in (await instance.history()).steps) == [1, 2]


@workflow(name="first")
async def first(event: WorkflowEvent[None], step: WorkflowStep) -> int:
    """Take whichever of two transactions ends first, and forget the other."""
    tasks = [asyncio.create_task(step.transaction(f"t{n}", write, n)) for n in (1, 2)]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await step.do("after", after)
    return done.pop().result()


async def after() -> None:
    """One more boundary."""


async def test_a_transaction_that_nobody_waits_for_any_more_gives_its_turn_up(fleet, effects):
    """A2, C8: a step that is cancelled while it waits for its turn does not stop the run, and writes nothing."""
    node = await fleet.started(first)
    instance = await node.workflows.first.create("i")
    result = await instance.result(timeout=10)
    assert effects() == [result]


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_failed_transaction_leaves_no_row(fleet, effects, colour):
    """C8: when the step's function fails after its write, neither its row nor the step's success is there."""
    node = await fleet.started(one_try)
    instance = await node.workflows.one_try.create("i", params=colour)
    assert await instance.result(timeout=10) == "KeyError"
    assert effects() == []
    assert [each.status for each in (await instance.history()).steps] == ["failed"]


@workflow(name="one_try", retry=Retry(max_attempts=1))
async def one_try(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """One transaction of the colour asked for; what ended it for good is the result."""
    try:
        await step.transaction("write", {"sync": then_fail, "async": then_fail_async}[event.payload])
    except StepFailedError as error:
        return error.name
    return "written"


@workflow(name="twice", retry=Retry(max_attempts=5))
async def twice(event: WorkflowEvent[bool], step: WorkflowStep) -> list[object]:
    """Write one key twice: with ``step.transaction`` or with ``tx``."""
    try:
        if event.payload:
            await step.transaction("a", write, 1)
            await step.transaction("b", write, 1)
        else:
            await step.do("a", buffer)
            await step.do("b", buffer)
    except StepFailedError as error:
        return [error.name, error.attempts]
    return []


def buffer(context: StepContext) -> None:
    """A write that joins the boundary."""
    context.tx.execute(INSERT, {"value": 1})


@pytest.mark.parametrize("direct", [True, False])
async def test_a_unique_violation_ends_the_step(fleet, effects, direct):
    """C8: what a constraint refuses is not tried again, in ``step.transaction`` and through ``tx`` alike."""
    node = await fleet.started(twice)
    instance = await node.workflows.twice.create("i", params=direct)
    assert await instance.result(timeout=10) == ["IntegrityError", 1]
    assert effects() == [1]


@workflow(name="mistaken", retry=ONCE)
async def mistaken(event: WorkflowEvent[None], step: WorkflowStep) -> int:
    """Use a table that does not exist."""
    try:
        await step.transaction("a", lambda session: session.execute(text("SELECT * FROM nowhere")))
    except StepFailedError as error:
        return error.attempts
    return 0


async def test_a_mistake_in_the_users_sql_fails_the_step(fleet):
    """C4, C5: a statement that the database refuses is the step's failure, with attempts that are counted."""
    node = await fleet.started(mistaken)
    instance = await node.workflows.mistaken.create("i")
    assert await instance.result(timeout=10) == 2


async def asks_async(session, context: StepContext) -> list[object]:
    """What is known of the step, and a write through ``tx``."""
    context.tx.execute(INSERT, {"value": 7})
    return [step_context().step_key, context.attempt, step_context().idempotency_key]


def asks(session, context: StepContext) -> list[object]:
    """The same in a thread."""
    context.tx.execute(INSERT, {"value": 8})
    return [step_context().step_key, context.attempt, step_context().idempotency_key]


@workflow(name="asking")
async def asking(event: WorkflowEvent[None], step: WorkflowStep) -> list[list[object]]:
    """Transactions that use their context."""
    return [await step.transaction("a", asks_async), await step.transaction("b", asks)]


async def test_a_transaction_knows_its_step(fleet, effects):
    """B8, C8: in both colours the context is there, and writes left in ``tx`` join the boundary."""
    node = await fleet.started(asking)
    instance = await node.workflows.asking.create("i")
    assert await instance.result(timeout=10) == [
        ["transaction:a", 1, "asking/i/1/transaction:a"],
        ["transaction:b", 1, "asking/i/1/transaction:b"],
    ]
    assert effects() == [7, 8]


class Flaky:
    """A database that refuses the first tries."""

    tries = 0


def conflicts(session) -> int:
    """Meet a conflict with another transaction, twice."""
    Flaky.tries += 1
    if Flaky.tries < 3:
        error = Exception("deadlock detected")
        error.sqlstate = "40P01"
        raise OperationalError("UPDATE …", {}, error)
    return step_context().attempt


@workflow(name="conflicting", retry=Retry(max_attempts=1))
async def conflicting(event: WorkflowEvent[None], step: WorkflowStep) -> int:
    """A step that meets conflicts."""
    return await step.transaction("a", conflicts)


async def test_a_conflict_is_no_attempt(fleet):
    """C5: what the database did to the transaction is tried again and counts as no attempt."""
    Flaky.tries = 0
    node = await fleet.started(conflicting)
    instance = await node.workflows.conflicting.create("i")
    assert await instance.result(timeout=10) == 1
    assert Flaky.tries == 3


async def test_a_conflict_in_the_guard_is_no_attempt(lite):
    """C5, defect 7: neither is one that the step's own row meets."""
    lite.execute("CREATE TABLE effect (value INTEGER PRIMARY KEY)")
    node = await lite.started(one_write)
    leased, tries = node.runner.committer.leased, []

    def conflicting_once(boundary):
        tries.append(boundary)
        if len(tries) == 1:
            raise StoreConflictError("deadlock detected")
        return leased(boundary)

    node.runner.committer.leased = conflicting_once
    instance = await node.workflows.one_write.create("i")
    assert await instance.result(timeout=10) == 1
    assert lite.execute("SELECT value FROM effect") == [(1,)]


async def test_a_step_without_a_connection_is_no_attempt(fleet, effects, monkeypatch):
    """C5, defect 9: while no session can be opened the step waits; it does not fail."""
    node = await fleet.started(one_write)
    sessions = node.engine._user_writes._sessions
    opened, tries = sessions.run_sync, []

    def refusing(work):
        tries.append(1)
        if len(tries) < 3:

            class Closed:
                @staticmethod
                def connection():
                    raise ConnectionRefusedError("connection refused")

            return work(Closed())
        return opened(work)

    monkeypatch.setattr(sessions, "run_sync", refusing)
    instance = await node.workflows.one_write.create("i")
    assert await instance.result(timeout=10) == 1
    assert (await instance.history()).steps[0].attempts == 1
    assert effects() == [1]


@workflow(name="one_write", retry=Retry(max_attempts=1))
async def one_write(event: WorkflowEvent[None], step: WorkflowStep) -> int:
    """Write once."""
    return await step.transaction("a", write, 1)


async def test_a_run_taken_away_during_its_transaction_writes_nothing(fleet, effects):
    """B3, C8, E7: a terminate that commits during the step's transaction rolls the user's row back."""
    began, go = asyncio.Event(), asyncio.Event()

    async def slow(session) -> None:
        began.set()
        await go.wait()
        await session.execute(INSERT, {"value": 1})

    @workflow(name="slow")
    async def slowly(event: WorkflowEvent[None], step: WorkflowStep) -> None:
        await step.transaction("a", slow)

    if fleet.url.startswith("sqlite"):  # there the step's transaction keeps every other writer out
        return
    node = await fleet.started(slowly)
    instance = await node.workflows.slow.create("i")
    await began.wait()
    await instance.terminate()
    go.set()
    await fleet.until(lambda: not node.held)
    assert effects() == []
    assert fleet.rows(tables.run_step) == []
    assert (await instance.status()).status == "terminated"
