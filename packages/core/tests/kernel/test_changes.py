"""What is told of an operation from outside: the status that it brings, as far as somebody has asked for it (F3)."""

import pytest

from keepstep.kernel.changes import tell_steering
from keepstep.model.change import ChangeKind
from keepstep.model.plan import Steering
from keepstep.model.status import Status
from tests.support.rows import NOW, RUN_ID, run_row

EVERY = frozenset(ChangeKind)


def steered(run, after):
    """An operation that leaves the run so."""
    return Steering(run_id=RUN_ID, expect_version=run.version, run=after, task=None)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (Status.ACTIVE, Status.TERMINATED, ChangeKind.TERMINATED),
        (Status.WAITING, Status.PAUSED, ChangeKind.PAUSED),
        (Status.PAUSED, Status.ACTIVE, ChangeKind.RESUMED),
        (Status.ERRORED, Status.ACTIVE, ChangeKind.RESUMED),
    ],
)
def test_a_new_status_is_told(before, after, kind):
    """Under the version and the instant that the operation gives the run; to nobody who has not asked."""
    run = run_row(before)
    plan = steered(run, run._replace(status=after.value, version=6, updated_at=NOW))
    (told,) = tell_steering(EVERY, run, plan).changes
    assert (told.kind, told.version, told.at) == (kind, 6, NOW)
    assert tell_steering(EVERY - {kind}, run, plan) is plan


def test_what_leaves_the_status_as_it_is_tells_nothing():
    """A pause that was only asked for, and an operation that does not touch the run's row."""
    run = run_row()
    for after in (run._replace(pause_requested=True), None):
        plan = steered(run, after)
        assert tell_steering(EVERY, run, plan) is plan
