"""A short campaign, the corpus, and proof that the oracle bites. The long ones are `make sim` and `make mutants`."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepstep.engine.advancer import Advancer
from keepstep.model.plan import Hold
from keepstep_testing.sim.campaign import Campaign
from keepstep_testing.sim.corpus import Case, read_case, write_case
from keepstep_testing.sim.faults.kinds import KINDS
from keepstep_testing.sim.faults.plan import OF_WORKLOAD
from keepstep_testing.sim.oracle.rules import RULES
from keepstep_testing.sim.page import page
from keepstep_testing.sim.scenario import drawn
from keepstep_testing.sim.schedule import play
from keepstep_testing.sim.shrink import Shrinker

CORPUS = sorted((Path(__file__).parent / "sim_corpus").glob("*.json"))


@pytest.fixture(scope="module")
def campaign():
    """One database for the whole file."""
    return Campaign()


def test_a_short_campaign_finds_nothing(campaign):
    """No invariant breaks, and the first seeds run twice alike."""
    for seed in range(1, 61):
        campaign.play_seed(seed)
    assert not campaign.unequal
    assert [str(each.violation) for each in campaign.failures] == []
    assert "60 schedules" in campaign.report(1.0)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_was_found_once_stays_mended(path, campaign):
    """Each failure of the corpus passes now."""
    case = read_case(path)
    assert play(case.scenario, campaign.database).violation is None, case.found


class FromHypothesis:
    """Draws a scenario's parameters from Hypothesis."""

    def __init__(self, data):
        self._data = data

    def integer(self, low, high):
        """An integer, both ends included."""
        return self._data.draw(st.integers(low, high))

    def pick(self, among):
        """One of some values."""
        return self._data.draw(st.sampled_from(list(among)))


@settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
@given(data=st.data())
def test_hypothesis_draws_scenarios_too(data, campaign):
    """Workload, fault plan and strategy come from Hypothesis; single choices do not."""
    scenario = drawn(7, FromHypothesis(data))
    assert play(scenario, campaign.database).violation is None


def test_a_broken_engine_is_found_made_small_and_kept(campaign, monkeypatch, tmp_path):
    """A step that starts before its boundary is durable is found at once, and shrinks to next to nothing (A7)."""
    commit = Advancer._commit

    def starts_early(self, execution, boundary):
        commit(self, execution, boundary)
        if isinstance(boundary.end, Hold):
            self._start(execution)

    monkeypatch.setattr(Advancer, "_commit", starts_early)
    result = next(each for each in map(campaign.play_seed, range(1, 200)) if each.violation is not None)
    shrinker = Shrinker(result, campaign.database)
    small = shrinker.shrink()
    assert shrinker.reproduces
    assert len(small.faults) <= 1
    path = tmp_path / "case.json"
    write_case(path, Case(str(result.violation), result.violation.rule, small))
    assert play(read_case(path).scenario, campaign.database).violation.rule == result.violation.rule
    monkeypatch.undo()
    assert play(small, campaign.database).violation is None


def test_what_is_promised_is_there():
    """At least 30 kinds of faults of the list, and 35 invariants, each with a sentence."""
    numbers = {kind.number for kind in KINDS.values()} | {number for number, _ in OF_WORKLOAD.values()}
    assert len(numbers - {"–"}) >= 30
    assert len(RULES) >= 35
    assert all(rule.title for rule in RULES.values())


def test_the_page_of_the_simulation_is_its_registers():
    """docs/reference/simulation.md is generated and up to date."""
    written = Path(__file__).parents[3] / "docs/reference/simulation.md"
    assert written.read_text(encoding="utf-8") == page(), (
        "python -m keepstep_testing.sim.page > docs/reference/simulation.md"
    )


def test_draws_are_the_seeds_alone():
    """The same seed draws the same scenario."""
    assert drawn(11) == drawn(11)
    assert drawn(11) != drawn(12)
