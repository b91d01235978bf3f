"""Bodies on their journal: delivery in recorded order, keys, deadlines, outcomes."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from keepstep.authoring.definition import WorkflowDefinition, workflow
from keepstep.authoring.events import EventModel, WorkflowEvent
from keepstep.authoring.step import WorkflowStep
from keepstep.errors import (
    EventPayloadError,
    EventTimeoutError,
    PayloadTooLargeError,
    SerializationError,
    StepFailedError,
)
from keepstep.loop.body import Body
from keepstep.model.commands import (
    Cancelled,
    Continued,
    DoCommand,
    Raised,
    Returned,
    TimerCommand,
    WaitCommand,
)
from keepstep.model.limits import Limits
from keepstep.model.retry import Retry
from keepstep.model.status import StepKind, StepStatus
from tests.support.bodies import CREATED, STARTED, Drive, fresh_run, resolved, stored

Event = WorkflowEvent[Any]


async def plain(*args: Any) -> Any:
    """A step's callback; the loop never calls it."""


def body(**options: Any) -> Callable[[Callable[..., Any]], WorkflowDefinition[Any, Any]]:
    """``@workflow`` with a name."""
    return workflow(name="probe", **options)


def test_steps_run_one_after_another_and_return() -> None:
    """A1, A2: each resolution advances the body to its next await; the end is encoded."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> int:
        first = await step.do("first", plain)
        return first + await step.do("second", plain)

    drive = Drive(probe)
    assert drive.open == ["do:first"]
    command = drive.body.commands["do:first"]
    assert isinstance(command, DoCommand)
    assert command.fn is plain
    assert command.opened_at == STARTED
    drive.finish("do:first", 1)
    assert [opened.key for opened in drive.last.opened] == ["do:second"]
    drive.finish("do:second", 2)
    assert drive.outcome == Returned("3")
    assert drive.again().outcome == Returned("3")


def test_keys_count_repeats_per_scope() -> None:
    """C1: the second use of kind and name in a scope gets #2; scopes and kinds count apart, also in branches."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        item = step.scope("item")
        await asyncio.gather(
            step.do("x", plain),
            step.do("x", plain),
            item.do("x", plain),
            step.scope("item").do("x", plain),
            item.scope("deep").do("x", plain),
            step.sleep("x", "1h"),
            step.transaction("x", plain),
            step.wait_for_event("x", "go"),
        )

    assert Drive(probe).open == [
        "do:x",
        "do:x#2",
        "item>do:x",
        "item>do:x#2",
        "item>deep>do:x",
        "sleep:x",
        "transaction:x",
        "wait:x",
    ]


def test_keys_go_by_call_not_by_await() -> None:
    """C1: calls made in order keep their keys however their awaits are ordered."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> list[int]:
        first, second = step.do("x", plain), step.do("x", plain)
        return [await second, await first]

    drive = Drive(probe)
    assert drive.open == ["do:x#2"]
    drive.finish("do:x#2", 2)
    drive.finish("do:x", 1)
    assert drive.outcome == Returned("[2,1]")


def test_resolutions_are_delivered_in_recorded_order() -> None:
    """A2: a result is given when its turn comes, not when it is asked for."""
    seen: list[str] = []

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        async def branch(name: str) -> None:
            await step.do(name, plain)
            seen.append(name)

        await asyncio.gather(branch("a"), branch("b"))

    Drive(probe, records=[resolved(2, "do:a"), resolved(1, "do:b")])
    assert seen == ["b", "a"]


def test_finished_branch_is_not_opened_again() -> None:
    """Defect 5: a branch that has finished stays finished while another one waits."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        await asyncio.gather(step.do("a", plain), step.do("b", plain))

    drive = Drive(probe)
    drive.finish("do:a")
    assert drive.open == ["do:b"]
    assert drive.again().open == ["do:b"]


@pytest.mark.parametrize("swallow", ["except", "finally", "gather"])
def test_suspension_cannot_be_seen(swallow: str) -> None:
    """A5, defect 3: except BaseException, finally and gather(return_exceptions=True) see nothing of a suspension."""
    seen: list[object] = []

    @body()
    async def probe(event: Event, step: WorkflowStep) -> str:
        match swallow:
            case "except":
                try:
                    await step.do("a", plain)
                except BaseException as error:
                    seen.append(error)
                    raise
            case "finally":
                try:
                    await step.do("a", plain)
                finally:
                    seen.append("finally")
            case _:
                seen.append(
                    await asyncio.gather(step.do("a", plain), step.sleep("s", "1h"), return_exceptions=True)
                )
        return "done"

    drive = Drive(probe)
    assert seen == []
    assert drive.outcome is None
    assert drive.open[0] == "do:a"
    drive.finish("do:a", "x")
    if swallow == "gather":
        assert drive.outcome is None
        drive.fire("sleep:s")
        assert seen == [["x", None]]
    assert drive.outcome == Returned('"done"')


def test_failed_step_is_raised_again_and_not_run_again() -> None:
    """C2, defect 12: a caught failure is raised at every replay, and the step is not opened a second time."""
    caught: list[tuple[str, str, str, int]] = []

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        try:
            await step.do("a", plain)
        except StepFailedError as error:
            caught.append((error.step_key, error.name, error.message, error.attempts))
        await step.do("b", plain)

    drive = Drive(probe)
    drive.fail("do:a")
    assert drive.open == ["do:b"]
    again = drive.again()
    assert again.open == ["do:b"]
    assert caught == [("do:a", "ValueError", "no", 2)] * 2


@pytest.mark.parametrize(
    ("code", "error"), [("SERIALIZATION", SerializationError), ("PAYLOAD_TOO_LARGE", PayloadTooLargeError)]
)
def test_storage_errors_are_raised_as_what_they_are(code: str, error: type[Exception]) -> None:
    """C3, C10: a result that cannot be stored raises its own error at the await."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> str:
        with pytest.raises(error, match="no"):
            await step.do("a", plain)
        return "caught"

    drive = Drive(probe)
    drive.fail("do:a", code=code)
    assert drive.outcome == Returned('"caught"')


@dataclass(frozen=True)
class Receipt:
    """A result with types that JSON does not have."""

    at: datetime
    price: Decimal
    id: UUID


async def pay() -> Receipt:
    """A typed step."""
    raise NotImplementedError


def test_types_are_equal_on_first_pass_and_replay() -> None:
    """C3, defect 13: what the body receives is decoded from what is stored, the first time too."""
    seen: list[Receipt] = []

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        seen.append(await step.do("pay", pay))

    receipt = Receipt(datetime(2024, 1, 2, tzinfo=UTC), Decimal("1.10"), UUID(int=5))
    drive = Drive(probe)
    command = drive.body.commands["do:pay"]
    assert isinstance(command, DoCommand)
    drive.resolve("do:pay", result=command.codec.encode(receipt))
    drive.again()
    assert seen == [receipt, receipt]
    assert type(seen[0].price) is Decimal


def test_deadline_is_loop_time_plus_duration() -> None:
    """D1: a sleep's deadline counts from loop time; the past returns at once and leaves no command."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> float:
        await step.sleep_until("past", step.now() - timedelta(days=1))
        await step.sleep("none", "0s")
        await step.do("a", plain)
        await step.sleep("s", "1h")
        return step.now().timestamp()

    drive = Drive(probe)
    assert drive.open == ["do:a"]
    drive.finish("do:a")
    asked_at = STARTED + 1000
    assert drive.body.commands["sleep:s"] == TimerCommand(
        "sleep:s", StepKind.SLEEP, asked_at + 3_600_000, asked_at
    )
    drive.fire("sleep:s")
    assert drive.outcome == Returned(str((asked_at + 3_600_000) / 1000))
    assert drive.again().outcome == drive.outcome


def test_stored_deadline_wins() -> None:
    """D1: a deadline that is stored is not computed anew, neither a sleep's, nor a wait's, nor a loop timer's."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        await asyncio.gather(
            step.sleep("s", "1h"),
            step.wait_for_event("w", "go", timeout="1h"),
            asyncio.sleep(3600),
            step.sleep("z", "0s"),
        )

    keys = ["sleep:s", "wait:w", "timer:loop", "sleep:z"]
    rows = [stored(key, StepStatus.WAITING, due_at=STARTED + 5) for key in keys]
    drive = Drive(probe, records=rows)
    found = drive.body.commands
    assert {
        key: (command.due_at, command.record)
        for key, command in found.items()
        if not isinstance(command, DoCommand)
    } == {row.key: (STARTED + 5, row) for row in rows}


def test_open_attempt_comes_back_with_its_command() -> None:
    """C4, B8: a stored retry or intent is handed to the engine; an abandoned row is not."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        await asyncio.gather(*(step.do(name, plain) for name in ("r", "i", "x", "n")))

    retrying = stored("do:r", StepStatus.RETRYING, attempt=2, due_at=STARTED + 9)
    intent = stored("do:i", StepStatus.INTENT, attempt=1)
    drive = Drive(probe, records=[retrying, intent, stored("do:x", StepStatus.ABANDONED)])
    found = [command.record for command in drive.body.commands.values()]
    assert found == [retrying, intent, None, None]


def test_race_is_decided_by_resolution_order() -> None:
    """A2: the first of two is the one that was resolved first, in every replay."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> list[str]:
        slow, fast = asyncio.create_task(step.do("slow", plain)), asyncio.create_task(step.do("fast", plain))
        done, pending = await asyncio.wait([slow, fast], return_when=asyncio.FIRST_COMPLETED)
        first = "slow" if slow in done else "fast"
        for task in pending:
            task.cancel()
        await step.do("after", plain)
        return [first, str(len(done))]

    drive = Drive(probe)
    drive.finish("do:fast")
    assert drive.last.closed == ["do:slow"]
    assert drive.open == ["do:after"]
    drive.finish("do:after")
    assert drive.outcome == Returned('["fast","1"]')
    assert drive.again().outcome == drive.outcome


def test_timeout_around_a_step_is_a_durable_timer() -> None:
    """A1: asyncio.timeout is a timer with a deterministic key; when it fires, the step is closed."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> str:
        for _ in range(2):
            try:
                async with asyncio.timeout(60):
                    await step.do("a", plain)
            except TimeoutError:
                return "late"
        return "in time"

    drive = Drive(probe)
    assert drive.open == ["timer:loop", "do:a"]
    assert drive.body.commands["timer:loop"] == TimerCommand(
        "timer:loop", StepKind.TIMER, STARTED + 60_000, STARTED
    )
    drive.finish("do:a")
    assert drive.last.closed == ["timer:loop"]
    assert drive.open == ["timer:loop#2", "do:a#2"]
    drive.fire("timer:loop#2")
    assert drive.last.closed == ["do:a#2"]
    assert drive.outcome == Returned('"late"')
    assert drive.again().outcome == drive.outcome


def test_loop_timers_fire_at_their_time() -> None:
    """A1, A3: asyncio.sleep and wait_for are durable; loop time on waking is the time of the delivery."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.sleep(0.0001)
        await asyncio.sleep(-1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 2.5)
        return round(loop.time() - start, 3)

    drive = Drive(probe)
    command = drive.body.commands["timer:loop"]
    assert isinstance(command, TimerCommand)
    assert command.due_at == STARTED + 1
    drive.fire("timer:loop")
    drive.fire("timer:loop#2")
    assert drive.outcome == Returned("2.501")


def test_what_opens_and_closes_in_one_activation_is_not_told() -> None:
    """A2: the engine hears only of what is still open when the body rests, and of the end of what it heard of."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        task = asyncio.create_task(step.do("brief", plain))
        await asyncio.sleep(0)
        task.cancel()
        await step.do("a", plain)
        again = asyncio.create_task(step.do("brief", plain))
        await asyncio.sleep(0)
        again.cancel()
        await step.do("b", plain)

    drive = Drive(probe)
    assert [command.key for command in drive.last.opened] == ["do:a"]
    assert not drive.last.closed
    drive.finish("do:a")
    assert [command.key for command in drive.last.opened] == ["do:b"]
    assert not drive.last.closed


def test_replay_closes_a_stored_row_that_the_body_gave_up() -> None:
    """A2: an open row that is stored and that replay closes is reported, an abandoned one is not again."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        task = asyncio.create_task(step.do("retried", plain))
        await step.do("a", plain)
        task.cancel()
        await step.do("b", plain)

    row = stored("do:retried", StepStatus.RETRYING, attempt=1, due_at=STARTED + 9)
    assert Drive(probe, records=[row, resolved(1, "do:a")]).last.closed == ["do:retried"]
    gone = row._replace(status=StepStatus.ABANDONED)
    assert not Drive(probe, records=[gone, resolved(1, "do:a")]).last.closed


def test_start_tells_only_what_is_open_at_its_end() -> None:
    """A2: a replay's activation opens what is still open, in call order."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        await asyncio.gather(step.do("a", plain), step.do("b", plain), step.do("c", plain))

    drive = Drive(probe, records=[resolved(1, "do:b")])
    assert [command.key for command in drive.last.opened] == ["do:a", "do:c"]
    assert drive.body.seq == 1


def test_end_of_the_body_closes_what_is_left() -> None:
    """E1: branches that nobody waits for end with the body."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        step.log.info("left")
        task = asyncio.create_task(step.do("left", plain))
        await step.do("a", plain)
        assert not task.done()

    drive = Drive(probe)
    assert drive.open == ["do:a", "do:left"]
    drive.finish("do:a")
    assert drive.outcome == Returned("null")
    assert drive.last.closed == ["do:left"]
    assert drive.open == []


# Events


class Approval(EventModel, type="approval"):
    """A typed event."""

    by: str
    at: datetime


def test_wait_gives_the_event() -> None:
    """D4, D6: a wait by model gives the model, by type plain data; the deadline is stored with the command."""
    seen: list[Any] = []

    @body(events=[Approval])
    async def probe(event: Event, step: WorkflowStep) -> None:
        seen.append(await step.wait_for_event("typed", Approval))
        seen.append(await step.wait_for_event("plain", "approval", timeout=None))

    drive = Drive(probe)
    assert drive.body.commands["wait:typed"] == WaitCommand(
        "wait:typed", "approval", STARTED + 86_400_000, STARTED
    )
    payload = {"by": "ann", "at": "2024-01-02T00:00:00Z"}
    drive.receive("wait:typed", payload, "e-1")
    waiting = drive.body.commands["wait:plain"]
    assert isinstance(waiting, WaitCommand)
    assert waiting.due_at is None
    drive.receive("wait:plain", payload)
    typed, untyped = seen
    assert typed.payload == Approval(by="ann", at=datetime(2024, 1, 2, tzinfo=UTC))
    assert (typed.type, typed.id, typed.timestamp.timestamp()) == ("approval", "e-1", STARTED / 1000 + 1)
    assert untyped.payload == payload
    assert untyped.id is None


def test_wait_times_out() -> None:
    """D4: a timeout raises EventTimeoutError, or gives the default; None is a default."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> list[Any]:
        with pytest.raises(EventTimeoutError):
            await step.wait_for_event("a", "go", timeout="1s")
        return [
            await step.wait_for_event("b", "go", timeout="1s", default=None),
            await step.wait_for_event("c", "go", timeout="1s", default=7),
        ]

    drive = Drive(probe)
    for key in ("wait:a", "wait:b", "wait:c"):
        drive.time_out(key)
    assert drive.outcome == Returned("[null,7]")
    assert drive.again().outcome == drive.outcome


def test_bad_payload_is_raised_at_consumption() -> None:
    """D6: an event that does not fit its model is raised at the wait, with its issues."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> list[str]:
        with pytest.raises(EventPayloadError) as caught:
            await step.wait_for_event("a", Approval)
        return [issue["path"] for issue in caught.value.issues]

    drive = Drive(probe)
    drive.receive("wait:a", {"by": 1})
    assert drive.outcome == Returned('["by","at"]')


def test_two_waits_of_a_type_stay_in_call_order() -> None:
    """D5: open waits of one type stand in the order of their calls."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        await asyncio.gather(step.wait_for_event("z", "go"), step.wait_for_event("a", "go"))

    assert Drive(probe).open == ["wait:z", "wait:a"]


# Time, randomness, params, log


def test_time_and_randomness_are_equal_on_every_replay() -> None:
    """A3: now, random and uuid4 come from loop time and the run, not from the world."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> list[Any]:
        drawn: list[Any] = [
            step.now().isoformat(),
            step.random().random(),
            str(step.uuid4()),
            str(step.uuid4()),
        ]
        await step.do("a", plain)
        drawn += [
            step.now().isoformat(),
            step.random().random(),
            str(step.scope("s").uuid4()),
            step.scope("s").random().random(),
        ]
        return drawn

    drive = Drive(probe)
    drive.finish("do:a")
    assert isinstance(drive.outcome, Returned)
    drawn = json.loads(drive.outcome.output)
    assert drive.again().outcome == drive.outcome
    assert len({str(each) for each in drawn}) == len(drawn)
    assert UUID(drawn[2]).version == 4
    other = Drive(probe, run=fresh_run(probe, run_number=2))
    other.finish("do:a")
    assert other.outcome != drive.outcome


def test_loop_time_never_goes_back() -> None:
    """A3: loop time is the time of the delivery, and a clock that went back does not take it along."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> list[float]:
        times = [step.now().timestamp()]
        for _ in range(2):
            await step.do("a", plain)
            times.append(step.now().timestamp())
        return times

    drive = Drive(
        probe, records=[resolved(1, "do:a", at=STARTED + 50), resolved(2, "do:a#2", at=STARTED + 20)]
    )
    assert drive.outcome == Returned(f"[{STARTED / 1000},{(STARTED + 50) / 1000},{(STARTED + 50) / 1000}]")


def test_event_carries_params_and_identity() -> None:
    """A3, E6: the workflow event is the run's: its params, creation, instance and number."""
    seen: list[WorkflowEvent[Any]] = []

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        seen.append(event)

    Drive(probe, run=fresh_run(probe, {"n": 1}, run_number=4))
    event = seen[0]
    assert (event.payload, event.instance_id, event.workflow_name, event.run_number) == (
        {"n": 1},
        "i-1",
        "probe",
        4,
    )
    assert event.timestamp.timestamp() == CREATED / 1000
    with pytest.raises(AttributeError):
        event.payload = None  # type: ignore[misc]


def test_log_lines_are_numbered_and_marked_when_replayed() -> None:
    """A7: lines count through the run; a replay marks those that are stored already."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        step.log.info("one", n=1)
        await step.do("a", plain)
        step.log.warning("two")
        await step.do("b", plain)
        step.log.error("three")

    drive = Drive(probe)
    drive.finish("do:a")
    drive.finish("do:b")
    found = [
        (line.number, line.level, line.message, line.data, line.at - STARTED, line.replayed)
        for line in drive.logs
    ]
    assert found == [
        (1, "info", "one", '{"n":1}', 0, False),
        (2, "warning", "two", None, 1000, False),
        (3, "error", "three", None, 2000, False),
    ]
    again = drive.again(drive.records[:1])
    assert [(line.number, line.replayed) for line in again.logs] == [(1, True), (2, True)]
    again.finish("do:b")
    assert [(line.number, line.replayed) for line in again.logs] == [(1, True), (2, True), (3, False)]


# Policies


def test_policy_precedence() -> None:
    """C4: call, then workflow, then engine; a mapping leaves the rest to the workflow's."""

    @body(retry=Retry(max_attempts=3, non_retryable=("A",)), timeout="1 minute")
    async def probe(event: Event, step: WorkflowStep) -> None:
        await asyncio.gather(
            step.do("default", plain),
            step.do("retry", plain, retry=Retry(max_attempts=2), timeout="5s"),
            step.do("mapping", plain, retry={"retries": {"limit": 0}, "timeout": "9s"}),
            step.do("more", plain, non_retryable=[ValueError]),
            step.transaction("tx", plain),
            step.do("intent", plain, journal_intent=True, reconcile=plain),
        )

    found = {
        key: command for key, command in Drive(probe).body.commands.items() if isinstance(command, DoCommand)
    }
    assert {key: (c.retry.max_attempts, c.timeout_ms) for key, c in found.items()} == {
        "do:default": (3, 60_000),
        "do:retry": (2, 5_000),
        "do:mapping": (1, 9_000),
        "do:more": (3, 60_000),
        "transaction:tx": (3, 60_000),
        "do:intent": (3, 60_000),
    }
    assert found["do:more"].retry.non_retryable == ("A", ValueError)
    assert (found["do:intent"].journal_intent, found["do:intent"].reconcile) == (True, plain)

    @body()
    async def bare(event: Event, step: WorkflowStep) -> None:
        await step.do("default", plain)

    command = Drive(bare).body.commands["do:default"]
    assert isinstance(command, DoCommand)
    assert (command.retry, command.timeout_ms) == (Retry(), 600_000)


def test_decorator_form() -> None:
    """C7: a decorated local function is a step each time it is called, with the decorator's options."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        @step.do("charge", timeout="5s")
        async def charge(amount: int, *, currency: str) -> int:
            return amount

        assert charge.__name__ == "charge"
        await asyncio.gather(charge(1, currency="eur"), charge(2, currency="usd"))

    drive = Drive(probe)
    assert drive.open == ["do:charge", "do:charge#2"]
    command = drive.body.commands["do:charge#2"]
    assert isinstance(command, DoCommand)
    assert (command.args, command.kwargs, command.timeout_ms) == ((2,), {"currency": "usd"}, 5_000)


# Outcomes


def test_uncaught_failure_is_recorded_as_the_original() -> None:
    """C5: an uncaught step failure ends the run with the original error, its step and its attempts."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        await step.do("a", plain)

    drive = Drive(probe)
    drive.fail("do:a", "card declined", "Declined")
    assert isinstance(drive.outcome, Raised)
    error = drive.outcome.error
    assert (error.name, error.message, error.step_key, error.attempts) == (
        "Declined",
        "card declined",
        "do:a",
        2,
    )
    assert isinstance(drive.body.failure, StepFailedError)


def test_group_tells_what_is_in_it() -> None:
    """C5: a TaskGroup's error names its parts, and the failed step that can be tried again."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(step.do("a", plain))
            group.create_task(step.do("b", plain))

    drive = Drive(probe)
    drive.fail("do:a", "no luck", "Declined")
    assert drive.last.closed == ["do:b"]
    assert isinstance(drive.outcome, Raised)
    error = drive.outcome.error
    assert (error.name, error.step_key, error.attempts) == ("ExceptionGroup", "do:a", 2)
    assert error.message.endswith(": Declined: no luck")


def test_result_that_cannot_be_stored() -> None:
    """C3, C10: a result that JSON cannot hold, or that is too large, ends the run with its own error."""

    @body()
    async def strange(event: Event, step: WorkflowStep) -> Any:
        return {"a": [object()]}

    @body()
    async def large(event: Event, step: WorkflowStep) -> str:
        return "x" * 100

    drive = Drive(strange)
    assert isinstance(drive.outcome, Raised)
    assert (drive.outcome.error.name, drive.outcome.error.code) == (
        "WorkflowOutputError",
        "WORKFLOW_OUTPUT_INVALID",
    )
    assert "$.a[0]" in drive.outcome.error.message
    drive = Drive(large, limits=Limits(payload_bytes_max=50))
    assert isinstance(drive.outcome, Raised)
    assert drive.outcome.error.code == "PAYLOAD_TOO_LARGE"


def test_cancel_runs_cleanup_steps() -> None:
    """E5: a cancellation is raised at the await; cleanup in except and finally is recorded; the end is cancelled."""
    seen: list[str] = []

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        try:
            await step.do("a", plain)
        except asyncio.CancelledError as error:
            seen.append(str(error))
            await step.do("refund", plain)
            raise
        finally:
            await step.do("close", plain)

    drive = Drive(probe)
    drive.cancel("changed my mind")
    assert seen == ["changed my mind"]
    assert drive.last.closed == ["do:a"]
    assert drive.open == ["do:refund"]
    drive.finish("do:refund")
    drive.finish("do:close")
    assert drive.outcome == Cancelled("changed my mind")
    assert drive.again().outcome == drive.outcome


def test_swallowed_cancel_completes() -> None:
    """E5: a body that catches the cancellation and returns is complete; without a request it is an error."""

    @body()
    async def stubborn(event: Event, step: WorkflowStep) -> str:
        try:
            await step.do("a", plain)
        except asyncio.CancelledError:
            return "kept going"
        return "done"

    @body()
    async def desperate(event: Event, step: WorkflowStep) -> None:
        raise asyncio.CancelledError

    drive = Drive(stubborn)
    drive.cancel("")
    assert drive.outcome == Returned('"kept going"')
    outcome = Drive(desperate).outcome
    assert isinstance(outcome, Raised)
    assert outcome.error.name == "CancelledError"


@pytest.mark.parametrize("how", ["plain", "except Exception", "except BaseException", "group", "finally"])
def test_continue_as_new_ends_the_run(how: str) -> None:
    """C10: continue_as_new cannot be held up, and cleanup steps still run."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        match how:
            case "plain":
                step.continue_as_new({"n": 1})
            case "except Exception":
                try:
                    step.continue_as_new({"n": 1})
                except Exception:  # noqa: BLE001 - what a body might do
                    pytest.fail("it is no Exception")
            case "except BaseException":
                try:
                    step.continue_as_new({"n": 1})
                except BaseException:  # noqa: BLE001 - what a body might do
                    return
            case "group":

                async def part() -> None:
                    step.continue_as_new({"n": 1})

                async with asyncio.TaskGroup() as group:
                    group.create_task(part())
            case _:
                try:
                    step.continue_as_new({"n": 1})
                finally:
                    await step.do("release", plain)

    drive = Drive(probe)
    if how == "finally":
        assert drive.outcome is None
        drive.finish("do:release")
    assert drive.outcome == Continued('{"n":1}')


def test_error_after_continue_as_new_is_told() -> None:
    """C5, C10: cleanup that fails is not hidden by continue_as_new."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        try:
            step.continue_as_new(None)
        finally:
            raise ValueError("cleanup failed")

    outcome = Drive(probe).outcome
    assert isinstance(outcome, Raised)
    assert outcome.error.name == "ValueError"


def test_size_grows_with_what_is_held() -> None:
    """A6: a body tells roughly how much it holds, for the cache's bound."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> None:
        for _ in range(2):
            await step.do("a", plain)

    drive = Drive(probe)
    before = drive.body.size
    drive.finish("do:a", "x" * 10_000)
    assert drive.body.size > before + 10_000


def test_body_without_started_at_starts_at_creation() -> None:
    """A3: loop time before the first resolution is the run's start."""

    @body()
    async def probe(event: Event, step: WorkflowStep) -> float:
        return step.now().timestamp()

    run = fresh_run(probe, None, started_at=None)
    assert Body(probe, run, [], Limits()).start().outcome == Returned(str(CREATED / 1000))
