"""The refund's tests: single runs on virtual time, then every mishap at every boundary."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from examples.tested_workflow.refunds import Approval, Refund, careless_refund, refund, transfer
from keepstep_testing import (
    DurabilityError,
    DurableMachine,
    Simulation,
    at,
    crash_everywhere,
    run_scenario,
    sim_test,
)

REFUND = Refund(order="o-1", cents=1200)
APPROVED = at("2 days", Approval(approved=True), id="decision")


async def test_an_approved_refund_is_paid(sim: Simulation) -> None:
    """Two days pass in a moment; the bank is the only thing that is not real."""
    bank = sim.effect(transfer, returns="t-1")
    instance = await sim.start(refund, REFUND, id="r-1")
    await sim.advance("2 days")
    await instance.send_event(Approval(approved=True))
    assert await instance.result() == "t-1"
    assert bank.count == 1


async def test_nobody_decides(sim: Simulation) -> None:
    """Silence for a week is an answer."""
    bank = sim.effect(transfer, returns="t-1")
    instance = await sim.start(refund, REFUND)
    await sim.settle()
    assert await instance.result() == "nobody decided"
    assert bank.calls == []


async def test_the_bank_is_away_twice(sim: Simulation) -> None:
    """The step is tried again, by its policy, on virtual time."""
    bank = sim.effect(transfer, returns="t-1")
    sim.fail_times(transfer, 2, ConnectionError("the bank is away"))
    instance = await sim.start(refund, REFUND)
    await instance.send_event(Approval(approved=True))
    assert await instance.result() == "t-1"
    assert (len(bank.calls), bank.count) == (3, 1)


def test_the_careless_refund_pays_twice() -> None:
    """The mistake is found, and the message says where it is, why it happens and what to write instead."""
    with pytest.raises(DurabilityError) as found:
        crash_everywhere(careless_refund, REFUND, events=[APPROVED], effects={transfer: "t-1"})
    said = str(found.value)
    for part in (
        "transfer was done 2 times for one step",
        "after 'do:pay' was called and before its result is committed",
        'return await step.do("pay", pay_carelessly, event.payload)',
        "no idempotency key",
        "a step is executed at least once (B8)",
        "context.idempotency_key",
        "--sim-replay='crash at runner-1 effect#",
    ):
        assert part in said


def test_the_refund_survives_everything() -> None:
    """The same with the key: every mishap at every boundary, and the money goes out once."""
    crash_everywhere(
        refund,
        REFUND,
        events=[APPROVED],
        effects={transfer: "t-1"},
        check=lambda end: end.effect("transfer").count == 1 and end.result == "t-1",
    )


@sim_test(budget="1s")
async def test_a_withdrawn_refund_is_paid_once_or_never(sim: Simulation) -> None:
    """The customer takes it back while the manager decides: whatever comes first, nothing is paid twice."""
    bank = sim.effect(transfer, returns="t-1")
    instance = await sim.start(refund, REFUND, id="r-1")
    sim.client(instance.send_event, Approval(approved=True), id="decision")
    sim.client(instance.terminate, "withdrawn")
    await sim.settle()
    status = (await instance.status()).status.value
    assert bank.count <= 1
    sim.sometimes("withdrawn before it was paid", status == "terminated" and bank.count == 0)
    sim.sometimes("paid all the same", status == "terminated" and bank.count == 1)


def test_two_managers_decide(sim: Simulation) -> None:
    """A scenario is data; the second decision stays unread, and the run that has ended refuses a third."""
    sim.effect(transfer, returns="t-1")
    run_scenario(
        refund,
        [
            {"create": {"order": "o-1", "cents": 1200}, "id": "r-1"},
            {"expect": {"status": "waiting", "waiting_for": ["wait:decision"]}},
            {"advance": "6 days"},
            {"crash": True},
            {"event": "approval", "payload": {"approved": True}},
            {"event": "approval", "payload": {"approved": False}},
            {"expect": {"status": "complete", "result": "t-1", "transfer": 1}},
            {"event": "approval", "payload": {"approved": True}},
            {"refused": "INSTANCE_TERMINAL"},
        ],
        sim,
    )


class Refunds(DurableMachine):
    """Whatever clients, operators and crashes do, in whatever order: money goes out once in each run, or never."""

    workflow = refund
    params = REFUND
    events = (st.builds(Approval, approved=st.booleans()),)
    effects = {transfer: "t-1"}  # noqa: RUF012  # pytest users write it so

    def invariant(self) -> None:
        """A restart is another run, and its payment another key."""
        assert all(key.endswith("do:pay") for key in self.effect("transfer").keys)
        assert len(self.effect("transfer").calls) >= self.effect("transfer").count


TestRefunds = Refunds.TestCase
TestRefunds.settings = settings(max_examples=10, stateful_step_count=8, deadline=None)
