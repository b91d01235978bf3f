"""Very many events to one run: what they cost is counted, not timed (D4, defect 17)."""

import pytest

from keepstep import WorkflowEvent, WorkflowStep, workflow
from keepstep.store import tables

MANY = """INSERT INTO keepstep_event (run_id, type, payload, accepted_at)
WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count})
SELECT run_id, type, CAST(n AS TEXT), accepted_at FROM keepstep_event, series"""


@workflow(name="sink")
async def sink(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Take so many events, and tell the last."""
    last = 0
    for _ in range(event.payload):
        last = (await step.wait_for_event("drop", "drop", timeout=None)).payload
    return last


@pytest.mark.parametrize("count", [500, 10_000])
def test_a_storm_of_events_is_read_once_and_written_in_groups(virtually, count):
    """D4, B1, defect 17: ten thousand events to one run are loaded by one read and taken in their order, without one more look."""

    async def main(fleet):
        sender = fleet.node(sink)
        instance = await sender.workflows.sink.create("sink", params=count + 1)
        await instance.send_event("drop", 0)
        fleet.execute(MANY.format(count=count))
        node = await fleet.started(sink)
        assert await instance.result() == count
        assert node.tap.labels["load"] == 1
        assert node.tap.labels["reread"] == 0
        assert node.tap.labels["commit"] <= 3 + count // 500
        taken = [row.consumed_by for row in fleet.rows(tables.event)]
        assert taken == ["wait:drop", *(f"wait:drop#{number}" for number in range(2, count + 2))]

    virtually(main)
