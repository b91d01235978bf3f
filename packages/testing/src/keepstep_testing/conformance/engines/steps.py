"""Steps: results, failures, retries, and what a body sees of them when it was away (A2, A3, C2–C5, C10)."""

import pytest

from keepstep import NonRetryableError, Status, WorkflowFailedError
from keepstep_testing.conformance.engines.story import FAILURES, Story


class Steps:
    """Each result is recorded once, whatever happens between."""

    async def test_a_failed_step_is_tried_again_by_its_policy(self, story: Story) -> None:
        """Attempts and pauses are durable: 10 s, then 20 s, and nothing before (C4)."""
        FAILURES.extend([ValueError("one"), ValueError("two")])
        instance = await story.create("FALLIBLE")
        for pause in (10, 20):
            await story.waits(instance, "do:tried")
            tries = story.calls.count("tried")
            story.clock.move(seconds=pause, milliseconds=-1)
            await story.rest()
            assert story.calls.count("tried") == tries
            story.clock.move(milliseconds=1)
        assert await story.output(instance) == ["FIRST", "TRIED", "LAST"]
        assert story.calls == ["first", "tried", "tried", "tried", "last"]
        assert [each.attempts for each in (await instance.history()).steps] == [1, 3, 1]

    async def test_the_last_failure_fails_the_instance(self, story: Story) -> None:
        """Attempts in all, not retries; the error is the step's (C4, C5)."""
        FAILURES.extend(ValueError(str(n)) for n in range(9))
        instance = await story.create("FALLIBLE")
        for _ in range(2):
            await story.waits(instance, "do:tried")
            story.clock.move(hours=1)
        with pytest.raises(WorkflowFailedError, match="2"):
            await story.output(instance)
        error = (await instance.status()).error
        assert error is not None
        assert (error.name, error.message, error.step_key, error.attempts) == (
            "ValueError",
            "2",
            "do:tried",
            3,
        )

    async def test_a_failed_step_is_retried_by_hand(self, story: Story) -> None:
        """The run goes on in place: results before the step stay (E6)."""
        FAILURES.append(NonRetryableError("no"))
        instance = await story.create("FALLIBLE")
        assert await story.until(instance, Status.ERRORED, Status.COMPLETE) is Status.ERRORED
        await instance.retry_failed_step()
        assert await story.output(instance) == ["FIRST", "TRIED", "LAST"]
        assert story.calls == ["first", "tried", "tried", "last"]
        assert (await instance.details()).run_number == 1

    async def test_a_caught_failure_is_not_executed_again(self, story: Story) -> None:
        """A step that failed for good fails again on every replay, without running (C2, defect 12)."""
        instance = await story.create("CATCHING")
        await story.waits(instance, "sleep:rest")
        story.clock.move(hours=1)
        assert "no" in await story.output(instance)
        assert story.calls == ["refuse"]

    async def test_time_and_randomness_are_the_same_afterwards(self, story: Story) -> None:
        """What a body drew before it was away it has afterwards; results keep their types (A3, C3)."""
        began = story.clock.ms
        instance = await story.create("DRAWING", id="fixed")
        await story.waits(instance, "sleep:rest")
        story.clock.move(hours=2)
        first, (kept, later), _ = await story.output(instance)
        assert first[0] == kept
        assert later > kept
        assert len(story.calls) == 0
        assert story.clock.ms - began == 7_200_000

    async def test_branches_wait_each_for_their_own(self, story: Story) -> None:
        """A finished branch is not run again because another one waits (defect 5, A5, D2)."""
        instance = await story.create("BRANCHING")
        await story.waits(instance, "sleep:rest", "wait:word")
        assert story.calls == ["at once"]
        await instance.send_event("word", "heard")
        await story.waits(instance, "sleep:rest")
        story.clock.move(hours=1)
        assert await story.output(instance) == ["AT ONCE", "RESTED", "HEARD"]
        assert story.calls == ["at once", "heard", "rested"]

    async def test_a_run_continues_as_a_new_one(self, story: Story) -> None:
        """Each run has a history of its own; the instance is its newest run (C10)."""
        instance = await story.create("CONTINUING", 2)
        assert await story.output(instance) == "run 3"
        assert story.calls == ["2", "1", "0"]
        assert [len((await instance.history(run)).steps) for run in (1, 2, 3)] == [1, 1, 1]
