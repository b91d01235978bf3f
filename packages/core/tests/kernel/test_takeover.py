"""A run that kills its runners is stopped, and says so (B7)."""

import pytest

from keepstep.kernel.takeover import crash_loop
from keepstep.model.plan import Finish
from keepstep.model.recorded import read_error
from keepstep.model.status import Status
from tests.support.rows import task_row


@pytest.mark.parametrize("takeovers", [0, 1, 4])
def test_a_few_lost_leases_are_no_crash_loop(takeovers):
    """Machines die: below the limit the run goes on (B7)."""
    assert crash_loop(task_row(takeovers=takeovers), limit=5) is None


@pytest.mark.parametrize("takeovers", [5, 6])
def test_a_run_that_never_gets_on_is_errored(takeovers):
    """At the limit the run ends with the count in its error (B7)."""
    finish = crash_loop(task_row(takeovers=takeovers), limit=5)
    assert isinstance(finish, Finish)
    assert (finish.status, finish.output) == (Status.ERRORED, None)
    assert finish.error is not None
    error = read_error(finish.error)
    assert (error.name, error.code, error.step_key) == ("RunnerCrashLoopError", "RUNNER_CRASH_LOOP", None)
    assert f"expired {takeovers} times in a row" in error.message
