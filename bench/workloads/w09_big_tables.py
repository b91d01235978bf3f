"""W9: claims, the first page of a list and a history, with a million waiting runs in the tables, against few.

A claim is not in the public API: the engine's own script is timed, on a store of its own.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

from bench.databases import execute
from bench.workload import Bed, Figure, Sample, Workload, percentile
from keepstep import Status, WorkflowEvent, WorkflowStep, workflow
from keepstep.engine.seams import SystemClock
from keepstep.model.records import RunnerRecord
from keepstep.store.api import Store
from keepstep.store.claims import CLAIM_MODE, claim, register_runner
from keepstep.store.postgres import PostgresStore
from keepstep.store.sqlite import SqliteStore

WAITING, DUE = 1_000_000, 100_000
CLAIM, CLAIMS, LOOKS = 100, 15, 40
STEPS = 50
RUNNER, LEASE_MS = 7, 3_600_000
YEAR_MS = 365 * 86_400_000


async def small(number: int) -> int:
    """A step of the run whose history is read."""
    return number


@workflow(name="bench-big")
async def big(event: WorkflowEvent[int], step: WorkflowStep) -> None:
    """A run with a history."""
    for number in range(event.payload):
        await step.do("small", small, number)


async def measure(bed: Bed) -> list[Sample]:
    """The same looks into nearly empty tables, then into full ones."""
    async with bed.app(big).running() as app:
        await (await app.binding(big).create(id="history", params=STEPS)).result()
    store = SqliteStore(bed.url, clock=SystemClock()) if bed.dialect == "sqlite" else PostgresStore(bed.url)
    await store.open()
    await store.transaction("register", register_runner(RunnerRecord(RUNNER, 1, 0, "bench", 0, 0), LEASE_MS))
    fill(bed.url, first=1, count=CLAIM * (CLAIMS + 1), waiting=False)
    few = await looks(bed, store)
    fill(bed.url, first=10_000_000, count=bed.size(WAITING, 2_000), waiting=True)
    fill(bed.url, first=20_000_000, count=bed.size(DUE, 2_000), waiting=False)
    if bed.dialect == "postgresql":
        vacuum(bed.url)
    full = await looks(bed, store)
    await store.close()
    return [
        {f"W9 {what}, full / empty": full[what] / few[what] for what in few}
        | {"W9 claim of 100, full tables": full["claim"]}
    ]


def fill(url: str, *, first: int, count: int, waiting: bool) -> None:
    """Insert runs by SQL: waiting for an event for a year, or due since an hour."""
    now = SystemClock().now_ms()
    run_at = now + YEAR_MS if waiting else now - 3_600_000
    status = Status.WAITING if waiting else Status.ACTIVE
    series = (
        "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < "
        f"{count}) SELECT {first} + n, "
    )
    runs = (
        "INSERT INTO keepstep_run (id, workflow, instance_id, run_number, latest, workflow_version, status, version, "
        f"pause_requested, created_at, started_at, updated_at, params) {series} 'bench-big', 'i-' || ({first} + n), 1, "
        f"true, 1, '{status}', 1, false, {now} - n, {now}, {now}, '1' FROM series"
    )
    tasks = (
        "INSERT INTO keepstep_task (run_id, workflow, priority, run_at, fence, wake_seq, takeovers, seen_seq) "
        f"{series} 'bench-big', {0 if waiting else 1}, {run_at} + n, 0, 0, 0, 0 FROM series"
    )
    statements = [runs, tasks]
    if waiting:
        statements.append(
            "INSERT INTO keepstep_run_step (run_id, key, status, attempt, started_at, due_at, event_type) "
            f"{series} 'wait:approval', 'waiting', 0, {now}, {run_at}, 'approval' FROM series"
        )
    if url.startswith("sqlite"):
        statements.insert(0, "PRAGMA synchronous = OFF")
    execute(url, *statements)


def vacuum(url: str) -> None:
    """Do what autovacuum does soon after a load."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


async def looks(bed: Bed, store: Store) -> dict[str, float]:
    """Milliseconds of each kind of look, medians."""
    app = bed.app(big, dispatcher=None)
    binding = app.binding(big)
    history = binding.instance("history")

    async def claim_some() -> None:
        script = claim(store.dialect, RUNNER, 1, CLAIM, [big.name])
        claimed = (await store.transaction("claim", script, CLAIM_MODE[store.dialect])).claimed
        if len(claimed) != CLAIM:
            raise RuntimeError(f"{len(claimed)} runs were claimed, not {CLAIM}")

    found = {
        "claim": await median_ms(claim_some, CLAIMS),
        "first page": await median_ms(binding.list, LOOKS),
        "first page of a status": await median_ms(lambda: binding.list(status=Status.ACTIVE), LOOKS),
        "history": await median_ms(history.history, LOOKS),
    }
    await app.stop()
    return found


async def median_ms(look: Callable[[], Awaitable[Any]], times: int) -> float:
    """The median time of a look, after one that warms up."""
    await look()
    took: list[float] = []
    for _ in range(times):
        started = time.perf_counter()
        await look()
        took.append((time.perf_counter() - started) * 1000)
    return percentile(took, 0.5)


WORKLOAD = Workload(
    name="W9",
    title="a million waiting and 100,000 due runs in the tables, against few",
    figures=(
        Figure("W9 claim, full / empty", "×", "lower"),
        Figure("W9 first page, full / empty", "×", "lower"),
        Figure("W9 first page of a status, full / empty", "×", "lower"),
        Figure("W9 history, full / empty", "×", "lower"),
        Figure("W9 claim of 100, full tables", "ms", "lower"),
    ),
    measure=measure,
    timeout_s=300,
)
