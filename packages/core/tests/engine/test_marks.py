"""Marks: looks that begin behind what was claimed, while a foreign snapshot keeps dead entries alive (B2)."""

from keepstep import WorkflowEvent, WorkflowStep, workflow
from keepstep.engine.marks import SLACK_MS, SLOW_S, WHOLE_LOOK_S, Marks
from keepstep.model.status import Priority
from keepstep.store import tables
from keepstep.store.claims import Claimed
from tests.support.rows import NOW, run_row, task_row


class Time:
    """Seconds that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        """What the test set."""
        return self.now


def claimed(run_at, priority=Priority.NEW):
    """A claimed task that fell due then."""
    return Claimed(task_row(run_at=run_at, priority=priority), run_row())


def test_looks_take_in_everything_unless_they_are_slow():
    """B2: marks are a remedy, not the rule."""
    marks = Marks(True, Time())
    marks.took([claimed(NOW)])
    assert marks.since() is None
    marks.looked(SLOW_S)
    assert (marks.since(), marks.whole_look_in) == (None, None)


def test_slow_looks_begin_at_the_last_claimed_and_take_in_everything_now_and_then():
    """B2: of each queue, with some slack; whatever stands before waits for seconds only."""
    time = Time()
    marks = Marks(True, time)
    marks.looked(2 * SLOW_S)
    marks.took([claimed(NOW), claimed(NOW + 7), claimed(NOW + 3), claimed(5, Priority.RESUME)])
    assert marks.since() == {
        ("order", Priority.NEW): NOW + 7 - SLACK_MS,
        ("order", Priority.RESUME): 5 - SLACK_MS,
    }
    time.now = WHOLE_LOOK_S - 0.5
    assert marks.whole_look_in == 0.5
    time.now = WHOLE_LOOK_S
    assert (marks.since(), marks.whole_look_in) == (None, 0)
    marks.looked(SLOW_S / 2)
    assert (marks.since(), marks.whole_look_in) == (None, None)


def test_tasks_that_are_freed_are_looked_for_at_once():
    """B2: a rescue brings back old tasks."""
    marks = Marks(True, Time())
    marks.looked(2 * SLOW_S)
    assert marks.since() is not None
    marks.forget()
    assert marks.since() is None


def test_a_database_without_dead_entries_has_no_marks():
    """SQLite removes an entry with its row."""
    marks = Marks(False, Time())
    marks.looked(9)
    assert (marks.since(), marks.whole_look_in) == (None, None)


@workflow(name="brief")
async def brief(event: WorkflowEvent[None], step: WorkflowStep) -> None:
    """End at once."""


async def test_what_comes_to_stand_before_a_mark_is_found_by_the_next_whole_look(still, clock):
    """B2: a run that fell due long ago, and was committed only now, waits for seconds, on PostgreSQL."""
    node = await still.started(brief, dispatch=False)
    creator = still.node(brief)
    await creator.workflows.brief.create("late")
    (late,) = still.rows(tables.task)
    marks = node.runner.intake.marks
    marks.looked(2 * SLOW_S)
    marks.took(
        [
            Claimed(
                task_row(workflow="brief", run_at=late.run_at + 2 * SLACK_MS, priority=Priority.NEW),
                run_row(),
            )
        ]
    )
    pause = await node.runner.look()
    served = node.tap.dialect == "postgresql"
    if served:
        assert [row.owner for row in still.rows(tables.task)] == [None]
        assert 0 < pause <= WHOLE_LOOK_S
    clock.advance(WHOLE_LOOK_S)
    await node.runner.look()
    await still.until(lambda: not still.rows(tables.task))
