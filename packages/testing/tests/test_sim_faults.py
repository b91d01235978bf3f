"""Faults that change the whole world, and the campaign's own promise: each does what it says, and none is left out."""

from dataclasses import replace

import pytest

from keepstep.errors import StoreConflictError, StoreUnavailableError
from keepstep_testing.sim.campaign import ENOUGH, Campaign
from keepstep_testing.sim.exhaustive import plain
from keepstep_testing.sim.faults.kinds import KINDS, Fault, refusal_of
from keepstep_testing.sim.faults.plan import OF_WORKLOAD
from keepstep_testing.sim.scenario import Command
from keepstep_testing.sim.schedule import play


@pytest.fixture(scope="module")
def database():
    """One database for the whole file."""
    return Campaign().database


def struck(database, kind, nth=6, seconds=None, machines=2):
    """The plain scenario, struck once."""
    fault = Fault(kind, nth, KINDS[kind].seconds[-1] if seconds is None else seconds)
    result = play(replace(plain(1, machines), faults=(fault,)), database, wanted=True)
    assert [each.kind for each in result.struck] == [kind]
    return result


def test_a_power_failure_loses_what_was_acknowledged(database):
    """The run's create was answered and is gone with the last commits; nothing else is broken by that."""
    result = struck(database, "power failure", nth=10, seconds=12.0)
    assert result.violation is None
    assert result.history == ""


def test_what_begins_after_a_power_failure_is_held_to_every_rule(database):
    """A second create of the same id, after the loss, is a first one."""
    scenario = plain(1)
    again = (*scenario.clients[0], replace(scenario.clients[0][0], after_ms=60_000))
    fault = Fault("power failure", 10, 12.0)
    result = play(replace(scenario, clients=(again, ()), faults=(fault,)), database)
    assert result.violation is None
    assert result.history.startswith("i1/1 complete")


def test_a_torn_migration_is_refused_until_it_is_mended(database):
    """Machines that start meanwhile say so, write nothing, and go on afterwards."""
    result = struck(database, "torn migration", seconds=8.0)
    assert result.fired["schema refused"] > 0
    assert result.violation is None
    assert result.history.startswith("i1/1 complete")
    assert struck(database, "conflict", nth=1).fired["schema refused"] == 0


def test_code_that_contradicts_its_records_rests_and_goes_on_when_it_fits(database):
    """Each replay tosses a coin: some toss contradicts a record, and the run completes once the coin is honest (E10)."""
    program = [["coin", "s1"], ["sleep", "s2", 1_000], ["coin", "s3"], ["do", "s4", {}]]
    base = plain(1)
    create = Command(0, "create", "i1", [program])
    flips = 0
    for seed in range(1, 12):
        machines = tuple(replace(each, cache=0) for each in base.machines)
        result = play(replace(base, seed=seed, machines=machines, clients=((create,), ())), database)
        assert result.violation is None
        assert result.history.startswith("i1/1 complete")
        flips += result.fired["contradicting code"]
    assert flips > 0


@pytest.mark.parametrize(
    ("sqlstate", "error"),
    [("40001", StoreConflictError), ("40P01", StoreConflictError), ("53300", StoreUnavailableError)],
)
def test_a_servers_refusals_are_what_the_store_makes_of_them(sqlstate, error):
    """By SQLSTATE, as from a driver."""
    assert isinstance(refusal_of(sqlstate, "refused"), error)


def test_a_long_campaign_in_which_a_kind_never_struck_has_failed():
    """However clean its schedules were; a short one has not."""
    campaign = Campaign()
    campaign.fired.update([*KINDS, *OF_WORKLOAD])
    campaign.played = ENOUGH
    assert not campaign.failed
    del campaign.fired["power failure"]
    assert campaign.failed
    assert "never struck: power failure" in campaign.report(1.0)
    campaign.played = ENOUGH - 1
    assert not campaign.failed
