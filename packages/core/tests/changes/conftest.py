"""An app that publishes its changes, on each database; it runs nothing by itself: tests tick, and move its clock."""

from typing import Any

import pytest

from keepstep import App, RunnerOptions, WorkflowEvent, WorkflowStep, workflow
from keepstep.changes import ChangeFeed, ChangeKind
from keepstep_testing.conformance.engines import Clock

ALL = tuple(ChangeKind)


async def double(number: int) -> int:
    """A step."""
    return number * 2


@workflow(name="order")
async def order(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """A step, a timer, a wait; a negative number fails."""
    doubled = await step.do("double", double, event.payload)
    if doubled < 0:
        raise ValueError("negative")
    await step.scope("later").sleep("rest", "10 seconds")
    await step.wait_for_event("go", "go", timeout="1 hour", default=None)
    return doubled


@workflow(name="quiet")
async def quiet(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """End at once."""
    return event.payload


@pytest.fixture
def clock() -> Clock:
    """The app's clock."""
    return Clock()


@pytest.fixture
async def opened(database_url: str, clock: Clock) -> Any:
    """Makes migrated apps on the database, with what is published."""
    made: list[App[Any]] = []

    async def make(feed: ChangeFeed | None = None, **options: Any) -> App[Any]:
        wanted: dict[str, Any] = {"dispatcher": None, "clock": clock, **options}
        app = App(database_url, workflows={"ORDER": order, "QUIET": quiet}, changes=feed, **wanted)
        await app.migrate()
        made.append(app)
        return app

    yield make
    for app in made:
        await app.stop()


@pytest.fixture
async def app(opened: Any) -> Any:
    """An app that publishes everything."""
    return await opened(ChangeFeed(kinds=ALL), runner=RunnerOptions(hook_lease="30 seconds"))


@pytest.fixture
def told() -> Any:
    """What an app has published, in short."""

    async def read(app: App[Any], *fields: str) -> list[Any]:
        await app.run_until_idle()
        found = await app.changes()
        return [(each.kind, *(getattr(each, field) for field in fields)) for each in found]

    return read
