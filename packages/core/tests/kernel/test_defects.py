"""Defects seen in systems of this kind, as decisions that must not be made again (semantics, end)."""

import pytest

from keepstep.errors import LeaseLostError
from keepstep.kernel.boundary import open_rows, plan_end
from keepstep.kernel.lifecycle import plan_event, plan_pause, plan_resume, plan_terminate
from keepstep.kernel.settle import next_fact
from keepstep.model.commands import Returned
from keepstep.model.facts import Fired, TimedOut
from keepstep.model.plan import Park, Pause, Steering
from keepstep.model.status import TERMINAL, Status
from tests.support.rows import NOW, RUN_ID, RUNNER_ID, event_row, run_row, task_row, timer, wait


def end(run, outcome=None, dues=()):
    """Plan a boundary's end when nothing executes and nothing could start."""
    return plan_end(run, outcome, 0, 0, dues, now=NOW, next_run_id=8, optimistic=False, draining=False)


def test_1_a_timer_that_falls_due_while_paused_takes_effect_on_resume():
    """Defect 1: paused at 0, due at 500, resumed at NOW: one tick now, which fires it by its own deadline (E3, E4)."""
    sleeping = run_row(Status.WAITING)
    paused = plan_pause(sleeping, task_row(run_at=500), 0)
    assert paused is not None
    assert paused.run is not None
    assert paused.task is not None
    assert paused.task.run_at is None
    resumed = plan_resume(paused.run, paused.task, NOW)
    assert resumed is not None
    assert resumed.task is not None
    assert resumed.task.run_at == NOW
    assert next_fact({"sleep:a": timer("sleep:a", 500)}, [], NOW, None) == Fired("sleep:a")


def test_2_a_wake_completes_only_what_is_due_and_every_deadline_survives():
    """Defect 2: three deadlines; the wake at the first settles the first, and the next wake is the second (D2)."""
    commands = {
        each.key: each for each in (timer("sleep:a", 300), wait("wait:b", 100), timer("sleep:c", 200))
    }
    assert next_fact(commands, [], 100, None) == TimedOut("wait:b")
    del commands["wait:b"]
    assert next_fact(commands, [], 100, None) is None
    assert {row.key for row in open_rows(RUN_ID, commands.values())} == {"sleep:a", "sleep:c"}
    assert end(run_row(), dues=[each.due_at for each in commands.values()]) == Park(200)


def test_4_an_event_that_comes_while_a_step_runs_is_not_lost():
    """Defect 4: the run is held, so its schedule stays; wake_seq moved, so it cannot park past the event (B6)."""
    held = task_row(owner=RUNNER_ID)
    steering = plan_event(run_row(), held, event_row(0), None, waits=False, now=NOW)
    assert isinstance(steering, Steering)
    assert steering.task is not None
    assert steering.task.wake_seq > held.wake_seq
    assert (steering.task.owner, steering.task.fence) == (held.owner, held.fence)
    assert steering.event is not None


def test_6_a_pass_cannot_overwrite_a_terminate():
    """Defect 6: terminate drops the task and moves the version; a late end is refused where it is planned (E5, E7)."""
    run = run_row()
    steering = plan_terminate(run, task_row(owner=RUNNER_ID), None, NOW)
    assert steering.run is not None
    assert (steering.drop_task, steering.run.version) == (True, run.version + 1)
    for outcome in (Returned("1"), None):
        with pytest.raises(LeaseLostError):
            end(steering.run, outcome)


def test_6_a_pass_cannot_overwrite_a_pause():
    """Defect 6: a pause asked for during a pass moves version and wake_seq, and the next boundary takes it (E3)."""
    task = task_row(owner=RUNNER_ID)
    steering = plan_pause(run_row(), task, NOW)
    assert steering is not None
    assert steering.run is not None
    assert steering.task is not None
    assert (steering.run.version, steering.task.wake_seq) == (6, task.wake_seq + 1)
    assert end(steering.run) == Pause()


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_14_a_late_alarm_after_the_end_changes_nothing(status):
    """Defect 14: whatever a tick on an ended run would bring is refused; resume writes nothing (E7)."""
    with pytest.raises(LeaseLostError):
        end(run_row(status), dues=[1])
    assert plan_resume(run_row(status), None, NOW) is None
