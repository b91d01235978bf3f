"""A workflow that waits, and dispatchers that tests can see into."""

import asyncio

import pytest

from keepstep import WorkflowEvent, WorkflowStep, workflow


async def double(number: int) -> int:
    """A step."""
    return number * 2


@workflow(name="doubling")
async def doubling(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Double once, wait for a go, double again."""
    first = await step.do("first", double, event.payload)
    await step.wait_for_event("go", "go", timeout="1 hour")
    return await step.do("second", double, first)


class RecordingDispatcher:
    """Looks when told, and notes what it is told."""

    def __init__(self, fail_on_start=False) -> None:
        self.runner = None
        self.wakes = 0
        self.woken = asyncio.Event()
        self.calls = []
        self.fail_on_start = fail_on_start

    async def start(self, runner):
        """Keep the runner."""
        self.calls.append("start")
        if self.fail_on_start:
            raise RuntimeError("cannot start")
        self.runner = runner

    async def wake(self, at=None):
        """Note it."""
        self.wakes += 1
        self.woken.set()

    async def stop(self):
        """Note it."""
        self.calls.append("stop")


@pytest.fixture
def definition():
    """The workflow."""
    return doubling


@pytest.fixture
def workflows():
    """The workflow, by key."""
    return {"DOUBLING": doubling}


@pytest.fixture
def recording():
    """Makes recording dispatchers."""
    return RecordingDispatcher
