"""Instance handles: results and how they fail, and the verbs of a life (D4-D7, E1-E7)."""

from datetime import timedelta

import pytest

from keepstep import (
    InstanceTerminalError,
    ResultTimeoutError,
    Status,
    UsageError,
    WorkflowCancelledError,
    WorkflowFailedError,
    WorkflowTerminatedError,
)
from keepstep.errors import (
    EventIdConflictError,
    EventPayloadError,
    InstanceStateError,
    InvalidDurationError,
    InvalidEventTypeError,
    InvalidInputError,
    WorkflowParamsError,
)
from keepstep.model.outcome import Accepted


@pytest.fixture
async def instance(app, lamp):
    """An instance that has charged and waits for its approval."""
    created = await app.workflows.ORDER.create(id="o-1", params=lamp)
    await app.run_until_idle()
    return created


async def test_the_result_has_its_type(app, instance, approval, receipt):
    """`result()` is decoded by the workflow's annotation (C3)."""
    await instance.send_event(approval)
    await app.run_until_idle()
    assert await instance.result() == receipt
    assert (await instance.status()).output == {"total": 75, "note": "True"}


async def test_a_body_without_a_result_gives_none(app):
    """None is a result."""
    instance = await app.workflows.NOTHING.create()
    await app.run_until_idle()
    assert await instance.result() is None


async def test_a_failed_instance_raises_its_error(app, lamp, shop):
    """Name and message of the recorded error (C5)."""
    shop.broken = True
    instance = await app.workflows.ORDER.create(params=lamp)
    await app.run_until_idle()
    with pytest.raises(WorkflowFailedError, match=r"errored: .*the bank is closed") as caught:
        await instance.result()
    assert (caught.value.name, caught.value.code) == ("ConnectionError", "WORKFLOW_FAILED")


async def test_a_terminated_instance_raises_with_the_reason(instance):
    """E5."""
    await instance.terminate("fraud")
    with pytest.raises(WorkflowTerminatedError, match="terminated: fraud"):
        await instance.result()


async def test_a_cancelled_instance_raises_with_the_reason(app, instance):
    """The body ends at its await (E5)."""
    await instance.cancel("changed my mind")
    await app.run_until_idle()
    assert (await instance.status()).status is Status.CANCELLED
    with pytest.raises(WorkflowCancelledError, match="changed my mind"):
        await instance.result()


@pytest.mark.parametrize("timeout", [0, 0.0, "0ms", timedelta(0), 0.01, "5ms"])
async def test_a_result_that_is_not_there_in_time_is_a_timeout(instance, timeout):
    """The instance goes on, and the message says how it stands."""
    with pytest.raises(ResultTimeoutError, match=r"is still waiting after .* ask again, or ask why"):
        await instance.result(timeout=timeout)
    assert (await instance.status()).status is Status.WAITING


@pytest.mark.parametrize("timeout", [-1, "soon", True, float("nan"), "30", timedelta(-1)])
async def test_timeouts_that_cannot_be_read_are_refused(instance, timeout):
    """Seconds as a number, or a duration (D1)."""
    with pytest.raises(InvalidDurationError, match="timeout"):
        await instance.result(timeout=timeout)


async def test_details_history_and_why_tell_the_same(app, instance):
    """What it waits for, in values and in words (E1)."""
    details = await instance.details()
    (waiting,) = details.waiting_for
    assert (waiting.key, waiting.event_type, waiting.until) == (
        "wait:decision",
        "approval",
        details.next_wake_at,
    )
    assert waiting.until - waiting.since == timedelta(hours=1)
    history = await instance.history()
    assert [(each.key, each.status) for each in history.steps] == [
        ("do:charge", "completed"),
        ("wait:decision", "waiting"),
    ]
    assert "'approval'" in await instance.why()


async def test_a_timeout_of_the_body_follows_the_clock(app, instance, clock):
    """The wait ends when its hour has passed by the app's clock (B5, D4)."""
    result = await app.tick()
    assert (result.processed, result.next_due) == (0, (await instance.details()).next_wake_at)
    clock.ms += 3_600_000
    assert await app.run_until_idle() == 1
    assert (await instance.result()).note is None


async def test_events_are_checked_kept_and_recognised(app, instance, approval):
    """D6, D7: issues, undeclared types, duplicates, conflicts."""
    with pytest.raises(EventPayloadError):
        await instance.send_event("approval", {"approved": "perhaps"})
    with pytest.raises(InvalidEventTypeError, match="'approval'"):
        await instance.send_event("rejection")
    with pytest.raises(UsageError):
        await instance.send_event(approval, {"approved": True})
    assert await instance.send_event(approval, id="e-1") == Accepted(duplicate=False)
    assert await instance.send_event("approval", {"approved": True}, id="e-1") == Accepted(duplicate=True)
    with pytest.raises(EventIdConflictError):
        await instance.send_event("approval", {"approved": False}, id="e-1")
    assert (await instance.details()).buffered_events == 1


async def test_if_waiting_refuses_before_the_wait(app, lamp, approval):
    """Accepted only while it waits for the type."""
    instance = await app.workflows.ORDER.create(params=lamp)
    with pytest.raises(InstanceStateError, match="does not wait"):
        await instance.send_event(approval, if_waiting=True)
    await app.run_until_idle()
    await instance.send_event(approval, if_waiting=True)


async def test_paused_instances_stand_still_and_go_on(app, instance, approval):
    """E3, E4: an event while paused is kept; resume settles it."""
    await instance.pause()
    await instance.send_event(approval)
    assert await app.run_until_idle() == 0
    assert (await instance.status()).status is Status.PAUSED
    await instance.resume()
    await app.run_until_idle()
    assert (await instance.result()).note == "True"


async def test_restart_and_the_runs_before(app, instance, lamp):
    """Next number, other params, old runs readable (E6)."""
    await instance.restart(lamp.model_copy(update={"quantity": 4}))
    await app.run_until_idle()
    details = await instance.details()
    assert (details.run_number, details.params["quantity"]) == (2, 4)
    assert (await instance.history(run=1)).steps[0].result == 75
    with pytest.raises(InvalidInputError, match="no run 3"):
        await instance.history(run=3)


async def test_restart_from_a_step_does_not_repeat_what_came_before(app, instance, shop):
    """The charge is kept (E6)."""
    await instance.restart(from_step="wait:decision")
    await app.run_until_idle()
    assert (shop.charges, (await instance.details()).run_number) == (1, 2)
    with pytest.raises(UsageError, match="params or from_step"):
        await instance.restart({"item": "x"}, from_step="do:charge")
    with pytest.raises(WorkflowParamsError):
        await instance.restart({"quantity": 1})


async def test_a_failed_step_is_tried_again_in_place(app, lamp, shop):
    """E6: the same run goes on."""
    shop.broken = True
    instance = await app.workflows.ORDER.create(params=lamp)
    await app.run_until_idle()
    with pytest.raises(InstanceTerminalError):
        await instance.pause()
    shop.broken = False
    await instance.retry_failed_step()
    await app.run_until_idle()
    details = await instance.details()
    assert (details.status, details.run_number) == (Status.WAITING, 1)


@pytest.mark.parametrize("reason", ["x" * 1001, 7])
async def test_reasons_are_short_texts(instance, reason):
    """H."""
    with pytest.raises(InvalidInputError, match="reason"):
        await instance.terminate(reason)
    with pytest.raises(InvalidInputError, match="reason"):
        await instance.cancel(reason)
