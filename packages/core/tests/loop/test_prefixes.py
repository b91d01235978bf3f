"""Random bodies, random orders of resolution: every prefix of the records leads to the same state, and on (A2)."""

import asyncio
import json
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from keepstep.authoring.definition import workflow
from keepstep.authoring.events import WorkflowEvent
from keepstep.authoring.step import WorkflowStep
from keepstep.errors import EventTimeoutError, StepFailedError
from keepstep.model.commands import BodyOutcome, Command, DoCommand, TimerCommand
from tests.support.bodies import Drive

Program = list[Any]
"""What a body does, as JSON: an operation and its parts."""


async def plain() -> Any:
    """A step's callback; the loop never calls it."""


async def perform(step: WorkflowStep, program: Program, said: list[str]) -> Any:
    """Do what a program says, with names that repeat on purpose: only the count tells their keys apart."""
    match program:
        case ["do", name]:
            return await step.do(name, plain)
        case ["sleep", seconds]:
            return await step.sleep("s", f"{seconds} s")
        case ["wait", name]:
            return (await step.wait_for_event("w", name, timeout="10 s")).payload
        case ["timer", seconds]:
            return await asyncio.sleep(seconds)
        case ["draw"]:
            said.append(f"{step.random().random()} {step.uuid4()} {step.now()}")
            step.log.info("drawn", n=len(said))
            return None
        case ["sequence", *parts]:
            return [await perform(step, part, said) for part in parts]
        case ["scope", part]:
            return await perform(step.scope("in"), part, said)
        case ["guarded", part]:
            return await guarded(step, part, said)
        case ["timeout", seconds, part]:
            async with asyncio.timeout(seconds):
                return await perform(step, part, said)
        case [how, *parts]:
            return await together(how, step, parts, said)
        case _:
            raise AssertionError(program)


async def guarded(step: WorkflowStep, part: Program, said: list[str]) -> Any:
    """Errors are caught, and cleanup is a step of its own."""
    try:
        return await perform(step, part, said)
    except (StepFailedError, EventTimeoutError, TimeoutError, ExceptionGroup) as error:
        said.append(type(error).__name__)
        return None
    finally:
        await step.do("cleanup", plain)


async def together(how: str, step: WorkflowStep, parts: list[Program], said: list[str]) -> Any:
    """Branches at once, in the ways that asyncio has."""
    branches = [perform(step, part, said) for part in parts]
    if how == "gather":
        return await asyncio.gather(*branches)
    if how == "settle":
        found = await asyncio.gather(*branches, return_exceptions=True)
        return [each if not isinstance(each, BaseException) else type(each).__name__ for each in found]
    if how == "group":
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(branch) for branch in branches]
        return [task.result() for task in tasks]
    tasks = [asyncio.create_task(branch) for branch in branches]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:  # a set: its order must not change from replay to replay
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return sorted(f"{tasks.index(task)} {task.exception()}" for task in done)


@workflow(name="random-body")
async def random_body(event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
    """Runs the program that its params hold."""
    said: list[str] = []
    result = await perform(step, event.payload, said)
    return [result, said]


leaves = st.one_of(
    st.tuples(st.just("do"), st.sampled_from(["a", "b"])),
    st.tuples(st.just("sleep"), st.integers(1, 5)),
    st.tuples(st.just("wait"), st.sampled_from(["go", "stop"])),
    st.tuples(st.just("timer"), st.integers(0, 5)),
    st.just(("draw",)),
)


def grown(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Programs of programs."""
    several = st.lists(parts, min_size=1, max_size=4)
    ways = st.sampled_from(["sequence", "sequence", "gather", "settle", "group", "race"])
    return st.one_of(
        st.tuples(ways, several).map(lambda found: (found[0], *found[1])),
        st.tuples(st.sampled_from(["guarded", "scope"]), parts),
        st.tuples(st.just("timeout"), st.integers(1, 5), parts),
    )


programs = st.recursive(leaves, grown, max_leaves=14)


class Seen(NamedTuple):
    """A body's state, as far as anybody outside can tell."""

    commands: list[Command]
    outcome: BodyOutcome | None
    logged: list[tuple[int, str, str | None, int]]


def seen(drive: Drive) -> Seen:
    """What can be seen of it now."""
    logged = [(line.number, line.message, line.data, line.at) for line in drive.logs]
    return Seen(list(drive.body.commands.values()), drive.outcome, logged)


def resolve_one(drive: Drive, data: st.DataObject, cancelled: bool) -> bool:
    """Resolve an open command, or cancel; tells whether it cancelled."""
    choice = data.draw(st.integers(-1 if not cancelled else 0, len(drive.open) - 1), "which")
    if choice < 0:
        drive.cancel("enough")
        return True
    key = drive.open[choice]
    command = drive.body.commands[key]
    good = data.draw(st.integers(0, 3), "how") > 0
    if isinstance(command, TimerCommand):
        drive.fire(key)
    elif isinstance(command, DoCommand):
        drive.finish(key, data.draw(st.integers(0, 9), "result")) if good else drive.fail(key)
    else:
        drive.receive(key, "payload") if good else drive.time_out(key)
    return False


@settings(max_examples=300, deadline=None)
@given(program=programs, data=st.data())
def test_every_prefix_leads_to_the_same_state(program: Program, data: st.DataObject) -> None:
    """A2, A6: replaying any prefix gives the same commands, logs and outcome, and so does going on from there."""
    drive = Drive(random_body, json.loads(json.dumps(program)))
    states, cancelled = [seen(drive)], False
    while drive.outcome is None and (drive.open or not cancelled) and len(drive.records) < 40:
        cancelled = resolve_one(drive, data, cancelled) or cancelled
        states.append(seen(drive))
    for length in range(len(states)):
        again = drive.again(drive.records[:length])
        assert seen(again) == states[length]
        assert not any("no longer asked for" in warning for warning in again.body.warnings)
        for position, record in enumerate(drive.records[length:], length + 1):
            again.resolve(record.key, record, after_ms=(record.at or 0) - again.now)
            assert seen(again) == states[position]


@settings(max_examples=100, deadline=None)
@given(program=programs, data=st.data())
def test_parked_rows_change_nothing(program: Program, data: st.DataObject) -> None:
    """A6, D1: a run that is parked, dropped and loaded at every rest goes the way of one that stays in memory."""
    drive = parked = Drive(random_body, json.loads(json.dumps(program)))
    cancelled = False
    while drive.outcome is None and (drive.open or not cancelled) and len(drive.records) < 40:
        rows = parked.park()
        cancelled = resolve_one(drive, data, cancelled) or cancelled
        parked = Drive(random_body, records=[*rows, drive.records[-1]], run=drive.run)
        parked.records = [record for record in parked.records if record.seq is not None]
        assert [(c.key, c.opened_at) for c in parked.body.commands.values()] == [
            (c.key, c.opened_at) for c in drive.body.commands.values()
        ]
        assert parked.outcome == drive.outcome
