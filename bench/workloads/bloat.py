"""PostgreSQL after a million transitions: how much the tables grew, with and without a foreign transaction held open.

Each run is created, takes ten steps, parks in a short sleep, is claimed again and ends: 14 transitions.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator

import psycopg

from bench.databases import execute
from bench.watch import Countdown, create_all, none_is
from bench.workload import Bed, Figure, Sample, Workload
from keepstep import Status, WorkflowEvent, WorkflowStep, workflow

STEPS = 10
TRANSITIONS, PER_RUN = 1_000_000, 14
PARTS = 10
ARRIVED = Countdown()
HOT = ("keepstep_task", "keepstep_run", "keepstep_runner")


async def add(total: int, number: int) -> int:
    """A step that costs nothing itself."""
    return total + number


@workflow(name="bench-bloat")
async def churn(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Steps, a suspension, an end."""
    total = event.payload
    for number in range(STEPS):
        total = await step.do("add", add, total, number)
    await step.sleep("soon", "20 ms")
    ARRIVED.one()
    return total


async def measure(bed: Bed) -> list[Sample]:
    """A million transitions with nobody else, a million beside an open snapshot: the tables begin empty each time."""
    if execute(bed.url, "SHOW autovacuum") != [("on",)]:
        raise RuntimeError("this server vacuums nothing by itself: set KEEPSTEP_TEST_POSTGRES=private")
    alone = await churned(bed, "alone")
    execute(bed.url, "TRUNCATE keepstep_task, keepstep_run, keepstep_run_step")
    with open_snapshot(bed.url):
        beside = await churned(bed, "beside an open transaction")
    return [alone | beside]


async def churned(bed: Bed, how: str) -> Sample:
    """A million transitions, then the sizes; the first tenth's pace against the last one's."""
    count = bed.size(TRANSITIONS // PER_RUN // PARTS, 20)
    paces: list[float] = []
    async with bed.app(churn).running() as app:
        binding = app.binding(churn)
        for _ in range(PARTS):
            ARRIVED.expect(count)
            started = time.perf_counter()
            await create_all(binding, count)
            await ARRIVED.done()
            await none_is(binding, Status.ACTIVE)
            paces.append(count * PER_RUN / (time.perf_counter() - started))
    sample = {f"bloat transitions/s, {how}": PARTS / sum(1 / pace for pace in paces)}
    sample[f"bloat last tenth / first tenth, {how}"] = paces[-1] / paces[0]
    for table in HOT:
        (((size,),)) = execute(bed.url, f"SELECT pg_total_relation_size('{table}') / 1048576.0")
        sample[f"bloat {table}, {how}"] = float(size)
    return sample


@contextlib.contextmanager
def open_snapshot(url: str) -> Generator[None]:
    """A transaction of somebody else's that has read something and stays open: nothing newer may be vacuumed."""
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT count(*) FROM keepstep_run")
        yield
        connection.rollback()


WORKLOAD = Workload(
    name="bloat",
    title="PostgreSQL after a million transitions",
    figures=tuple(
        figure
        for how in ("alone", "beside an open transaction")
        for figure in (
            Figure(f"bloat transitions/s, {how}", "1/s", "higher"),
            Figure(f"bloat last tenth / first tenth, {how}", "×", "higher"),
            *(Figure(f"bloat {table}, {how}", "MiB", "lower") for table in HOT),
        )
    ),
    measure=measure,
    databases=("postgresql",),
    by_default=False,
    timeout_s=900,
)
