"""A recorded run without a database, and the time that its replay takes (W8, W10)."""

from __future__ import annotations

import time
from typing import NamedTuple

from keepstep import Limits, WorkflowEvent, WorkflowStep, workflow
from keepstep.loop.body import Body
from keepstep.model.records import RunRecord, StepRecord
from keepstep.model.status import Status, StepStatus

STARTED_AT = 1_790_000_000_000
LIMITS = Limits(steps_max=1_000_000)
REPLAYS = 5


async def number_of(number: int) -> dict[str, int]:
    """Never called: its results are recorded."""
    return {"number": number}


@workflow(name="bench-recorded")
async def recorded(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """As many steps as the params say, each result used."""
    total = 0
    for number in range(event.payload):
        total += (await step.do("number", number_of, number))["number"]
    return total


class Recorded(NamedTuple):
    """A run and its step rows."""

    run: RunRecord
    steps: list[StepRecord]


def recorded_run(count: int) -> Recorded:
    """What is in the database after a run of ``count`` steps."""
    run = RunRecord(
        id=1,
        workflow=recorded.name,
        instance_id="bench",
        run_number=1,
        latest=True,
        workflow_version=1,
        status=Status.ACTIVE.value,
        version=1,
        pause_requested=False,
        cancel_reason=None,
        created_at=STARTED_AT,
        started_at=STARTED_AT,
        updated_at=STARTED_AT,
        completed_at=None,
        params=str(count),
        output=None,
        error=None,
    )
    return Recorded(run, [_resolved(number) for number in range(count)])


def replay_ms(case: Recorded) -> float:
    """Milliseconds of one replay: the best of several, as a pause of the machine is no cost of ours."""
    return min(_replay_ms(case) for _ in range(REPLAYS))


def _replay_ms(case: Recorded) -> float:
    started = time.perf_counter()
    body = Body(recorded, case.run, case.steps, LIMITS)
    activation = body.start()
    took = (time.perf_counter() - started) * 1000
    if activation.outcome is None:
        raise RuntimeError(f"the replay stopped at {list(body.commands)}, not at the end")
    body.close()
    return took


def _resolved(number: int) -> StepRecord:
    return StepRecord(
        run_id=1,
        key="do:number" if number == 0 else f"do:number#{number + 1}",
        seq=number + 1,
        status=StepStatus.COMPLETED.value,
        attempt=1,
        started_at=STARTED_AT + number,
        at=STARTED_AT + number,
        due_at=None,
        event_type=None,
        result=f'{{"number":{number}}}',
        error=None,
    )
