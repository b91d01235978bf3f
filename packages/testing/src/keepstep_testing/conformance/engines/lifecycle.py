"""The life cycle: pause, resume, cancel, terminate, restart (E3–E7)."""

import pytest

from keepstep import InstanceTerminalError, Status, WorkflowCancelledError, WorkflowTerminatedError
from keepstep_testing.conformance.engines.story import Story


class LifeCycle:
    """What operators ask for happens, and stays so."""

    async def test_a_paused_run_makes_no_progress_and_loses_no_timer(self, story: Story) -> None:
        """What fell due while it was paused takes effect when it is resumed (E3, E4, defect 1)."""
        instance = await story.create("SLEEPING")
        await story.waits(instance, "sleep:rest")
        for _ in range(2):
            await instance.pause()
        story.clock.move(hours=2)
        await story.rest()
        assert (await instance.status()).status is Status.PAUSED
        assert story.calls == ["before"]
        for _ in range(2):
            await instance.resume()
        assert await story.output(instance) == "AFTER"

    async def test_events_are_kept_while_paused(self, story: Story) -> None:
        """They are taken on resume, in order (D5, E4)."""
        instance = await story.create("WAITING")
        await story.waits(instance, "wait:one")
        await instance.pause()
        for word in (1, 2):
            await instance.send_event("word", word)
        await story.rest()
        assert (await instance.status()).status is Status.PAUSED
        await instance.resume()
        assert await story.output(instance) == [1, 2]

    async def test_terminate_ends_at_once(self, story: Story) -> None:
        """For good: nothing of the run happens any more, and nothing can be asked of it (E5, E7, defect 14)."""
        instance = await story.create("SLEEPING")
        await story.waits(instance, "sleep:rest")
        await instance.terminate("enough")
        story.clock.move(hours=2)
        await story.rest()
        with pytest.raises(WorkflowTerminatedError, match="enough"):
            await instance.result()
        for verb in (instance.pause, instance.cancel, instance.terminate):
            with pytest.raises(InstanceTerminalError):
                await verb()
        assert story.calls == ["before"]

    async def test_cancel_lets_the_body_clean_up(self, story: Story) -> None:
        """Its cleanup steps run, and it ends cancelled (E5)."""
        instance = await story.create("CLEANING")
        await story.waits(instance, "sleep:rest")
        await instance.cancel("no need")
        with pytest.raises(WorkflowCancelledError, match="no need"):
            await story.output(instance)
        assert story.calls == ["clean"]

    async def test_restart_begins_the_next_run(self, story: Story) -> None:
        """The old run stays readable, and nothing of it touches the new one (E6)."""
        instance = await story.create("SLEEPING", id="again")
        await story.waits(instance, "sleep:rest")
        await instance.restart("2 hours")
        await story.waits(instance, "sleep:rest")
        story.clock.move(hours=1, minutes=30)
        await story.rest()
        assert (await instance.status()).status is Status.WAITING
        story.clock.move(hours=1)
        assert await story.output(instance) == "AFTER"
        assert (await instance.details()).run_number == 2
        assert [each.key for each in (await instance.history(1)).steps] == ["do:before", "sleep:rest"]
        assert story.calls == ["before", "before", "after"]

    async def test_restart_from_a_step_keeps_the_results_before_it(self, story: Story) -> None:
        """The next run is seeded with them (E6)."""
        instance = await story.create("STRAIGHT")
        await story.output(instance)
        await instance.restart(from_step="do:two")
        assert await story.output(instance) == ["ONE", "TWO", "THREE"]
        assert story.calls == ["one", "two", "three", "two", "three"]
