"""The table of states: complete, true to the rules, drawn on the page that readers see."""

import runpy
import warnings

import pytest

from keepstep.kernel import transitions
from keepstep.kernel.transitions import MEANINGS, TABLE, Refuse, Stay, To, Trigger, decide, markdown
from keepstep.model.status import TERMINAL, Status
from tests.support.sources import ROOT

LIVE = [status for status in Status if status not in TERMINAL]
OPERATIONS = {
    Trigger.PAUSE_REQUESTED,
    Trigger.RESUME,
    Trigger.EVENT,
    Trigger.CANCEL_REQUESTED,
    Trigger.TERMINATE,
    Trigger.RESTART,
    Trigger.RETRY_FAILED_STEP,
}
RUNNERS = set(Trigger) - OPERATIONS


def test_every_status_and_trigger_is_decided():
    """The table has no hole (E1)."""
    assert set(TABLE) == {(status, trigger) for status in Status for trigger in Trigger}
    assert set(MEANINGS) == set(Trigger)


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_terminal_status_is_left_only_by_a_retry(status):
    """Terminal states absorb (E7, invariant 10); an errored run may be re-opened at its failed step (E6)."""
    left = {trigger for trigger in Trigger if isinstance(decide(status, trigger), To)}
    assert left == ({Trigger.RETRY_FAILED_STEP} if status is Status.ERRORED else set())


@pytest.mark.parametrize("status", [Status.PAUSED, *sorted(TERMINAL)])
@pytest.mark.parametrize("trigger", sorted(RUNNERS))
def test_a_runner_moves_nothing_that_it_cannot_hold(status, trigger):
    """Paused and terminal runs refuse whatever a runner brings (B2, E7)."""
    assert decide(status, trigger) == Refuse("LEASE_LOST")


@pytest.mark.parametrize("status", sorted(TERMINAL))
@pytest.mark.parametrize(
    "trigger", [Trigger.PAUSE_REQUESTED, Trigger.EVENT, Trigger.CANCEL_REQUESTED, Trigger.TERMINATE]
)
def test_operations_on_an_ended_run_are_refused(status, trigger):
    """Pause, event, cancel and terminate need a live instance (D7, E3, E5)."""
    assert decide(status, trigger) == Refuse("INSTANCE_TERMINAL")


@pytest.mark.parametrize("status", LIVE)
def test_terminate_ends_every_live_run(status):
    """Terminate works in every live status (E5)."""
    assert decide(status, Trigger.TERMINATE) == To(Status.TERMINATED)


def test_resume_moves_only_a_paused_run():
    """Resume is a no-op in every other status (E4)."""
    moved = {status: decide(status, Trigger.RESUME) for status in Status if status is not Status.PAUSED}
    assert set(moved.values()) == {Stay()}
    assert decide(Status.PAUSED, Trigger.RESUME) == To(Status.ACTIVE)


def test_every_status_can_be_reached():
    """No status is there for nothing."""
    reached = {decision.status for decision in TABLE.values() if isinstance(decision, To)}
    assert reached == set(Status)


def test_a_status_may_be_a_plain_string():
    """Rows carry strings."""
    assert decide("waiting", Trigger.CLAIM) == To(Status.ACTIVE)


def test_the_page_of_states_is_the_table():
    """docs/reference/states.md is what `python -m keepstep.kernel.transitions` prints now."""
    assert (ROOT / "docs/reference/states.md").read_text() == markdown()


def test_the_module_prints_the_page(capsys):
    """The page is made by running the module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it is imported already, and run once more
        runpy.run_module(transitions.__name__, run_name="__main__")
    assert capsys.readouterr().out == markdown()
