"""``DurableMachine`` bites: each mistake that it is there for is found, and nothing is found in what is right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from keepstep import EventModel, StepContext, WorkflowEvent, WorkflowStep, workflow
from keepstep_testing import DurabilityError, DurableMachine
from tests.support import mistakes

SMALL = settings(
    stateful_step_count=5,
    deadline=None,
    database=None,
    derandomize=True,
    print_blob=False,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)


class Paid(EventModel, type="paid"):
    """A client says so."""

    cents: int


async def ship(context: StepContext, order: str) -> str:
    """With the step's key."""
    return mistakes.charge(1, idempotency_key=context.idempotency_key)


async def ship_carelessly(order: str) -> str:
    """Without."""
    return mistakes.charge(1)


@workflow(name="orders", events=[Paid])
async def orders(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Wait to be paid, then ship."""
    await step.wait_for_event("payment", Paid, timeout="5 days")
    return await step.do("ship", ship, event.payload)


class Orders(DurableMachine):
    """What is right."""

    workflow = orders
    params = "o-1"
    events = (st.builds(Paid, cents=st.integers(1, 3)),)
    effects = {mistakes.charge: "c-1"}  # noqa: RUF012  # as users write it
    operators = frozenset({"pause", "resume", "terminate"})

    def invariant(self) -> None:
        """Shipped once at most, and only once it is paid."""
        assert self.effect("charge").count <= 1


@workflow(name="careless")
async def careless(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Ship at once, without a key."""
    return await step.do("ship", ship_carelessly, event.payload)


class Careless(Orders):
    """A mistake of one step; it shows only where a process dies in the middle of it."""

    workflow = careless
    events = ()
    operators = frozenset()

    def invariant(self) -> None:
        """Nothing is asserted: what is wrong needs no assertion."""


@workflow(name="at-once")
async def at_once(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Ship without being paid."""
    return await step.do("ship", ship, event.payload)


class Restarted(Orders):
    """An operator who restarts, and an invariant that did not think of it."""

    workflow = at_once
    events = ()
    operators = frozenset({"restart"})


class Early(Orders):
    """An invariant that is wrong as soon as time passes."""

    def invariant(self) -> None:
        """It has not timed out."""
        assert self.status != "errored"


def run(machine: type[DurableMachine], examples: int) -> None:
    """As pytest runs its ``TestCase``; the first failure ends it."""
    case: Any = machine.TestCase
    case.settings = settings(SMALL, max_examples=examples)
    case("runTest").runTest()


def test_what_is_right_holds() -> None:
    """Under events, time, crashes, deployments and operators."""
    run(Orders, 30)


def test_a_step_without_a_key_is_found() -> None:
    """A crash between the call and its commit: no assertion of the test's own is needed (B8)."""
    with pytest.raises(DurabilityError, match="charge was done 2 times for one step"):
        run(Careless, 200)


@pytest.mark.parametrize("machine", [Restarted, Early])
def test_an_invariant_that_does_not_hold_is_found(machine: type[DurableMachine]) -> None:
    """By an operator's move, and by time."""
    with pytest.raises(AssertionError, match=r"count|errored"):
        run(machine, 100)
