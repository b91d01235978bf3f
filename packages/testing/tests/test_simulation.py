"""One run on virtual time: what ``sim`` offers, and what it says when a test asks for something that cannot be."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from keepstep import WorkflowFailedError
from keepstep.errors import ResultTimeoutError, UsageError
from keepstep_testing import DurabilityError, Simulation, StuckError
from keepstep_testing.sim.guard import RealWorldError
from tests.support import mistakes


async def test_a_month_passes_in_a_moment(sim: Simulation) -> None:
    """Time moves only when it is asked to, and everything that falls due happens on its way (D1, D4)."""
    sim.tables(mistakes.metadata)
    bank = sim.effect(mistakes.charge, returns="n-1")
    order = await sim.start(mistakes.good, 5, id="o-1")
    await sim.quiet()
    before = sim.now
    assert (await order.status()).status == "waiting"
    await sim.advance("29 days")
    assert sim.now - before == timedelta(days=29)
    assert sim.rows("SELECT what FROM ledger") == []
    await sim.advance("1 day")
    assert sim.rows("SELECT what FROM ledger") == [("n-1",)]
    await order.send_event(mistakes.Go(word="well"))
    assert await order.result() == "well"
    assert (bank.count, bank.calls[0].args, bank.keys) == (1, (5,), ["good/o-1/1/do:take"])


async def test_the_wall_clock_shows_virtual_time(sim: Simulation) -> None:
    """What steps read from ``time`` moves with the simulation."""
    begun = time.time()
    await sim.advance("1 hour")
    assert time.time() - begun == pytest.approx(3600)


async def test_a_crash_repeats_what_is_not_recorded_and_nothing_else(sim: Simulation) -> None:
    """The step before the crash is not executed again (C2)."""
    sim.stub("take", returns="n-1")
    sim.tables(mistakes.metadata)
    order = await sim.start(mistakes.good, 5)
    await sim.quiet()
    sim.crash()
    sim.drain()
    await sim.advance("30 days")
    await order.send_event(mistakes.Go())
    assert await order.result() == "now"
    assert len(sim.effect("take").calls) == 1


async def test_steps_fail_and_hang_as_they_are_told_to(sim: Simulation) -> None:
    """A failed attempt, then one that its timeout ends, then one that works (C4, C6)."""
    sim.effect(mistakes.charge, returns="n-1")
    sim.timeout("take")
    sim.fail_times(mistakes.take_in_thread, 1, ConnectionError("away"))
    order = await sim.start(mistakes.in_thread, 5)
    assert await order.result() == "n-1"
    errors = [each.attempt for each in sim.effect("take").calls]
    assert errors == [1, 2, 3]
    assert sim.at_s > 600


async def test_a_step_that_always_fails_ends_the_instance(sim: Simulation) -> None:
    """With the error that the test gave (C5)."""
    sim.fail("do:take", ValueError("no money"))
    order = await sim.start(mistakes.in_thread, 5)
    with pytest.raises(WorkflowFailedError, match="no money"):
        await order.result()


async def test_methods_and_async_functions_are_stood_in_for(sim: Simulation) -> None:
    """Whoever finds them by name finds the stand-in, and afterwards the function again."""
    paid = sim.effect(mistakes.Bank.pay, returns="p-1")
    sent = sim.effect(mistakes.mail, does=lambda to, text: None)
    order = await sim.start(mistakes.mails)
    assert await order.result() == "p-1"
    assert (paid.count, [each.args for each in sent.calls]) == (1, [("you", "p-1")])


def test_nothing_stands_in_when_it_is_over() -> None:
    """Functions are what they were."""
    before = (mistakes.charge, mistakes.Bank.pay)
    with Simulation() as sim:
        sim.effect(mistakes.charge, returns=1)
        sim.effect(mistakes.Bank.pay, returns=1)
        assert mistakes.charge is not before[0]
    assert (mistakes.charge, mistakes.Bank.pay) == before


def test_a_sync_test_runs_coroutines(sim: Simulation) -> None:
    """One after the other, in one world."""
    sim.stub("take", returns="n-2")
    order = sim.run(sim.start(mistakes.in_thread, 5))
    assert sim.run(order.result()) == "n-2"


def test_waiting_for_what_never_happens_is_told(sim: Simulation) -> None:
    """The message names the instance, what it waits for and what to do."""
    sim.tables(mistakes.metadata)
    sim.stub("take", returns="n-1")
    order = sim.run(sim.start(mistakes.good, 5, id="o-1"))
    with pytest.raises(StuckError, match="waits for an event 'go'") as found:
        sim.run(order.result())
    assert "send the event" in str(found.value)


async def test_a_result_that_is_not_there_in_time(sim: Simulation) -> None:
    """``timeout`` is virtual time, too."""
    sim.tables(mistakes.metadata)
    sim.stub("take", returns="n-1")
    order = await sim.start(mistakes.good, 5)
    with pytest.raises(ResultTimeoutError):
        await order.result(timeout="2 days")
    assert sim.at_s == pytest.approx(2 * 86_400)


def test_a_step_that_leaves_the_simulation_is_told(sim: Simulation) -> None:
    """At the first call, not after all of its retries; with what to write."""
    sim.run(sim.start(mistakes.networked))
    with pytest.raises(RealWorldError, match=r"sim\.stub\('ask', returns=…\)"):
        sim.run(sim.settle())


def test_what_is_never_called_is_told() -> None:
    """A misspelt step does not make a test pass."""
    with pytest.raises(UsageError, match=r"nothing called 'tke'.*'take'"):
        misspelt()


def misspelt() -> None:
    """Stands in for a step that is not there."""
    with Simulation() as sim:
        sim.stub("tke", returns="n-1")
        sim.effect(mistakes.charge, returns="n-1")
        sim.run(_started_and_ended(sim))


async def _started_and_ended(sim: Simulation) -> None:
    await (await sim.start(mistakes.in_thread, 5)).result()


def test_an_effect_that_is_done_twice_is_told_without_an_assertion(sim: Simulation) -> None:
    """Also in a test that only looks at the result."""

    async def work() -> None:
        order = await sim.start(mistakes.in_thread, 5)
        sim.client(crash_in_step)
        await order.result()

    async def crash_in_step() -> None:
        while not sim.effect("charge").calls:
            await sim.enactment.until(lambda: bool(sim.effect("charge").calls))
        sim.crash()

    sim.effect(mistakes.charge, returns="n-1")
    with pytest.raises(DurabilityError, match="charge was done 2 times for one step"):
        sim.run(work)


def test_two_simulations_do_not_share_a_database() -> None:
    """One within the other."""
    with Simulation() as outer:
        outer.stub("take", returns="outer")
        order = outer.run(outer.start(mistakes.in_thread, 1, id="o-1"))
        with Simulation() as inner:
            inner.stub("take", returns="inner")
            other = inner.run(inner.start(mistakes.in_thread, 1, id="o-1"))
            assert inner.run(other.result()) == "inner"
        assert outer.run(order.result()) == "outer"


@pytest.mark.parametrize("wrong", [{"returns": 1, "does": print}])
def test_an_effect_is_answered_in_one_way(wrong: dict[str, object]) -> None:
    """Not in two."""
    with Simulation() as sim, pytest.raises(UsageError, match="returns= or does="):
        sim.effect(mistakes.charge, **wrong)  # pyright: ignore[reportCallIssue, reportArgumentType]
