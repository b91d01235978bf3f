"""How an app executes steps: where callbacks run, when they may start, what ends them (A4, A7, B4, B8, C6, C8)."""

import asyncio
import threading
from collections import Counter, deque
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from keepstep import (
    App,
    Retry,
    RunnerOptions,
    Status,
    StepContext,
    StepFailedError,
    WorkflowEvent,
    WorkflowFailedError,
    WorkflowStep,
    step_context,
    workflow,
)
from keepstep.errors import StoreUnavailableError

CALLER = ContextVar("caller", default="nobody")
ONCE_MORE = Retry(max_attempts=2, delay="1 ms")


@pytest.fixture(params=["runner", "ticks"])
async def ended(request, database_url):
    """Runs one instance of a workflow to its end, by a runner or by ticks, on each kind of database."""
    apps = []

    async def ended(body, **options):
        if request.param == "ticks":
            options["dispatcher"] = None
        app = App(database_url, workflows={"W": body}, **options)
        apps.append(app)
        await app.start()
        instance = await app.workflows.W.create(id="x")
        while not (await instance.status()).status.terminal:
            if request.param == "ticks":
                await app.run_until_idle()
            await asyncio.sleep(0)
        return instance

    ended.url = database_url
    ended.instance = lambda: apps[0].workflows.W.instance("x")
    yield ended
    for app in apps:
        await app.stop()


@pytest.fixture
def ledger(database_url):
    """A table of the user's beside keepstep's; gives its values."""
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE ledger (value INTEGER PRIMARY KEY)"))

    def values():
        with engine.begin() as connection:
            return [row[0] for row in connection.execute(text("SELECT value FROM ledger ORDER BY value"))]

    yield values
    engine.dispose()


def double(number: int) -> int:
    """A step."""
    return 2 * number


async def test_callbacks_run_on_the_hosts_loop_or_in_a_thread(ended):
    """A4: an async callback runs on the host's loop, a sync one in a thread; both see their context, neither blocks."""
    loop, home = asyncio.get_running_loop(), threading.get_ident()
    met = threading.Barrier(2, timeout=20)
    set_by_async = threading.Event()
    CALLER.set("test")

    def in_a_thread(number: int) -> bool:
        met.wait()  # both threads are there, and the loop is free meanwhile
        assert set_by_async.wait(20)
        assert CALLER.get() == "test"
        assert step_context().step_key == f"do:sync {number}"
        return threading.get_ident() != home

    async def on_the_loop() -> bool:
        set_by_async.set()
        assert step_context().step_key == "do:async"
        return asyncio.get_running_loop() is loop

    @workflow(name="mixed")
    async def mixed(event: WorkflowEvent[Any], step: WorkflowStep) -> list[bool]:
        return await asyncio.gather(
            step.do("sync 1", in_a_thread, 1),
            step.do("sync 2", in_a_thread, 2),
            step.do("async", on_the_loop),
        )

    instance = await ended(mixed)
    assert await instance.result(timeout=0) == [True, True, True]


async def test_no_more_threads_than_allowed_run_callbacks(ended):
    """A4: the pool is bounded; what does not fit waits its turn, and everything ends."""
    lock, running, most = threading.Lock(), [], []

    def count(number: int) -> int:
        with lock:
            running.append(number)
            most.append(len(running))
        with lock:
            running.remove(number)
        return number

    @workflow(name="many")
    async def many(event: WorkflowEvent[Any], step: WorkflowStep) -> list[int]:
        return await asyncio.gather(*(step.do(f"count {n}", count, n) for n in range(12)))

    instance = await ended(many, runner=RunnerOptions(sync_steps_max=2))
    assert await instance.result(timeout=0) == list(range(12))
    assert max(most) <= 2


async def test_a_step_starts_when_what_led_to_it_is_durable(ended):
    """A7: a callback finds the step before it, and the event that its body took, in the database."""
    seen = []

    async def look() -> None:
        history = await ended.instance().history()
        resolved = [each.key for each in history.steps if each.seq]
        seen.append((step_context().step_key, resolved, [each.consumed_by for each in history.events]))
        if len(seen) == 1:
            await ended.instance().send_event("go", id="e-1")

    @workflow(name="looking")
    async def looking(event: WorkflowEvent[Any], step: WorkflowStep) -> None:
        await step.do("a", look)
        await step.wait_for_event("go", "go")
        await step.do("b", look)

    instance = await ended(looking)
    assert await instance.result(timeout=0) is None
    assert seen[0] == ("do:a", [], [])
    assert seen[-1] == ("do:b", ["do:a", "wait:go"], ["wait:go"])


async def test_an_async_attempt_over_its_time_is_cancelled_and_awaited(ended):
    """C6, C4: the callback's cleanup has run before the next attempt starts, which counts."""
    happened = []

    async def hang(context: StepContext) -> int:
        happened.append(f"start {context.attempt}")
        if context.attempt == 1:
            try:
                await asyncio.Event().wait()
            finally:
                happened.append("cleaned up")
        return context.attempt

    @workflow(name="late", retry=ONCE_MORE)
    async def late(event: WorkflowEvent[Any], step: WorkflowStep) -> int:
        return await step.do("hang", hang, timeout="30 ms")

    instance = await ended(late)
    assert await instance.result(timeout=0) == 2
    assert happened == ["start 1", "cleaned up", "start 2"]


async def test_a_threads_late_result_is_discarded(ended):
    """C6: a thread cannot be stopped; what it returns after its time is no result of any attempt (B3)."""
    second, first_has_ended = threading.Event(), threading.Event()

    def slow(context: StepContext) -> str:
        if context.attempt == 1:
            second.wait(20)
            first_has_ended.set()
            return "too late"
        second.set()
        first_has_ended.wait(20)
        return "in time"

    @workflow(name="late", retry=ONCE_MORE)
    async def late(event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        return await step.do("slow", slow, timeout="100 ms")

    instance = await ended(late)
    assert await instance.result(timeout=0) == "in time"
    (step,) = (await instance.history()).steps
    assert (step.attempts, step.status) == (2, "completed")


async def test_a_step_that_never_ends_in_time_fails_with_its_timeout(ended):
    """C6, C5: after the last attempt the step has failed for good, and so has a body that does not catch it."""

    async def hang() -> None:
        await asyncio.Event().wait()

    @workflow(name="never", retry=Retry(max_attempts=1))
    async def never(event: WorkflowEvent[Any], step: WorkflowStep) -> None:
        await step.do("hang", hang, timeout="10 ms")

    instance = await ended(never)
    with pytest.raises(WorkflowFailedError, match="longer than its timeout"):
        await instance.result(timeout=0)
    assert (await instance.status()).error.name == "StepTimeoutError"


async def test_a_runner_that_cannot_renew_stops_its_steps_before_others_may_start_them(database_url):
    """B4: renewals fail, so the callback is cancelled while the lease still counts; with a new lease it runs again."""
    started, cancelled = asyncio.Event(), asyncio.Event()
    attempts, left = [], []

    async def work() -> str:
        attempts.append(len(attempts))
        if len(attempts) > 1:
            return "done"
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            with engine.begin() as connection:
                until = connection.execute(text("SELECT max(locked_until) FROM keepstep_runner")).scalar_one()
            left.append(until - app._engine.seams.clock.now_ms())
            cancelled.set()
        return "never"

    @workflow(name="work")
    async def body(event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        return await step.do("work", work)

    async def gate(label, at):
        if label in {"renew", "register"} and started.is_set() and not cancelled.is_set():
            raise StoreUnavailableError("cut off by the test")

    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    app = App(database_url, workflows={"WORK": body}, runner=RunnerOptions(lease="2 seconds"))
    app._engine.store._gate = gate
    async with app.running():
        instance = await app.workflows.WORK.create()
        assert await instance.result(timeout=20) == "done"
    engine.dispose()
    assert left[0] > 0
    assert attempts == [0, 1]


async def test_the_cache_changes_no_history(database_url):
    """A6: bodies that stay in memory between five waits, and bodies that are replayed at each, leave the same records."""
    begun = Counter()

    @workflow(name="restful")
    async def restful(event: WorkflowEvent[Any], step: WorkflowStep) -> list[Any]:
        begun[event.instance_id] += 1
        seen: list[Any] = []
        for number in range(5):
            seen.append(await step.do("double", double, number))
            seen.append((await step.wait_for_event("next", "item", timeout=None)).payload)
        return seen

    records = []
    for number, cache in enumerate((0, 10_000)):
        app = App(database_url, workflows={"W": restful}, runner=RunnerOptions(cache=cache))
        async with app.running():
            instance = await app.workflows.W.create(id=f"x-{number}")
            waits = deque(["wait:next", *(f"wait:next#{count}" for count in range(2, 6))])
            while (details := await instance.details()).status is not Status.COMPLETE:
                if waits and [each.key for each in details.waiting_for] == [waits[0]]:
                    await instance.send_event("item", 5 - len(waits))
                    waits.popleft()
                await asyncio.sleep(0)
            assert await instance.result(timeout=20) == [0, 0, 2, 1, 4, 2, 6, 3, 8, 4]
            steps = (await instance.history()).steps
        records.append([(each.key, each.seq, each.status, each.attempts, each.event_type) for each in steps])
    assert begun == {"x-0": 6, "x-1": 1}
    assert records[0] == records[1]


async def test_an_intent_is_durable_before_its_callback_and_is_reconciled_after_a_crash(database_url):
    """B8: cut off after the intent, the next process calls `reconcile` and not the step again."""
    called = []

    async def pay(context: StepContext) -> str:
        (row,) = (await app.workflows.PAY.instance("x").history()).steps
        called.append(("pay", row.status, context.idempotency_key))
        return "paid"

    async def look_up(context: StepContext) -> str:
        called.append(("look up", context.idempotency_key))
        return "found"

    @workflow(name="pay")
    async def body(event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        return await step.do("pay", pay, journal_intent=True, reconcile=look_up)

    async def gate(label, at):
        if label == "tick" and at == "commit" and called:
            raise ConnectionAbortedError("the process dies here")

    app = App(database_url, workflows={"PAY": body}, dispatcher=None)
    await app.start()
    instance = await app.workflows.PAY.create(id="x")
    app._engine.store._gate = gate
    with suppress(Exception):
        await app.run_until_idle()
    await app.stop()
    app._engine.store._gate = None
    while (await instance.status()).status is Status.ACTIVE:
        await app.run_until_idle()
    assert await instance.result(timeout=0) == "found"
    await app.stop()
    assert called == [("pay", "intent", "pay/x/1/do:pay"), ("look up", "pay/x/1/do:pay")]


def insert(session: Any, value: int) -> int:
    """A transaction step."""
    session.execute(text("INSERT INTO ledger VALUES (:value)"), {"value": value})
    if value < 0:
        raise ValueError("after the write")
    return value


async def test_a_users_rows_commit_with_their_step_or_not_at_all(ended, ledger):
    """C8: a transaction step that fails leaves no row; one that succeeds leaves one, whatever follows."""

    @workflow(name="booking", retry=ONCE_MORE)
    async def booking(event: WorkflowEvent[Any], step: WorkflowStep) -> int:
        await step.transaction("book", insert, 1)
        with pytest.raises(StepFailedError, match="after the write"):
            await step.transaction("fail", insert, -1)
        return await step.transaction("again", insert, 2)

    instance = await ended(booking)
    assert await instance.result(timeout=0) == 2
    assert ledger() == [1, 2]
    assert [each.attempts for each in (await instance.history()).steps if each.kind == "transaction"] == [
        1,
        2,
        1,
    ]


async def test_buffered_writes_join_the_boundary_and_go_with_a_failed_attempt(ended, ledger):
    """C8: what an attempt wrote through `tx` is there once, of the attempt that succeeded."""

    def book(context: StepContext) -> int:
        context.tx.execute(text("INSERT INTO ledger VALUES (:value)"), {"value": context.attempt})
        if context.attempt == 1:
            raise ConnectionError("closed")
        return context.attempt

    @workflow(name="booking", retry=ONCE_MORE)
    async def booking(event: WorkflowEvent[Any], step: WorkflowStep) -> int:
        return await step.do("book", book)

    instance = await ended(booking)
    assert await instance.result(timeout=0) == 2
    assert ledger() == [2]


async def test_a_unique_violation_ends_the_step_at_once(ended, ledger):
    """C8, C5: the same write would be refused again; the body may catch it, and nothing of the step is written."""

    @workflow(name="booking")
    async def booking(event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        await step.transaction("book", insert, 1)
        try:
            await step.transaction("twice", insert, 1)
        except StepFailedError as error:
            return str(error.__cause__ or error)
        return "accepted"

    instance = await ended(booking)
    assert await instance.result(timeout=0) != "accepted"
    assert ledger() == [1]
    assert [each.attempts for each in (await instance.history()).steps] == [1, 1]
