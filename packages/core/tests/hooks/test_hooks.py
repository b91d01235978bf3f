"""The outbox: at least once after the commit, each row on its own, until delivered or dead (F1, F2)."""

import asyncio
from datetime import timedelta

import pytest

from keepstep import App, Fragment, NonRetryableError, RunnerOptions, UsageError
from keepstep.authoring.trace import traced
from keepstep.errors import (
    HookNotFoundError,
    HookPayloadError,
    HookStateError,
    InvalidDurationError,
    InvalidInputError,
)
from keepstep.model.duration import to_datetime
from keepstep.store.hooks import claim_hooks
from tests.support.looking import Idle

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_hook_knows_its_delivery(app, mail, world, trigger, clock):
    """A hook's context has id, attempt, created_at, idempotency key and trace context (F2)."""
    with traced({"Traceparent": TRACE, "Cookie": "secret"}):
        hook_id = await trigger(mail.send, key="k")
    await app.run_until_idle()
    ((context, text),) = world.calls
    assert text == "hello"
    assert (context.id, context.attempt, context.key) == (hook_id, 1, "k")
    assert context.created_at == to_datetime(clock.ms)
    assert context.idempotency_key == f"mail__send/{hook_id}"
    assert dict(context.trace) == {"traceparent": TRACE}
    view = await app.hooks.get(hook_id)
    assert (view.status, view.attempts, view.payload) == ("delivered", 1, {"text": "hello"})
    assert view.trace == {"traceparent": TRACE}
    assert view.due_at is None


async def test_a_trace_goes_on_through_hooks(app, mail, world, trigger):
    """What a hook triggers carries its trace context (F2)."""
    await trigger(mail.chained, trace={"traceparent": TRACE})
    await app.run_until_idle()
    assert [dict(context.trace) for context, _ in world.calls] == [{"traceparent": TRACE}] * 2


async def test_the_caller_waits_for_no_hook(app, mail, world, trigger):
    """The request path never runs hooks (F2)."""
    await trigger(mail.send)
    assert world.calls == []


async def test_a_rolled_back_trigger_never_was(app, mail, world):
    """The row is in the caller's transaction (F1)."""

    def fail(tx):
        tx.trigger_hook(mail.send, {"text": "never"})
        raise LookupError("no")

    with pytest.raises(LookupError):
        await app.mail.call(fail)
    await app.run_until_idle()
    assert world.calls == []
    assert (await app.hooks.list()).items == ()


async def test_a_failure_is_tried_again_later_until_it_is_dead(app, mail, world, trigger, clock):
    """Retries follow the policy; after the last the row is dead, and says why (F1)."""
    world.broken = True
    hook_id = await trigger(mail.three)
    ticked = await app.tick()
    assert ticked.next_due == to_datetime(clock.ms + 10_000)
    view = await app.hooks.get(hook_id)
    assert (view.status, view.attempts, view.error.name) == ("pending", 1, "ConnectionError")
    await app.tick()
    assert len(world.calls) == 1, "not before it is due"
    for _ in range(3):
        clock.ms += 10_000
        await app.tick()
    assert [context.attempt for context, _ in world.calls] == [1, 2, 3]
    view = await app.hooks.get(hook_id)
    assert (view.status, view.attempts, view.error.message) == ("dead", 3, "nobody answers")
    assert (await app.tick()).next_due is None


async def test_twenty_attempts_take_about_a_day(app, mail, world, trigger, clock):
    """The default policy (F1)."""
    world.broken = True
    hook_id = await trigger(mail.send)
    begun = clock.ms
    while (due := (await app.tick()).next_due) is not None:
        clock.ms = max(clock.ms, round(due.timestamp() * 1000))
    assert (await app.hooks.get(hook_id)).attempts == 20
    assert timedelta(hours=18) < timedelta(milliseconds=clock.ms - begun) < timedelta(hours=30)


async def test_a_dead_hook_is_requeued(app, mail, world, trigger, clock):
    """Requeued it has all its attempts again, and goes first at once (F1)."""
    world.broken = True
    hook_id = await trigger(mail.three)
    for _ in range(3):
        await app.tick()
        clock.ms += 10_000
    world.broken = False
    await app.hooks.requeue(hook_id)
    assert (await app.hooks.get(hook_id)).attempts == 0
    await app.tick()
    view = await app.hooks.get(hook_id)
    assert (view.status, view.attempts) == ("delivered", 1)


async def test_a_pending_hook_with_a_key_is_requeued(app, mail, world, trigger, clock):
    """It is delivered at once; it does not take itself for the newer one of its key (F1)."""
    hook_id = await trigger(mail.send, at=to_datetime(clock.ms + 60_000), key="k")
    await app.hooks.requeue(hook_id)
    await app.tick()
    assert (await app.hooks.get(hook_id)).status == "delivered"
    assert len(world.calls) == 1


async def test_a_non_retryable_failure_ends_it_at_once(app, mail, world, trigger):
    """NonRetryableError has no other attempt, here as in steps (C5, F1)."""
    world.broken, world.error = True, NonRetryableError("gone")
    hook_id = await trigger(mail.send)
    await app.tick()
    assert (await app.hooks.get(hook_id)).status == "dead"


async def test_a_hook_waits_for_its_instant(app, mail, world, trigger, clock):
    """``at=`` schedules (F1)."""
    when = to_datetime(clock.ms + 60_000)
    await trigger(mail.send, at=when)
    assert (await app.tick()).next_due == when
    assert world.calls == []
    clock.ms += 60_000
    await app.tick()
    assert len(world.calls) == 1


async def test_a_key_collapses_what_is_pending(app, mail, world, trigger, clock):
    """Of two pending rows with one key the one that is due first stays (F1)."""
    later, soon = to_datetime(clock.ms + 60_000), to_datetime(clock.ms + 10_000)
    first = await trigger(mail.send, "later", at=later, key="k")
    second = await trigger(mail.send, "soon", at=soon, key="k")
    third = await trigger(mail.send, "latest", at=later, key="k")
    other = await trigger(mail.three, "another hook", key="k")
    assert first == second == third != other
    clock.ms += 10_000
    await app.run_until_idle()
    assert sorted(text for _, text in world.calls) == ["another hook", "soon"]
    again = await trigger(mail.send, "afterwards", key="k")
    assert again != first, "what is delivered collapses nothing"
    await app.run_until_idle()
    assert world.calls[-1][1] == "afterwards"


async def test_a_failure_with_a_key_gives_way_to_a_newer_one(app, mail):
    """Two rows of one key are never pending at once: the one that failed ends as merged (F1)."""
    first = await app.mail.call(mail.trigger, mail.again, {"text": "first"}, key="k")
    await app.tick()
    statuses = sorted(each.status for each in (await app.hooks.list()).items)
    assert statuses == ["merged", "pending"], statuses
    assert (await app.hooks.get(first)).status == "merged"


async def test_a_sync_hook_runs_in_a_thread(app, mail, world, trigger):
    """A handler that blocks does not block the loop (A4)."""
    await trigger(mail.blocking)
    await app.tick()
    assert len(world.calls) == 1
    assert all("keepstep" in name for name in world.threads)


async def test_a_delivery_that_takes_too_long_is_a_failed_attempt(opened, mail, world):
    """The timeout ends an async handler, and its attempt (F1)."""
    app = opened(clock=None)
    await app.migrate()
    hook_id = await app.mail.call(mail.trigger, mail.brief, {"text": "x"})
    await app.tick()
    view = await app.hooks.get(hook_id)
    assert (view.status, view.error.name) == ("pending", "HookTimeoutError")
    await app.stop()


async def test_a_stuck_delivery_is_taken_over_and_counts(app, opened, mail, world, clock):
    """After its lease another process makes the next attempt; the late outcome of the first is refused (F1)."""
    hook_id = await app.mail.call(mail.trigger, mail.hanging, {"text": "stuck"})
    stuck = asyncio.create_task(app.tick())
    await world.entered.wait()
    other = opened()
    await other.tick()
    assert len(world.calls) == 1, "the lease holds"
    with pytest.raises(HookStateError, match="being delivered"):
        await app.hooks.requeue(hook_id)
    clock.ms += 30_000
    world.entered.clear()
    second = asyncio.create_task(other.tick())
    await world.entered.wait()
    assert [context.attempt for context, _ in world.calls] == [1, 2]
    stuck.cancel()
    await asyncio.wait([stuck])
    for delivery in list(app._engine.hooks._under_way):
        delivery.task.cancel()
    await asyncio.wait([each.task for each in app._engine.hooks._under_way])
    await app._engine.hooks._ends.written()
    view = await app.hooks.get(hook_id)
    assert (view.status, view.attempts) == ("delivering", 2), "the first one's outcome is refused"
    world.gate.set()
    await second
    assert (await app.hooks.get(hook_id)).status == "delivered"
    await other.stop()


async def test_deliveries_that_nobody_finishes_use_attempts_up(app, mail, world, trigger, clock):
    """A hook that kills its process cannot kill every process for ever (F1)."""
    hook_id = await trigger(mail.three)
    engine = app._engine
    for _ in range(3):
        script = claim_hooks(engine.store.dialect, {"mail__three": 1}, 1_000, clock.ms)
        claimed = await engine.store.transaction("claim", script)
        assert len(claimed) == 1
        clock.ms += 1_000
    await app.tick()
    view = await app.hooks.get(hook_id)
    assert view.status == "dead"
    assert world.calls == []


async def test_a_drain_gives_deliveries_back(opened, mail, world):
    """A stop waits its grace; what has not ended then is due again at once, and that attempt does not count (F1)."""
    app = opened(dispatcher=Idle(), runner=RunnerOptions(drain="0 seconds"), clock=None)
    await app.start()
    hook_id = await app.mail.call(mail.trigger, mail.hanging, {"text": "x"})
    await app._engine.runner.look()
    await world.entered.wait()
    await app.stop()
    view = await app.hooks.get(hook_id)
    assert (view.status, view.attempts) == ("pending", 0)
    world.gate.set()
    await app.tick()
    assert (await app.hooks.get(hook_id)).status == "delivered"
    await app.stop()


async def until_delivered(app, count):
    """Look until so many are delivered."""
    while len((await app.hooks.list(status="delivered")).items) < count:
        await app._engine.runner.look()
        await asyncio.sleep(0)  # SQLite answers without a turn of the loop


async def test_a_slow_hook_does_not_hold_others_up(opened, mail, world):
    """Defect 10: with every place that it may have taken by one hook, others are delivered and finished."""
    app = opened(dispatcher=Idle(), runner=RunnerOptions(hooks=4), clock=None)
    await app.start()
    for number in range(8):
        await app.mail.call(mail.trigger, mail.hanging, {"text": str(number)})
    fast = [await app.mail.call(mail.trigger, mail.send, {"text": "fast"}) for _ in range(20)]
    await app._engine.runner.look()
    async with asyncio.timeout(30):
        await until_delivered(app, len(fast))
    hanging = [each for each in (await app.hooks.list()).items if each.name == "mail__hanging"]
    assert sum(each.status == "delivering" for each in hanging) == 3, "three quarters of four places"
    world.gate.set()
    async with asyncio.timeout(30):
        await until_delivered(app, 28)
    await app.stop()


async def test_old_rows_are_pruned(opened, mail, world, clock):
    """Delivered rows are kept as long as the host says, dead ones as long as it says for these (F1)."""
    options = RunnerOptions(hook_retention="1 day", dead_hook_retention="3 days")
    app = opened(dispatcher=Idle(), runner=options)
    await app.start()
    engine = app._engine
    good = await app.mail.call(mail.trigger, mail.send, {"text": "good"})
    await engine.hooks.deliver_due()
    world.broken = True
    bad = await app.mail.call(mail.trigger, mail.once, {"text": "bad"})
    await engine.hooks.deliver_due()
    clock.ms += 2 * 86_400_000
    await engine.hooks.look()
    with pytest.raises(HookNotFoundError):
        await app.hooks.get(good)
    assert (await app.hooks.get(bad)).status == "dead"
    clock.ms += 2 * 86_400_000
    await engine.hooks.look()
    assert (await app.hooks.list()).items == ()
    await app.stop()


async def test_a_process_without_the_code_leaves_hooks_alone(app, database_url, mail, world, trigger):
    """A runner only claims hooks that it has (B2, defect 8)."""
    await trigger(mail.send)
    stranger = Fragment("stranger")

    @stranger.hook
    async def send(context, payload): ...

    other = App(database_url, fragments=[stranger], dispatcher=None)
    assert (await other.tick()).next_due is None
    await other.stop()
    await app.tick()
    assert len(world.calls) == 1


async def test_listing_pages_neither_skip_nor_repeat(app, mail, world, trigger):
    """Pages by id, filtered by status and name (defect 15)."""
    ids = [await trigger(mail.send, str(number)) for number in range(5)]
    other = await trigger(mail.three)
    found, cursor = [], None
    while True:
        page = await app.hooks.list(name="mail__send", limit=2, cursor=cursor)
        found += [each.id for each in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert found == ids[::-1]
    assert [each.id for each in (await app.hooks.list(status="pending", limit=1)).items] == [other]
    assert (await app.hooks.list(status="dead")).items == ()


async def test_what_cannot_be_triggered_or_found_is_said(app, mail, trigger):
    """Values are refused before anything is stored (H)."""
    with pytest.raises(HookPayloadError, match="text"):
        await app.mail.call(mail.trigger, mail.send, {"wrong": 1})
    with pytest.raises(InvalidInputError, match="1 to 256"):
        await trigger(mail.send, key="")
    with pytest.raises(InvalidDurationError):
        await trigger(mail.send, at=to_datetime(0).replace(tzinfo=None))
    stranger = Fragment("stranger").hook(name="other")(lambda context, payload: None)
    with pytest.raises(UsageError, match="neither of"):
        await trigger(stranger)
    for hook_id in ("7", "nothing", "-1", "9" * 30):
        with pytest.raises(HookNotFoundError):
            await app.hooks.get(hook_id)
    with pytest.raises(HookNotFoundError):
        await app.hooks.requeue("7")
    with pytest.raises(InvalidInputError, match="no status of a hook"):
        await app.hooks.list(status="lost")
    with pytest.raises(InvalidInputError, match="cursor"):
        await app.hooks.list(cursor="nonsense")
    assert (await app.hooks.list()).items == ()
