"""New code on old records: what is dropped is reported, what contradicts parks the run (E10)."""

import asyncio
from typing import Any

import pytest

from keepstep.authoring.definition import WorkflowDefinition, workflow
from keepstep.authoring.events import WorkflowEvent
from keepstep.authoring.step import WorkflowStep
from keepstep.model.commands import Activation, Contradicted, Returned
from keepstep.model.status import StepStatus
from tests.support.bodies import STARTED, Drive, fresh_run, resolved, stored
from tests.support.lines import line_of

Event = WorkflowEvent[Any]


async def plain(*args: Any) -> Any:
    """A step's callback; the loop never calls it."""


def asks(*keys: str, parallel: bool = False) -> WorkflowDefinition[Any, Any]:
    """A body that asks for these, one after another or at once."""

    @workflow(name="probe")
    async def probe(event: Event, step: WorkflowStep) -> str:
        def ask(key: str) -> Any:
            kind, _, name = key.partition(":")
            match kind:
                case "sleep":
                    return step.sleep(name, "1h")
                case "wait":
                    return step.wait_for_event(name, "go")
                case "transaction":
                    return step.transaction(name, plain)
                case _:
                    return step.do(name, plain)

        if parallel:
            await asyncio.gather(*map(ask, keys))
        else:
            for key in keys:
                await ask(key)
        return "done"

    return probe


def difference(drive: Drive) -> str:
    """How code and records part."""
    assert isinstance(drive.outcome, Contradicted)
    assert drive.last == Activation(outcome=drive.outcome)
    return drive.outcome.difference


def test_dropped_step_is_reported() -> None:
    """E10: a recorded step that the code no longer asks for is kept and reported, and the run goes on."""
    drive = Drive(asks("do:a", "do:c"), records=[resolved(1, "do:a"), resolved(2, "do:b")])
    assert drive.open == ["do:c"]
    assert drive.body.seq == 2
    assert drive.body.warnings == ["'do:b', recorded (completed), is no longer asked for by the code"]
    drive.finish("do:c")
    assert drive.outcome == Returned('"done"')
    assert len(drive.body.warnings) == 1


def test_dropped_open_row_is_reported_until_it_is_asked_for() -> None:
    """E10: a stored open row that the code does not ask for is reported; asked for later, it is taken up again."""
    rows = [
        resolved(1, "do:a"),
        stored("sleep:s", StepStatus.WAITING, due_at=STARTED + 1),
        stored("do:x", StepStatus.ABANDONED),
    ]
    drive = Drive(asks("do:a", "do:b", "sleep:s"), records=rows)
    assert drive.body.warnings == ["'sleep:s', stored as open (waiting), is no longer asked for by the code"]
    drive.finish("do:b")
    assert drive.body.warnings == []
    assert drive.body.commands["sleep:s"].record == rows[1]


def test_body_that_ends_early_reports_the_rest() -> None:
    """E10: records beyond the body's end are reported; the outcome stands."""
    drive = Drive(asks("do:a"), records=[resolved(1, "do:a"), resolved(2, "do:b"), resolved(3, "sleep:s")])
    assert drive.outcome == Returned('"done"')
    assert len(drive.body.warnings) == 2


def test_asking_out_of_order_contradicts() -> None:
    """E10: a result that is recorded before what the code now does first cannot be given: parked, with both orders."""
    drive = Drive(
        asks("do:b", "do:a"), records=[resolved(1, "do:a"), resolved(2, "do:b"), resolved(3, "do:c")]
    )
    told = difference(drive)
    assert not any("do:c" in warning for warning in drive.body.warnings)
    assert told.startswith(
        "'do:a' is recorded as resolution 1 (completed), but the code asks for it only now, after resolution 2"
    )
    assert "asked for: do:b, do:a." in told


def test_contradiction_may_show_later() -> None:
    """E10: a new step before a recorded one contradicts when the recorded one is asked for, then stays so in replay."""
    drive = Drive(asks("do:new", "do:a"), records=[resolved(1, "do:a")])
    assert drive.open == ["do:new"]
    drive.finish("do:new")
    assert "'do:a' is recorded as resolution 1" in difference(drive)
    assert drive.again().outcome == drive.outcome


def test_parallel_steps_may_change_places() -> None:
    """E10: the order of asking is free as long as the recorded order of resolutions is possible."""
    records = [resolved(1, "do:a"), resolved(2, "do:b")]
    assert Drive(asks("do:b", "do:a", parallel=True), records=records).outcome == Returned('"done"')


@pytest.mark.parametrize("now", ["sleep:x", "wait:x", "transaction:x"])
def test_another_kind_in_its_place_contradicts(now: str) -> None:
    """E10: the same name with another kind is asked for in place of what is recorded."""
    told = difference(Drive(asks("do:a", now), records=[resolved(1, "do:a"), resolved(2, "do:x")]))
    assert told.startswith(
        f"'do:x' is recorded as resolution 2 (completed), but the code asks for {now!r} in its place"
    )


def test_another_kind_after_its_turn_contradicts() -> None:
    """E10: likewise when the code asks only after the recorded one's turn."""
    drive = Drive(asks("do:new", "sleep:x"), records=[resolved(1, "do:x")])
    drive.finish("do:new")
    assert "asks for 'sleep:x' in its place" in difference(drive)


def test_same_name_of_two_kinds_is_no_contradiction() -> None:
    """E10: a step may be dropped beside another of its name that has a record of its own."""
    records = [resolved(1, "do:x"), resolved(2, "sleep:x", None)]
    drive = Drive(asks("sleep:x"), records=records)
    assert drive.outcome == Returned('"done"')
    drive = Drive(
        asks("sleep:x"), records=[records[0], stored("sleep:x", StepStatus.WAITING, due_at=STARTED)]
    )
    assert drive.open == ["sleep:x"]


def test_wait_for_another_type_contradicts() -> None:
    """E10: a recorded event of one type cannot be given to a wait for another."""
    told = difference(Drive(asks("wait:w"), records=[resolved(1, "wait:w", {}, event_type="stop")]))
    assert told == "'wait:w' is recorded as a wait for an event of type 'stop'; the code waits for 'go'"


def test_result_that_no_longer_fits_contradicts() -> None:
    """E10, C3: a result that the new annotation cannot read parks the run instead of failing it."""

    async def number() -> int:
        raise NotImplementedError

    @workflow(name="probe")
    async def probe(event: Event, step: WorkflowStep) -> None:
        await step.do("a", number)

    drive = Drive(probe, records=[resolved(1, "do:a", "text")])
    assert difference(drive).startswith("the result that is recorded for 'do:a' cannot be read")
    assert drive.body.asked == ["do:a"]


def test_params_that_no_longer_fit_contradict() -> None:
    """E10: params that the new annotation cannot read park the run."""

    @workflow(name="probe")
    async def probe(event: WorkflowEvent[int], step: WorkflowStep) -> None:
        pass

    drive = Drive(probe, run=fresh_run(probe, "text"))
    assert "params that the instance was created with cannot be read" in difference(drive)


def test_contradicting_body_asks_for_nothing() -> None:
    """E10: what other branches ask for beside a contradiction is not done."""

    @workflow(name="probe")
    async def probe(event: Event, step: WorkflowStep) -> None:
        await step.do("b", plain)
        await asyncio.gather(step.do("other", plain), step.do("a", plain), return_exceptions=True)

    drive = Drive(probe, records=[resolved(1, "do:a"), resolved(2, "do:b")])
    assert difference(drive)
    assert drive.open == []


def test_cancel_is_no_step() -> None:
    """E5, E10: a delivered cancellation that the body did not live to see is not reported as a dropped step."""
    drive = Drive(asks("do:a"), records=[resolved(1, "do:a"), resolved(2, "cancel:request", "stop")])
    assert drive.outcome == Returned('"done"')
    assert drive.body.warnings == []


def stands_at(definition: WorkflowDefinition[Any, Any], *records: Any) -> tuple[int, str]:
    """The line of this file at which the body of a contradicted run stands, and the function."""
    drive = Drive(definition, records=records)
    assert isinstance(drive.outcome, Contradicted)
    place = drive.outcome.place
    assert place is not None
    assert place.file == __file__
    assert str(place) in drive.outcome.told
    return place.line, place.function


async def pay(step: WorkflowStep) -> None:
    """A part of a body in a function of its own."""
    await step.do("pay", plain)  # where it pays


@workflow(name="straight")
async def straight(event: Event, step: WorkflowStep) -> None:
    """Asks for one thing after the other."""
    await step.sleep("rest", "1h")  # where it rests
    await pay(step)


@workflow(name="branching")
async def branching(event: Event, step: WorkflowStep) -> None:
    """Asks in a branch while it waits for the other."""

    async def rest() -> None:
        await step.sleep("rest", "1h")
        await pay(step)

    async with asyncio.TaskGroup() as group:
        group.create_task(rest())
        await step.do("other", plain)


@workflow(name="gathering")
async def gathering(event: Event, step: WorkflowStep) -> None:
    """Hands its steps to ``gather``: no line of its own awaits them."""
    await asyncio.gather(step.do("other", plain), step.sleep("rest", "1h"))  # where it gathers


def test_a_contradiction_names_the_line_of_what_is_asked_too_late() -> None:
    """E10: steps that changed places: the line that asks for the one that the records have first."""
    found = stands_at(straight, resolved(1, "do:pay"), resolved(2, "sleep:rest"))
    assert found == (line_of(__file__, "# where it pays"), "pay")


def test_a_contradiction_names_the_line_of_what_stands_in_the_place() -> None:
    """E10: a step that became a sleep of the same name: the line of the sleep."""
    assert stands_at(straight, resolved(1, "do:rest")) == (line_of(__file__, "# where it rests"), "straight")


def test_a_contradiction_names_the_line_of_the_branch() -> None:
    """E10: the branch that asks, not the one that the body waits for."""
    found = stands_at(branching, resolved(1, "do:pay"), resolved(2, "sleep:rest"))
    assert found == (line_of(__file__, "# where it pays"), "pay")


def test_a_contradiction_of_gathered_steps_names_the_line_that_gathers() -> None:
    """E10: where no line of the body awaits the step itself, the one that waits for it all."""
    assert stands_at(gathering, resolved(1, "do:rest")) == (
        line_of(__file__, "# where it gathers"),
        "gathering",
    )


def test_params_that_cannot_be_read_have_no_line() -> None:
    """E10: the body did not begin, so it stands nowhere."""

    @workflow(name="numbers")
    async def numbers(event: WorkflowEvent[int], step: WorkflowStep) -> None: ...

    drive = Drive(numbers, run=fresh_run(numbers, "seven"))
    assert isinstance(drive.outcome, Contradicted)
    assert drive.outcome.place is None
    assert drive.outcome.told == drive.outcome.difference
