# ruff: noqa: D101 (events under test)
"""Typed events (D4, D6)."""

from __future__ import annotations

from typing import Generic, TypeVar

import pytest
from pydantic import ValidationError

from keepstep.authoring.events import EventModel, event_type_of
from keepstep.errors import InvalidEventTypeError, UsageError
from keepstep.model.codec import codec_for

T = TypeVar("T")


class Approval(EventModel, type="approval"):
    approved: bool
    type: str = "a field may be called so"


class Change(EventModel, Generic[T], type="change"):
    to: T


def test_an_event_has_a_type():
    """D6: the class keyword gives the type; a field of that name is the payload's own."""
    assert event_type_of(Approval) == "approval"
    assert event_type_of(Approval(approved=True)) == "approval"
    assert event_type_of("approval") == "approval"
    assert Approval(approved=True).model_dump() == {"approved": True, "type": "a field may be called so"}


def test_events_are_frozen():
    """D6: an event that was received cannot be changed."""
    with pytest.raises(ValidationError, match="frozen"):
        Approval(approved=True).approved = False


def test_generic_events_keep_their_type():
    """D6: a parametrized event model is of the model's type."""
    assert event_type_of(Change[int]) == "change"
    assert event_type_of(Change[int](to=5)) == "change"


def test_events_are_stored_as_they_are():
    """C3: events round-trip like every model, bytes included."""
    event = Change[bytes](to=b"\xff")
    assert codec_for(Change[bytes]).decode(codec_for(Change[bytes]).encode(event)) == event


def test_a_missing_type():
    """D6: an event model without a type is refused at class creation, with what to write; so is one that inherits."""
    with pytest.raises(UsageError, match=r'event model Bare has no type: write class Bare\(…, type="bare"\)'):

        class Bare(EventModel):
            value: int

    with pytest.raises(UsageError, match="event model Inheriting has no type"):

        class Inheriting(Approval):
            more: int


@pytest.mark.parametrize("bad", ["", "-a", "a b", "a" * 101, 5])
def test_a_bad_type(bad):
    """C10: a type that breaks the pattern is refused at class creation."""
    with pytest.raises(UsageError, match="event model Bad: event type"):

        class Bad(EventModel, type=bad):
            value: int


def test_what_has_no_type():
    """D6, C10: the base class, other values and bad text have no event type."""
    for value in (EventModel, 5, None, dict, {}):
        with pytest.raises(UsageError, match="an event is an EventModel with a type"):
            event_type_of(value)
    with pytest.raises(InvalidEventTypeError):
        event_type_of("a b")
