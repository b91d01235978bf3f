"""``crash_everywhere``: each mistake that it is there to find, what it says of it, and that it is silent otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from keepstep.errors import UsageError
from keepstep_testing import DurabilityError, at, crash_everywhere
from keepstep_testing.mishaps import MISHAPS, Case
from keepstep_testing.settings import KINDS
from keepstep_testing.sim.oracle.rules import Violation
from keepstep_testing.verdict import of_violation
from tests.support import mistakes

GOOD: dict[str, Any] = {
    "params": 5,
    "events": [at("31 days", mistakes.Go(word="well"))],
    "effects": {mistakes.charge: "n-1"},
    "tables": mistakes.metadata,
}


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    mistakes.seen.clear()


def failing(workflow: Any, **given: Any) -> str:
    """What it says of a workflow."""
    with pytest.raises(DurabilityError) as found:
        crash_everywhere(workflow, **given)
    return str(found.value)


def test_a_good_workflow_survives_every_kind() -> None:
    """Rows of the user's own are there once, the effect is done once, whatever happens (B8, C8)."""
    report = crash_everywhere(
        mistakes.good,
        check=lambda end: end.result == "well" and end.rows("SELECT what FROM ledger") == [("n-1",)],
        **GOOD,
    )
    assert {Case.of(each).mishap for each in report.cases} == set(MISHAPS)
    assert report.steps == ("do:take", "sleep:rest", "transaction:book", "wait:go")


def test_a_sync_step_without_a_key_is_found() -> None:
    """With its line, both calls and the way out."""
    said = failing(mistakes.in_thread, params=5, effects={mistakes.charge: "n-1"})
    assert "charge was done 2 times for one step" in said
    assert 'return await step.do("take", take_in_thread, event.payload)' in said
    assert "at least once (B8)" in said


def test_a_check_of_a_steps_calls_is_enough() -> None:
    """Nothing declared: every step's calls are counted by whether its code read the key."""
    said = failing(
        mistakes.in_thread,
        params=5,
        setup=lambda sim: sim.stub("take", returns="x"),
        check=lambda end: end.effect("take").count == 1,
    )
    assert "the check returned False. What ran twice:" in said


@pytest.mark.parametrize("workflow", [mistakes.chance, mistakes.clock])
def test_a_body_that_is_not_deterministic_is_found(workflow: Any) -> None:
    """One draws its step's name, the other one asks the wall clock (A2, A3)."""
    said = failing(workflow)
    assert "the body is not deterministic" in said
    assert "step.now(), step.random() and step.uuid4()" in said


def test_a_step_that_works_only_once_is_found() -> None:
    """A crash may cost time and nothing else."""

    def forget(_: Any) -> None:
        mistakes.seen.clear()

    said = failing(mistakes.unrepeatable, params="a", setup=forget)
    assert "the instance is errored" in said
    assert "it was there already" in said


def test_an_instance_that_is_stranded_is_found() -> None:
    """It ends without a mishap, and waits for ever with one."""

    def forget(_: Any) -> None:
        mistakes.seen.clear()

    assert "the instance is stranded: it is waiting" in failing(mistakes.stranded, params="a", setup=forget)


def test_an_event_without_an_id_is_doubled() -> None:
    """A client that gets no answer sends again (D7); with an id nothing comes of it."""
    said = failing(mistakes.good, **{**GOOD, "events": [at("31 days", mistakes.Go(word="well"), id=None)]})
    assert "event 'go' is there 2 times, it was sent 1 times" in said
    assert "send it with an id" in said


def test_an_event_that_no_wait_takes_is_lost() -> None:
    """It is sent after the wait has given up, which it does only after a mishap (D4, D5)."""

    def forget(_: Any) -> None:
        mistakes.seen.clear()

    said = failing(mistakes.impatient, params="a", setup=forget, events=[at("1 day", mistakes.Go())])
    assert "event 'go' was lost: no wait took it, and without a mishap one does" in said
    assert "wait for the event on every path" in said


def test_a_failure_without_a_mishap_says_so() -> None:
    """It is no matter of durability."""
    said = failing(mistakes.good, check=lambda end: end.result == "else", **GOOD)
    assert said.startswith("it fails without any mishap")


def test_a_case_is_played_again() -> None:
    """The same failure from the case that the failure names."""
    given: dict[str, Any] = {"params": 5, "effects": {mistakes.charge: "n-1"}}
    with pytest.raises(DurabilityError) as first:
        crash_everywhere(mistakes.in_thread, **given)
    with pytest.raises(DurabilityError, match="survived 0 of 1") as again:
        crash_everywhere(mistakes.in_thread, only=first.value.case, **given)
    assert again.value.case == first.value.case


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("crash", "needs a place"),
        ("no-memory at runner-1 commit:begin#1", "takes no place"),
        ("flood", "begins with one of"),
        ("crash at runner-7 commit:begin#1", "does not occur"),
    ],
)
def test_a_case_that_cannot_be_played_is_refused(case: str, said: str) -> None:
    """With what a case looks like."""
    with pytest.raises(UsageError, match=said):
        crash_everywhere(mistakes.good, only=case, **GOOD)


def test_a_broken_rule_of_the_engine_is_told_as_such() -> None:
    """Early timers and recorded steps that run again are keepstep's own defects (C2, D3)."""
    for rule in ("13", "24", "19"):
        offence = of_violation(Violation(rule, "something"))
        assert offence.lesson is not None
        assert "defect of keepstep" in offence.lesson.why


def test_options_know_every_kind() -> None:
    """The list that the command line checks is the list of what can happen."""
    assert set(KINDS) == set(MISHAPS)
