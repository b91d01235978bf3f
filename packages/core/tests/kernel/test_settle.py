"""Settling: each timer and wait by its own deadline, in the order of time, however late the look (D2–D5, A2)."""

from collections import deque

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstep.kernel.settle import next_fact, open_row, resolution
from keepstep.model.commands import TimerCommand
from keepstep.model.facts import CancelAsked, Completed, Failed, Fired, Received, TimedOut
from keepstep.model.outcome import ErrorInfo
from keepstep.model.recorded import read_error
from keepstep.model.status import StepStatus
from tests.support.rows import RUN_ID, event_row, step_row, timer, wait


def keyed(*commands):
    """Open commands, in call order."""
    return {command.key: command for command in commands}


def settle_all(commands, events, now):
    """Settle as long as anything is due; a body that opens nothing new."""
    commands, events, facts = dict(commands), list(events), []
    while (fact := next_fact(commands, events, now, None)) is not None:
        del commands[fact.key]
        if isinstance(fact, Received):
            events.remove(fact.event)
        facts.append(fact)
    return facts


def test_nothing_is_settled_early():
    """An early wake changes nothing (D3)."""
    commands = keyed(timer("sleep:a", 100), wait("wait:b", 100), wait("wait:c", None))
    assert next_fact(commands, [], 99, None) is None
    assert next_fact({}, [event_row(1)], 99, None) is None


def test_a_deadline_is_due_at_its_instant():
    """Due means at or after the deadline (D2)."""
    assert next_fact(keyed(timer("sleep:a", 100)), [], 100, None) == Fired("sleep:a")
    assert next_fact(keyed(wait("wait:b", 100)), [], 100, None) == TimedOut("wait:b")


def test_the_earliest_deadline_goes_first_whatever_the_call_order():
    """A late look settles in the order in which things happened (D3)."""
    commands = keyed(timer("sleep:a", 300), wait("wait:b", 100), timer("sleep:c", 200))
    assert settle_all(commands, [], 1_000) == [TimedOut("wait:b"), Fired("sleep:c"), Fired("sleep:a")]


def test_equal_instants_go_in_call_order():
    """Ties are broken by the order of the calls (A2)."""
    commands = keyed(timer("sleep:b", 100), wait("wait:a", 100), timer("sleep:a", 100))
    assert [fact.key for fact in settle_all(commands, [], 100)] == ["sleep:b", "wait:a", "sleep:a"]


@pytest.mark.parametrize(("accepted_at", "taken"), [(99, True), (100, True), (101, False)])
def test_an_event_counts_until_the_deadline_however_late_it_is_seen(accepted_at, taken):
    """At or before the deadline the event wins; after it the wait times out and the event stays (D4)."""
    event = event_row(1, accepted_at)
    fact = next_fact(keyed(wait("wait:a", 100)), [event], 10_000, None)
    assert fact == (Received("wait:a", event) if taken else TimedOut("wait:a"))


def test_a_late_event_goes_to_a_wait_that_still_runs():
    """What the first wait may not take any more, the second one takes (D4, D5)."""
    commands = keyed(wait("wait:a", 100), wait("wait:b", 1_000))
    event = event_row(1, 500)
    assert settle_all(commands, [event], 600) == [TimedOut("wait:a"), Received("wait:b", event)]


def test_two_waits_of_one_type_take_two_events_in_call_order():
    """First call, first event (D5)."""
    first, second = event_row(1, 10), event_row(2, 20)
    commands = keyed(wait("wait:a", None), wait("wait:b", None))
    assert settle_all(commands, [first, second], 30) == [
        Received("wait:a", first),
        Received("wait:b", second),
    ]


def test_an_event_wakes_only_its_type():
    """Waits of other types, and timers that are not due, stay open (D2, D4)."""
    event = event_row(1, 10, type="refusal")
    commands = keyed(wait("wait:a", None), timer("sleep:b", 100), wait("wait:c", None, event_type="refusal"))
    assert settle_all(commands, [event], 50) == [Received("wait:c", event)]


def test_a_buffered_event_is_received_when_its_wait_was_opened():
    """It was sent before, but a timer that was due before the wait was opened happened first (D3, D5)."""
    event = event_row(1, 5)
    commands = keyed(timer("timer:loop", 30), wait("wait:a", None, opened_at=35))
    assert settle_all(commands, [event], 40) == [Fired("timer:loop"), Received("wait:a", event)]


def test_a_stored_event_is_never_held_back():
    """An event accepted after ``now`` was read is there: the run may not park past it (B6)."""
    event = event_row(1, 500)
    assert next_fact(keyed(wait("wait:a", 1_000)), [event], 400, None) == Received("wait:a", event)


def test_a_cancellation_goes_first():
    """The request comes before everything that is due, also without a reason (E5)."""
    commands = keyed(timer("sleep:a", 1))
    assert next_fact(commands, [], 100, "") == CancelAsked("")
    assert next_fact({}, [], 100, "why") == CancelAsked("why")


@st.composite
def histories(draw):
    """Timers, waits and events on a small scale of time, commands in order of their opening."""
    instants = st.integers(0, 12)
    opened = sorted(draw(st.lists(instants, max_size=6)))
    commands = []
    for number, opened_at in enumerate(opened):
        due = opened_at + draw(st.integers(0, 6))
        if draw(st.booleans()):
            commands.append(timer(f"sleep:{number}", due, opened_at))
        else:
            type_ = draw(st.sampled_from(["approval", "refusal"]))
            commands.append(wait(f"wait:{number}", draw(st.sampled_from([due, None])), opened_at, type_))
    accepted = sorted(draw(st.lists(instants, max_size=5)))
    types = st.sampled_from(["approval", "refusal"])
    return keyed(*commands), [event_row(n, at, type=draw(types)) for n, at in enumerate(accepted, start=1)]


def in_time(commands, events, end):
    """The model: live through every instant; at each one settle what can be, in call order."""
    open_, coming, buffered, facts = dict(commands), deque(events), [], []

    def step(at):
        for command in open_.values():
            if command.opened_at > at:
                continue
            if not isinstance(command, TimerCommand):
                for event in buffered:
                    if event.type == command.event_type:
                        buffered.remove(event)
                        return Received(command.key, event)
            if command.due_at is not None and command.due_at <= at:
                return Fired(command.key) if isinstance(command, TimerCommand) else TimedOut(command.key)
        return None

    for at in range(end + 1):
        while coming and coming[0].accepted_at == at:
            buffered.append(coming.popleft())
        while (fact := step(at)) is not None:
            del open_[fact.key]
            facts.append(fact)
    return facts


@given(histories())
def test_a_late_look_settles_as_if_it_had_been_in_time(history):
    """One look at the end finds the order of living through every instant (D2, D3, D4, D5)."""
    assert settle_all(*history, now=30) == in_time(*history, end=30)


@given(histories(), st.lists(st.integers(0, 30)))
def test_when_one_looks_changes_nothing(history, looks):
    """Any looks on the way, each with the events that had been accepted by then, give the same order (D3)."""
    commands, events = history
    facts = []
    for now in [*sorted(looks), 30]:
        taken = {fact.event.id for fact in facts if isinstance(fact, Received)}
        seen = {fact.key for fact in facts}
        open_ = {key: each for key, each in commands.items() if key not in seen and each.opened_at <= now}
        there = [event for event in events if event.accepted_at <= now and event.id not in taken]
        facts += settle_all(open_, there, now)
    assert facts == settle_all(commands, events, 30)


@given(histories())
def test_no_event_is_taken_twice_and_none_by_another_type(history):
    """Each event goes to one wait of its type, in time (D4, invariant 19)."""
    commands, events = history
    taken = [fact for fact in settle_all(commands, events, 30) if isinstance(fact, Received)]
    assert len({fact.event.id for fact in taken}) == len(taken)
    for fact in taken:
        command = commands[fact.key]
        assert command.event_type == fact.event.type
        assert command.due_at is None or fact.event.accepted_at <= command.due_at


def test_a_finished_step_becomes_a_row():
    """The row holds result, attempt and both instants (A2, C2)."""
    row = resolution(Completed("do:charge", '{"ok":1}', 2, 700), None, RUN_ID, 4, 900)
    assert row == step_row("do:charge", 4, result='{"ok":1}', attempt=2, started_at=700, at=900)


def test_a_failed_step_becomes_a_row():
    """The stored error is what every replay raises again (C2)."""
    error = ErrorInfo("ValueError", "no \ud800 money", None, "do:charge", 6)
    row = resolution(Failed("do:charge", error, 6, 700), None, RUN_ID, 4, 900)
    assert row.error is not None
    assert row._replace(error=None) == step_row(
        "do:charge", 4, StepStatus.FAILED, attempt=6, started_at=700, at=900
    )
    assert read_error(row.error) == ErrorInfo("ValueError", "no ? money", None, "do:charge", 6)


def test_a_fired_timer_becomes_a_row():
    """The deadline stays readable; there is no result (D1)."""
    row = resolution(Fired("sleep:a"), timer("sleep:a", 600, 100), RUN_ID, 1, 640)
    expected = step_row("sleep:a", 1, attempt=0, started_at=100, at=640, due_at=600, result=None)
    assert row == expected


def test_a_received_event_becomes_a_row():
    """The result is the event, its payload as it was accepted (D4)."""
    payload = '{"a":[1.0,"é"],"a2":12345678901234567890}'
    event = event_row(1, 600, event_id='e"ü', payload=payload)
    row = resolution(Received("wait:a", event), wait("wait:a", 900, 100), RUN_ID, 2, 640)
    assert row.result is not None
    assert payload in row.result
    assert orjson.loads(row.result) == {
        "type": "approval",
        "payload": orjson.loads(payload),
        "timestamp": 600,
        "id": 'e"ü',
    }
    assert (row.status, row.seq, row.due_at, row.event_type, row.at) == ("completed", 2, 900, "approval", 640)


def test_an_event_without_an_id_has_none():
    """The sender's id is optional (D7)."""
    row = resolution(Received("wait:a", event_row(1)), wait("wait:a", None), RUN_ID, 2, 640)
    assert row.result is not None
    assert orjson.loads(row.result)["id"] is None


def test_a_timeout_becomes_a_row():
    """The row carries what the body's await raises: type, how long, which step (D4)."""
    stored = step_row("wait:a", None, StepStatus.WAITING, started_at=1_000)
    command = wait("wait:a", 61_000, 2_000, record=stored)
    row = resolution(TimedOut("wait:a"), command, RUN_ID, 2, 70_000)
    assert row.error is not None
    assert read_error(row.error) == ErrorInfo(
        "EventTimeoutError", "no event of type 'approval' within 1 min", "EVENT_TIMEOUT", "wait:a"
    )
    assert (row.status, row.seq, row.at, row.started_at) == ("failed", 2, 70_000, 1_000)


def test_a_cancellation_becomes_a_row():
    """It has a key of its own, and the reason as its result (E5)."""
    row = resolution(CancelAsked('the "boss"'), None, RUN_ID, 5, 640)
    expected = step_row("cancel:request", 5, attempt=0, started_at=640, at=640, result='"the \\"boss\\""')
    assert row == expected


def test_an_open_row_keeps_its_deadline_and_its_beginning():
    """What is stored while a timer or wait is open: waiting, from when, until when (D1)."""
    assert open_row(wait("wait:a", None, 100), RUN_ID) == step_row(
        "wait:a", None, StepStatus.WAITING, attempt=0, started_at=100, event_type="approval"
    )
    assert open_row(timer("sleep:a", 900, 100), RUN_ID).due_at == 900
