"""A short campaign, the corpus, and proof that the oracle bites. The long ones are `make sim` and `make mutants`."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepstep.engine.advancer import Advancer
from keepstep.engine.runner import Runner
from keepstep.model.plan import Hold
from keepstep_testing.sim.campaign import Campaign
from keepstep_testing.sim.clock import EPOCH_MS
from keepstep_testing.sim.corpus import Case, read_case, write_case
from keepstep_testing.sim.exhaustive import plain
from keepstep_testing.sim.faults.kinds import KINDS, Fault
from keepstep_testing.sim.faults.plan import OF_WORKLOAD
from keepstep_testing.sim.oracle.rules import RULES
from keepstep_testing.sim.page import page
from keepstep_testing.sim.scenario import Command, Machine, Scenario, drawn
from keepstep_testing.sim.schedule import FAIR_S, PATIENCE_MS, play
from keepstep_testing.sim.shrink import Shrinker, preemptions, recorded

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


def broken(campaign, monkeypatch):
    """The first failure of an engine that starts steps before their boundary is durable."""
    commit = Advancer._commit

    def starts_early(self, execution, boundary):
        commit(self, execution, boundary)
        if isinstance(boundary.end, Hold):
            self._start(execution)

    monkeypatch.setattr(Advancer, "_commit", starts_early)
    return next(each for each in map(campaign.play_seed, range(1, 200)) if each.violation is not None)


def test_a_broken_engine_is_found_made_small_and_kept(campaign, monkeypatch, tmp_path):
    """A step that starts before its boundary is durable is found at once, and shrinks to next to nothing (A7)."""
    result = broken(campaign, monkeypatch)
    shrinker = Shrinker(result, campaign.database)
    small = shrinker.shrink()
    assert shrinker.reproduces
    assert len(small.faults) <= 1
    assert len(preemptions(small.deviations)) <= 1
    path = tmp_path / "case.json"
    write_case(path, Case(str(result.violation), result.violation.rule, small))
    assert play(read_case(path).scenario, campaign.database).violation.rule == result.violation.rule
    monkeypatch.undo()
    assert play(small, campaign.database).violation is None


def test_a_warm_schedule_begins_when_everybody_has_started(campaign):
    """Nothing is picked until then, and everything is checked all the same."""
    cold = play(plain(1), campaign.database, wanted=True)
    warm = play(replace(plain(1), warm=True), campaign.database, wanted=True)
    assert "register:begin" in cold.trace.text()
    assert "register:begin" not in warm.trace.text()
    assert warm.labels["register"] == cold.labels["register"] == 2
    assert warm.chaos_picks < cold.chaos_picks - 15
    assert cold.violation is None
    assert warm.violation is None


def test_nobody_waits_for_a_client_whose_process_has_crashed(campaign):
    """Its other commands will never come, so the schedule ends with what there is."""
    crash = Fault("crash before the answer", 1, 0.5, gate="c1 create:committed#1")
    result = play(replace(plain(1), faults=(crash,)), campaign.database)
    assert [each.gate for each in result.struck] == [crash.gate]
    assert result.picks < 400
    assert result.violation is None


def test_a_long_wait_costs_no_long_fair_phase(campaign):
    """The operator sends what is waited for; a pause is ended likewise."""
    program = [["wait", "s1", "go", 3_600_000], ["do", "s2", {}]]
    commands = (Command(0, "create", "i1", [program]), Command(0, "pause", "i1"))
    scenario = Scenario(1, (Machine(),), (commands, ()), strategy="straight", chaos_picks=60)
    result = play(scenario, campaign.database)
    assert result.violation is None
    assert result.labels["send event"] == result.labels["resume"] == 1
    assert result.transitions["active", "complete"] == 1
    assert result.picks < 150


def test_a_fair_phase_in_which_nothing_moves_ends_soon(campaign, monkeypatch):
    """Progress is judged after two minutes of nothing, not at the end of the longest fair phase (38)."""

    async def looks_at_nothing(self):
        return None

    monkeypatch.setattr(Runner, "look", looks_at_nothing)
    violation = play(replace(plain(1), chaos_picks=20), campaign.database).violation
    assert violation.rule == "38"
    at_ms = int(violation.text.partition(" at ")[2].partition(";")[0]) - EPOCH_MS
    assert PATIENCE_MS < at_ms < FAIR_S * 1_000 / 2


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


def test_shrinking_ends_with_its_budget_and_has_what_it_found(campaign, monkeypatch):
    """Without any time only the record is played; it is exact, and says what struck and what was followed."""
    result = broken(campaign, monkeypatch)
    shrinker = Shrinker(result, campaign.database, budget_s=0)
    assert shrinker.shrink() == recorded(result)
    assert (shrinker.reproduces, shrinker.runs) == (True, 1)
    digests = {play(each, campaign.database).digest for each in (result.scenario, shrinker.best)}
    assert len(digests) == 1


def test_shrinking_plays_nothing_twice(campaign, monkeypatch):
    """What did not fail once is not tried again in a later round."""
    played = []
    monkeypatch.setattr(
        Shrinker, "play", lambda self, each, play=Shrinker.play: played.append(each) or play(self, each)
    )
    Shrinker(broken(campaign, monkeypatch), campaign.database).shrink()
    passed = [each for each in played if each != played[0]]
    assert len(passed) == len({repr(each) for each in passed})


def test_a_record_is_made_of_what_was_followed(campaign, monkeypatch):
    """Departures and faults that a smaller scenario does not come to are gone without a play."""
    result = broken(campaign, monkeypatch)
    never = {"nobody nothing#1": ["clock advance#0"]}
    fault = Fault("crash", 1, 0.0, "nobody nothing#1")
    longer = replace(
        recorded(result),
        deviations={**recorded(result).deviations, **never},
        faults=(*recorded(result).faults, fault),
    )
    assert preemptions(never) == [("nobody nothing#1", "clock advance#0")]
    again = play(longer, campaign.database)
    assert recorded(again).deviations == recorded(result).deviations
    assert recorded(again).faults == recorded(result).faults
