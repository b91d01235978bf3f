"""The dispatchers are of their types although they are imported when they are asked for, and an app takes each."""

from typing import assert_type

from keepstep import App, RunnerOptions
from keepstep.authoring.registry import KeyedBindings
from keepstep.engine.dispatch import Dispatcher
from keepstep_node import APSchedulerDispatcher, PollingDispatcher

polling = PollingDispatcher(interval="1 second", idle_max="5 seconds")
timers = APSchedulerDispatcher(heartbeat="5 seconds")
assert_type(polling, PollingDispatcher)
assert_type(timers, APSchedulerDispatcher)

given: list[Dispatcher] = [polling, timers]
assert_type(App("sqlite:///a.db", dispatcher=timers, runner=RunnerOptions()), App[KeyedBindings])


async def start(app: App[KeyedBindings]) -> None:
    """A start takes a dispatcher and a concurrency."""
    await app.start(dispatcher=polling, concurrency=10)
    assert_type(await app.ping(), None)


APSchedulerDispatcher("scheduler")  # pyright: ignore[reportArgumentType]
PollingDispatcher(interval=1)  # pyright: ignore[reportArgumentType]
