"""Reading an instance: status, details, history, why (E1)."""

from datetime import UTC, datetime

import pytest

from keepstep.errors import InstanceNotFoundError, InvalidInputError
from keepstep.model.outcome import ErrorInfo, InstanceStatus
from keepstep.model.plan import Hold, Park
from keepstep.model.recorded import error_text
from keepstep.model.status import Status, StepStatus
from keepstep.services import read
from keepstep.services.target import Target

ONE = Target("order", "o-1")


def instant(ms):
    """Milliseconds as a datetime."""
    return datetime.fromtimestamp(ms / 1000, UTC)


async def test_the_status_in_short(world):
    """Status, output, error; nothing else (E1)."""
    await world.create("o-1")
    assert await world.run(read.status(ONE), "read") == InstanceStatus(Status.ACTIVE)
    await world.finish(output='{"n":1}')
    assert await world.run(read.status(ONE), "read") == InstanceStatus(Status.COMPLETE, {"n": 1})


async def test_details_say_what_it_waits_for_and_until_when(world):
    """Waits, deadlines, next wake, buffered events (E1)."""
    await world.create("o-1", params={"a": 1})
    due = world.clock.now + 60_000
    await world.wait_for("approval", due_at=due)
    await world.send("note", {})
    details = await world.details()
    assert (details.status, details.params, details.buffered_events) == (Status.WAITING, {"a": 1}, 1)
    (waiting,) = details.waiting_for
    assert (waiting.key, waiting.what, waiting.event_type) == ("wait:approval", "event", "approval")
    assert (waiting.since, waiting.until) == (instant(world.clock.now), instant(due))
    assert details.next_wake_at == instant(due)
    assert (details.lease_holder, details.takeovers) == (None, 0)


async def test_details_say_who_executes_it(world):
    """The holder of the lease, and until when (E1)."""
    await world.create("o-1")
    await world.claim()
    details = await world.details()
    assert (details.lease_holder, details.lease_until) == ("host/12", instant(world.clock.now + 30_000))
    assert (details.started_at, details.next_wake_at) == (instant(world.clock.now), None)


async def test_details_show_a_retry_with_its_error(world, rows):
    """A step between attempts: when the next one is, and why (E1, C4)."""
    await world.create("o-1")
    claimed = (await world.claim())["o-1"]
    row = rows.step(claimed.run.id, "shop>do:charge#2", None, StepStatus.RETRYING)
    error = ErrorInfo("TimeoutError", "slow", None, "shop>do:charge#2", 2)
    row = row._replace(due_at=world.clock.now + 10, attempt=2, result=None, error=error_text(error))
    assert await world.commit(claimed, Park(world.clock.now + 10), [row])
    (waiting,) = (await world.details()).waiting_for
    assert (waiting.what, waiting.attempt, waiting.error) == ("retry", 2, error)


async def test_history_is_complete_however_long(world, rows, monkeypatch):
    """Steps in order of resolution, open ones last; events; logs: paged inside, nothing omitted."""
    monkeypatch.setattr(read, "PAGE", 3)
    await world.create("o-1")
    for n in range(7):
        await world.send("note", {"text": str(n)})
    claimed = (await world.claim())["o-1"]
    run_id = claimed.run.id
    resolved = [rows.step(run_id, f"do:s#{n}" if n > 1 else "do:s", n) for n in range(1, 7)]
    waiting = rows.step(run_id, "wait:approval", None, StepStatus.WAITING)._replace(
        result=None, event_type="approval"
    )
    assert await world.commit(
        claimed, Hold(), [*resolved, waiting], [rows.log_line(run_id, n) for n in range(1, 8)]
    )
    history = await world.run(read.history(ONE, None), "read")
    assert [each.seq for each in history.steps] == [1, 2, 3, 4, 5, 6, None]
    assert [each.name for each in history.steps] == ["s"] * 6 + ["approval"]
    assert [each.payload["text"] for each in history.events] == list("0123456")
    assert [each.number for each in history.logs] == [1, 2, 3, 4, 5, 6, 7]
    assert history.logs[0].data == {"n": 1}


async def test_a_run_that_is_not_there_has_no_history(world):
    """The message says which run is the newest (H)."""
    await world.create("o-1")
    with pytest.raises(InvalidInputError, match="no run 4; its newest run is 1"):
        await world.run(read.history(ONE, 4), "read")


async def test_why_says_in_words_what_it_waits_for(world):
    """E1: in words."""
    await world.create("o-1")
    await world.wait_for("approval")
    assert "for an event of type 'approval'" in await world.run(read.why(world.dialect, ONE), "read")


async def test_what_is_not_there_cannot_be_read(world):
    """Each reading names the instance that is missing (H)."""
    gone = Target("order", "gone")
    for script in (
        read.status(gone),
        read.details(world.dialect, gone),
        read.history(gone, None),
        read.why(world.dialect, gone),
        read.standing(gone),
    ):
        with pytest.raises(InstanceNotFoundError, match="instance 'gone' does not exist"):
            await world.run(script, "read")
