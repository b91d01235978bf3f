"""Sleeps and waits: each by its own deadline, each event once (D1–D7, B6)."""

import pytest

from keepstep import InstanceTerminalError
from keepstep.errors import EventIdConflictError
from keepstep_testing.conformance.engines.story import Story


class Waits:
    """Nothing fires early, nothing is lost."""

    async def test_a_sleep_ends_at_its_time(self, story: Story) -> None:
        """Not a millisecond before; an early look changes nothing (D1, D3)."""
        instance = await story.create("SLEEPING")
        await story.waits(instance, "sleep:rest")
        story.clock.move(hours=1, milliseconds=-1)
        await story.rest()
        assert story.calls == ["before"]
        story.clock.move(milliseconds=1)
        assert await story.output(instance) == "AFTER"
        assert story.calls == ["before", "after"]

    async def test_events_are_taken_in_order(self, story: Story) -> None:
        """Also those that were sent before anything waited (D4, D5, defect 4)."""
        instance = await story.create("WAITING")
        for word in ("first", "second", "third"):
            await instance.send_event("word", word)
        assert await story.output(instance) == ["first", "second"]
        events = (await instance.history()).events
        assert [each.consumed_by for each in events] == ["wait:one", "wait:two", None]

    async def test_each_wait_takes_one_event(self, story: Story) -> None:
        """The second waits on when the first has its event (D5)."""
        instance = await story.create("WAITING")
        await story.waits(instance, "wait:one")
        await instance.send_event("word", 1)
        await story.waits(instance, "wait:two")
        await instance.send_event("word", 2)
        assert await story.output(instance) == [1, 2]

    async def test_a_wait_ends_at_its_deadline(self, story: Story) -> None:
        """With its default, and not before (D4)."""
        instance = await story.create("PATIENT")
        await story.waits(instance, "wait:word")
        story.clock.move(hours=1, milliseconds=-1)
        await story.rest()
        await story.waits(instance, "wait:word")
        story.clock.move(milliseconds=1)
        assert await story.output(instance) == "nothing came"

    async def test_an_event_in_time_counts_however_late_it_is_seen(self, story: Story) -> None:
        """Accepted at the deadline, and looked at an hour after (D4)."""
        instance = await story.create("PATIENT")
        await story.waits(instance, "wait:word")
        story.clock.move(hours=1)
        await instance.send_event("word", "in time")
        story.clock.move(hours=1)
        assert await story.output(instance) == "in time"

    async def test_an_event_is_accepted_once(self, story: Story) -> None:
        """A repeat with its id says so; another payload under the id is refused; one for who has ended too (D7)."""
        instance = await story.create("PATIENT")
        assert not (await instance.send_event("word", 1, id="e")).duplicate
        assert (await instance.send_event("word", 1, id="e")).duplicate
        with pytest.raises(EventIdConflictError):
            await instance.send_event("word", 2, id="e")
        assert await story.output(instance) == 1
        with pytest.raises(InstanceTerminalError):
            await instance.send_event("word", 3)
