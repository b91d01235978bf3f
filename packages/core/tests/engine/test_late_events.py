"""An event that was accepted in time by a transaction that commits late counts, though its wait was timed out (D4)."""

import asyncio

import pytest

from keepstep.authoring.definition import workflow
from keepstep.engine.execution import Execution
from keepstep.loop.body import Body
from keepstep.model.limits import Limits
from keepstep.model.plan import Hold
from tests.support.bodies import STARTED, fresh_run
from tests.support.rows import event_row, task_row

HOUR = 3_600_000
DEADLINE = STARTED + HOUR


async def plain() -> None:
    """A step's callback, which takes for ever."""


@workflow(name="probe")
async def probe(event, step):
    """Waits an hour while a step executes."""
    await asyncio.gather(
        step.wait_for_event("go", "go", timeout="1 hour", default=None), step.do("long", plain)
    )


@pytest.fixture
def timed_out():
    """A run of which a step executes while its wait has timed out, which is not durable."""
    execution = Execution(task_row(), run := fresh_run(probe), Body(probe, run, [], Limits()), [], [])
    execution.begin()
    for attempt in execution.startable():
        execution.start(attempt, STARTED)
    execution.settle(DEADLINE)
    yield execution
    execution.body.close()


def test_a_timeout_is_written_only_if_nobody_woke_the_run(timed_out):
    """D4, B6: also while a step executes, for the sender of an event in time may commit just before."""
    boundary = timed_out.boundary(DEADLINE, next_run_id=None)
    assert isinstance(boundary.end, Hold)
    assert boundary.wake_seq == task_row().wake_seq


@pytest.mark.parametrize(
    ("accepted_at", "of_type", "overtaken"),
    [(DEADLINE, "go", True), (DEADLINE + 1, "go", False), (DEADLINE, "other", False)],
)
def test_an_event_overtakes_a_timeout_when_it_came_in_time(timed_out, accepted_at, of_type, overtaken):
    """D4: accepted at or before the deadline it counts; the body that knows of the timeout is dropped."""
    event = event_row(1, accepted_at, of_type)
    timed_out.reread(task_row(wake_seq=10), timed_out.run, [event])
    assert timed_out.pending.overtaken_by(timed_out.events) is overtaken


def test_a_durable_timeout_is_not_overtaken(timed_out):
    """What is recorded stays (C2)."""
    timed_out.pending.written()
    timed_out.reread(task_row(wake_seq=10), timed_out.run, [event_row(1, DEADLINE, "go")])
    assert not timed_out.pending.overtaken_by(timed_out.events)
