"""Sending events: checked, kept, recognised again, never creating an instance (D4-D7)."""

import pytest

from keepstep.authoring.definition import workflow
from keepstep.authoring.events import EventModel
from keepstep.authoring.step import UNSET
from keepstep.errors import (
    EventIdConflictError,
    EventPayloadError,
    InstanceNotFoundError,
    InstanceStateError,
    InstanceTerminalError,
    InvalidEventTypeError,
    InvalidInputError,
    PayloadTooLargeError,
    SerializationError,
    UsageError,
)
from keepstep.model.limits import Limits
from keepstep.model.outcome import Accepted
from keepstep.model.plan import Park
from keepstep.services import events, steer
from keepstep.services.target import Target


@workflow(name="open")
async def undeclared(event, step):
    """A workflow that declares no events: it takes any."""


class Other(EventModel, type="approval"):
    """Another model of a declared type."""

    approved: str


async def test_an_event_is_kept_until_it_is_waited_for(world):
    """Sent right after create, before any wait: buffered, in order (D5)."""
    await world.create("o-1")
    assert await world.send("note", {"text": "1"}) == Accepted(duplicate=False)
    await world.send("note", {"text": "2"})
    details = await world.details()
    assert details.buffered_events == 2


async def test_an_event_wakes_who_waits_for_its_type(world):
    """The run is due now when it waits for just that type (D4, B6)."""
    await world.create("o-1")
    await world.wait_for("approval")
    world.clock.now += 1_000
    await world.send("note", {})
    assert (await world.snapshot()).task.run_at is None
    await world.send("approval", {"approved": True})
    assert (await world.snapshot()).task.run_at == world.clock.now


async def test_an_event_to_a_paused_instance_is_kept_and_wakes_nobody(world):
    """D5, E3: it takes effect on resume."""
    await world.create("o-1")
    await world.wait_for("approval")
    await world.run(steer.pause(world.dialect, Target("order", "o-1")))
    await world.send("approval", {"approved": True})
    assert ((await world.snapshot()).task.run_at, (await world.details()).buffered_events) == (None, 1)


async def test_a_repeat_with_the_same_id_says_so(world):
    """Equal payload: a no-op that is told (D7)."""
    await world.create("o-1")
    assert await world.send("approval", {"approved": True}, event_id="e-1") == Accepted(duplicate=False)
    assert await world.send("approval", {"approved": True}, event_id="e-1") == Accepted(duplicate=True)
    assert (await world.details()).buffered_events == 1


async def test_the_same_id_with_another_payload_is_a_conflict(world):
    """D7: nothing is stored of the second."""
    await world.create("o-1")
    await world.send("approval", {"approved": True}, event_id="e-1")
    with pytest.raises(EventIdConflictError, match="another payload"):
        await world.send("approval", {"approved": False}, event_id="e-1")
    with pytest.raises(EventIdConflictError, match="another type"):
        await world.send("note", {}, event_id="e-1")
    assert (await world.details()).buffered_events == 1


async def test_an_ended_instance_takes_no_event_but_knows_a_repeat(world):
    """To a terminal instance an error (D7); a sender whose first answer was lost is told the truth."""
    await world.create("o-1")
    await world.send("note", {}, event_id="e-1")
    await world.finish()
    with pytest.raises(InstanceTerminalError):
        await world.send("note", {})
    assert await world.send("note", {}, event_id="e-1") == Accepted(duplicate=True)


async def test_an_event_creates_no_instance(world):
    """To a missing instance an error (D7)."""
    with pytest.raises(InstanceNotFoundError, match="creates no instance"):
        await world.send("note", {}, instance_id="gone")


async def test_if_waiting_refuses_what_nobody_waits_for(world):
    """`if_waiting=True`: accepted only at a wait for the type."""
    await world.create("o-1")
    with pytest.raises(InstanceStateError, match="does not wait"):
        await world.send("approval", {"approved": True}, if_waiting=True)
    await world.wait_for("approval")
    with pytest.raises(InstanceStateError, match="type 'note'"):
        await world.send("note", {}, if_waiting=True)
    assert await world.send("approval", {"approved": True}, if_waiting=True) == Accepted()
    assert (await world.details()).buffered_events == 1


async def test_a_repeat_is_known_although_nobody_waits_any_more(world):
    """`if_waiting` and an id: a repeat is a repeat (D7)."""
    await world.create("o-1")
    await world.wait_for("approval")
    await world.send("approval", {"approved": True}, event_id="e", if_waiting=True)
    claimed = (await world.claim())["o-1"]
    assert await world.consume(claimed, "wait:approval", Park(None))
    assert await world.send("approval", {"approved": True}, event_id="e", if_waiting=True) == Accepted(
        duplicate=True
    )


def read_event(definition, event, payload=UNSET, event_id=None, limits=None):
    """Check an event."""
    return events.read_event(definition, event, payload, event_id, limits or Limits())


def test_an_event_object_is_its_own_payload(definition):
    """The type comes from the class (D6)."""
    from_object = read_event(definition, definition.events["approval"](approved=True))
    assert from_object == read_event(definition, "approval", {"approved": True})
    assert (from_object.type, from_object.payload) == ("approval", '{"approved":true}')


def test_an_event_object_and_a_payload_are_one_too_many(definition):
    """H: the call says two things."""
    with pytest.raises(UsageError, match="the event is the payload"):
        read_event(definition, definition.events["approval"](approved=True), {"approved": False})


def test_an_undeclared_type_is_refused_with_the_declared_ones(definition):
    """A workflow that declares its events takes no other (D6)."""
    with pytest.raises(InvalidEventTypeError, match=r"'rejection'.*'approval', 'note'"):
        read_event(definition, "rejection", {})


def test_a_payload_that_does_not_fit_is_refused_with_issues(definition):
    """Validated at send, with the issues (D6)."""
    with pytest.raises(EventPayloadError) as caught:
        read_event(definition, "approval", {"approved": "perhaps"})
    assert caught.value.issues[0]["path"] == "approved"


def test_another_model_of_the_type_must_fit_the_declared_one(definition):
    """An event of a class that is not the declared one is checked by the declared one (D6)."""
    assert read_event(definition, Other(approved="true")).payload == '{"approved":true}'
    with pytest.raises(EventPayloadError):
        read_event(definition, Other(approved="perhaps"))


def test_a_workflow_without_declared_events_takes_plain_json():
    """Any type; the payload is what JSON can hold (C3, D6)."""
    assert read_event(undeclared, "anything").payload == "null"
    assert read_event(undeclared, "anything", [1, "a"]).payload == '[1,"a"]'
    with pytest.raises(SerializationError):
        read_event(undeclared, "anything", {1, 2})


@pytest.mark.parametrize("bad", ["", "-a", "a b", "x" * 101])
def test_bad_types_are_refused(bad):
    """Event types keep C10."""
    with pytest.raises(InvalidEventTypeError):
        read_event(undeclared, bad, {})


@pytest.mark.parametrize("bad", [7, EventModel, object()])
def test_what_is_no_event_is_refused(bad):
    """Neither an event nor the type of one (H)."""
    with pytest.raises(UsageError):
        read_event(undeclared, bad)


@pytest.mark.parametrize("bad", ["", "x" * 257, "a\x00b", "a\nb", 7])
def test_bad_event_ids_are_refused(bad):
    """An id is text of 1 to 256 characters that both databases can hold (D7)."""
    with pytest.raises(InvalidInputError, match="event id"):
        read_event(undeclared, "e", {}, event_id=bad)


def test_a_payload_over_the_limit_is_refused():
    """1 MiB by default (C10)."""
    with pytest.raises(PayloadTooLargeError):
        read_event(undeclared, "e", "x" * 11, limits=Limits(payload_bytes_max=12))
