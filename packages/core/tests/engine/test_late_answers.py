"""Answers of the database that arrive late: what a runner has done meanwhile is not undone by what they tell (B6)."""

import asyncio

from keepstep import WorkflowEvent, WorkflowStep, workflow


class Busy:
    """A step of one test; events belong to that test's loop."""

    began: asyncio.Event
    may_end: asyncio.Event


async def busy() -> None:
    """Keep the run in its runner's hands."""
    Busy.began.set()
    await Busy.may_end.wait()


@workflow(name="listener")
async def listener(event: WorkflowEvent[None], step: WorkflowStep) -> list[str]:
    """Hear two words beside a step that lasts."""
    lasting = asyncio.ensure_future(step.do("busy", busy))
    words = [await step.wait_for_event(f"word-{number}", "word") for number in range(2)]
    await lasting
    return [word.payload for word in words]


class Held:
    """Holds the transactions of one label once they are asked for: ``before`` they begin or ``after`` they took place."""

    def __init__(self, label):
        self._label = label
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, label):
        """Wait at this label."""
        if label == self._label:
            self.reached.set()
            await self.go_on.wait()


async def test_an_event_read_before_its_consumption_was_durable_is_not_taken_again(fleet):
    """D4, D5, invariant 19: a reading that began before a commit and arrives after it does not bring back the event."""
    Busy.began, Busy.may_end = asyncio.Event(), asyncio.Event()
    node = await fleet.started(listener, dispatch=False)
    instance = await node.workflows.listener.create("i")
    await asyncio.wait_for(Busy.began.wait(), 10)
    commit, reading = Held("commit"), Held("reread")
    node.tap.before = commit
    await instance.send_event("word", "first")
    await node.runner.look()
    await asyncio.wait_for(commit.reached.wait(), 10)
    node.tap.after = reading
    await instance.send_event("word", "second")
    looking = asyncio.ensure_future(node.runner.look())
    await asyncio.wait_for(reading.reached.wait(), 10)
    commit.go_on.set()
    await node.runner.committer.drained()
    reading.go_on.set()
    await looking
    Busy.may_end.set()
    assert await instance.result(timeout=10) == ["first", "second"]
