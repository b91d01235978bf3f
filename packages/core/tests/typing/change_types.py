"""What type checkers infer from the change feed; checked by pyright strict, never run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never, assert_type

from keepstep import App
from keepstep.authoring.registry import KeyedBindings
from keepstep.changes import (
    Callback,
    Change,
    ChangeFeed,
    EventReceived,
    InstanceCancelled,
    InstanceCompleted,
    InstanceCreated,
    InstanceErrored,
    InstancePaused,
    InstanceRestarted,
    InstanceResumed,
    InstanceTerminated,
    StepCompleted,
    TimerFired,
)


async def take(changes: Sequence[Change]) -> None:
    """Every kind of change is told apart, and none is forgotten."""
    for each in changes:
        match each:
            case InstanceCompleted() | InstanceErrored() | InstanceTerminated() | InstanceCancelled():
                assert_type(each.duration_ms, int)
            case InstanceCreated() | InstancePaused() | InstanceResumed() | InstanceRestarted():
                assert_type(each.instance_id, str)
            case StepCompleted():
                assert_type(each.attempt, int)
            case EventReceived():
                assert_type(each.event_type, str)
            case TimerFired():
                assert_type(each.step_key, str)
            case _:
                assert_never(each)


async def feeds(app: App[KeyedBindings]) -> None:
    """The feed is typed in both colours."""
    assert_type(await app.changes(after=3, limit=10), list[Change])
    assert_type(app.sync.changes(), list[Change])
    await app.changes(before=3)  # pyright: ignore[reportCallIssue]
    ChangeFeed(kinds={"created"}, sinks=[Callback("crm", take)])
    ChangeFeed(sinks=[take])  # pyright: ignore[reportArgumentType]
