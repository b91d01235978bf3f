"""Boundaries: durable before anything follows, in groups, through outages and lost answers (A7, B1, C5)."""

import asyncio
import itertools
from typing import Any, ClassVar

import pytest
from sqlalchemy import text

from keepstep import Retry, RunnerOptions, StepContext, WorkflowEvent, WorkflowStep, workflow
from keepstep.errors import IntegrityError, StoreConflictError, StoreError, StoreUnavailableError
from keepstep.store import tables

ONE_TRY = Retry(max_attempts=1)


class Outside:
    """What callbacks did."""

    calls: ClassVar[list[str]] = []


@pytest.fixture(autouse=True)
def _reset():
    Outside.calls.clear()


async def note(name: str, context: StepContext) -> str:
    """Leave a trace."""
    Outside.calls.append(f"{context.instance_id} {name} {context.attempt}")
    return name


@workflow(name="walk", retry=ONE_TRY)
async def walk(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Steps in sequence."""
    for number in range(event.payload):
        await step.do(f"s{number}", note, str(number))
    return event.payload


@workflow(name="intent")
async def intent(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """A step with an intent."""
    return await step.do("a", note, "a", journal_intent=True)


async def test_nothing_starts_before_the_boundary_it_depends_on(fleet):
    """A7: while a commit is on its way no callback starts that depends on it."""
    node = await fleet.started(walk)
    reached: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def hold(label):
        if label == "commit":
            go = asyncio.Event()
            reached.put_nowait(go)
            await go.wait()

    node.tap.before = hold
    creating = asyncio.ensure_future(node.workflows.walk.create("i", params=3))
    for steps in range(4):
        go = await reached.get()
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(Outside.calls) == steps
        assert len(fleet.rows(tables.run_step)) == max(0, steps - 1)
        go.set()
    instance = await creating
    assert await instance.result(timeout=10) == 3


async def test_an_intent_is_durable_before_its_callback(lite):
    """A7, B8: the callback does not start before the intent's row is committed."""
    node = await lite.started(intent)
    seen: list[list[str]] = []

    async def look(label):
        if label == "commit" and not Outside.calls:
            seen.append([row.status for row in lite.rows(tables.run_step)])

    node.tap.after = look
    instance = await node.workflows.intent.create("i")
    await instance.result(timeout=10)
    assert seen == [[], ["intent"]]


async def test_runs_share_commits(fleet):
    """B1: many runs at a time make far fewer commits than boundaries, and a group no more statements than a few."""
    node = await fleet.started(walk)
    items = [{"id": f"i{n}", "params": 5} for n in range(100)]
    made = await node.workflows.walk.create_batch(items)
    assert [await each.result(timeout=30) for each in made] == [5] * 100
    boundaries = 100 + 100 * 5
    assert node.tap.labels["commit"] < boundaries / 10
    assert max(node.tap.statements["commit"]) <= 12
    assert len(Outside.calls) == len(set(Outside.calls)) == 500


async def test_a_runs_history_is_loaded_once(lite):
    """Defect 17: a run that is held from its start to its end never reads its history, however long it is."""
    node = await lite.started(walk)
    instance = await node.workflows.walk.create("i", params=60)
    await instance.result(timeout=20)
    assert node.tap.labels["load"] == 0
    assert node.tap.labels["commit"] <= 61


@pytest.mark.parametrize("error", [StoreUnavailableError, StoreConflictError])
@pytest.mark.parametrize("written", [False, True])
def test_an_outage_costs_time_and_nothing_else(virtually, error, written):
    """C5, B1, defects 7 and 9: commits that fail, or whose answer is lost, are made good; no step runs twice."""

    async def main(fleet):
        node = await fleet.started(walk)
        failures = [0]

        async def trouble(label):
            if label == "commit":
                failures[0] += 1
                if failures[0] % 3:
                    raise error("trouble")

        if written:
            if error is StoreConflictError:
                return  # a conflict writes nothing
            node.tap.after = trouble
        else:
            node.tap.before = trouble
        made = [await node.workflows.walk.create(f"i{n}", params=4) for n in range(5)]
        assert [await each.result() for each in made] == [4] * 5
        assert len(Outside.calls) == len(set(Outside.calls)) == 20
        assert fleet.rows(tables.task) == []

    virtually(main)


def test_a_database_that_is_away_for_minutes_ends_no_run(virtually):
    """C5, defects 7 and 9: leases go, runs are taken up again, and all complete."""

    async def main(fleet):
        nodes = [await fleet.started(walk, resting) for _ in range(2)]
        made = [await nodes[n % 2].workflows.resting.create(f"i{n}") for n in range(10)]
        for node in nodes:
            node.tap.down = True
        await fleet.passing(300)
        for node in nodes:
            node.tap.down = False
        assert [await each.result() for each in made] == ["ended"] * 10
        rows = fleet.rows(tables.run)
        assert {row.status for row in rows} == {"complete"}

    virtually(main)


@workflow(name="resting", retry=ONE_TRY)
async def resting(event: WorkflowEvent[None], step: WorkflowStep) -> str:
    """Steps around a sleep."""
    await step.do("a", note, "a")
    await step.sleep("rest", "1 minute")
    await step.do("b", note, "b")
    return "ended"


async def test_killed_connections_end_no_run(postgres_database, fleet_of):
    """C5, defects 7 and 9: backends that are terminated under the engine cost a try, not a run."""
    fleet = fleet_of(postgres_database)
    node = await fleet.started(walk)
    made = [await node.workflows.walk.create(f"i{n}", params=20) for n in range(5)]
    for _ in range(5):
        before = len(Outside.calls)
        fleet.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'keepstep'"
        )
        await fleet.until(lambda before=before: len(Outside.calls) > before or not node.held)
    assert [await each.result(timeout=30) for each in made] == [20] * 5
    assert {row.status for row in fleet.rows(tables.run)} == {"complete"}


@pytest.mark.parametrize("error", [IntegrityError, StoreError, OverflowError])
def test_a_boundary_that_no_database_takes_loses_alone(virtually, error):
    """B3: whatever is wrong with one run's boundary, the others of its group commit, and it is not tried at once."""

    async def main(fleet):
        node = await fleet.started(walk)
        tries = []

        async def refuse(boundaries: Any) -> None:
            if any(each.steps and each.steps[0].key == "do:s1" and each.run_id == bad for each in boundaries):
                tries.append(fleet.clock.now_ms())
                if len(tries) < 30:
                    raise error("refused")

        good = await node.workflows.walk.create("good", params=1)
        await good.result()
        bad = 0
        transaction = node.tap.transaction

        async def looking(label, script, mode="write"):
            if label == "commit":
                found = script.gi_frame.f_locals.get("boundaries", ())
                await refuse(found)
            return await transaction(label, script, mode)

        node.tap.transaction = looking
        creating = [node.workflows.walk.create(name, params=3) for name in ("a", "b", "c")]
        created = asyncio.gather(*creating)
        await fleet.until(lambda: len(fleet.rows(tables.run)) == 4)
        bad = next(row.id for row in fleet.rows(tables.run) if row.instance_id == "b")
        a, b, c = await created
        assert [await each.result() for each in (a, c)] == [3, 3]
        assert await b.result() == 3
        times = sorted({at // 1000 for at in tries})
        assert all(later - sooner >= 55 for sooner, later in itertools.pairwise(times))

    virtually(main)


async def test_creating_is_safe_when_answers_are_lost(lite):
    """E2, C5: an instance whose creation's answer was lost exists once, starts once, and its creator hears so."""
    node = await lite.started(walk)
    lost = [0]

    async def lose(label):
        if label == "commit" and lost[0] < 2:
            lost[0] += 1
            raise StoreUnavailableError("the answer is lost")

    node.tap.after = lose
    instance = await node.workflows.walk.create("i", params=2)
    assert await instance.result(timeout=10) == 2
    assert Outside.calls == ["i 0 1", "i 1 1"]


async def test_a_lost_answer_of_a_claim_strands_nobody(lite):
    """B2, C5: runs that were claimed by a transaction whose answer was lost are given back and claimed again."""
    other = lite.node(walk)
    made = [await other.workflows.walk.create(f"i{n}", params=1) for n in range(3)]
    node = lite.node(walk)
    lost = [0]

    async def lose(label):
        if label == "claim" and not lost[0]:
            lost[0] += 1
            raise StoreUnavailableError("the answer is lost")

    node.tap.after = lose
    await node.start()
    assert [await each.result(timeout=20) for each in made] == [1, 1, 1]
    assert len(Outside.calls) == 3


async def test_a_host_transaction_that_holds_a_run_holds_up_no_other(lite):
    """A4, C5: on SQLite another writer only costs time."""
    node = await lite.started(walk)
    with lite._engine.connect() as connection:
        connection.execute(text("UPDATE keepstep_run SET version = version WHERE id = 0"))
        creating = asyncio.ensure_future(node.workflows.walk.create("i", params=1))
        for _ in range(50):
            await asyncio.sleep(0)
        connection.rollback()
    instance = await creating
    assert await instance.result(timeout=10) == 1


async def test_a_batch_is_written_by_one_commit(fleet):
    """E2: however small groups are, nobody ever sees a part of a batch that a running runner writes."""
    node = await fleet.started(walk, options=RunnerOptions(group_max=2))
    seen = set()

    async def look(label):
        if label == "commit":
            seen.add(sum(row.instance_id.startswith("item") for row in fleet.rows(tables.run)))

    node.tap.after = look
    create = node.workflows.walk.create
    items = [{"id": f"item-{number}", "params": 1} for number in range(9)]
    await asyncio.gather(
        create("before", params=1), node.workflows.walk.create_batch(items), create("after", params=1)
    )
    assert seen <= {0, 9}
    again = await node.workflows.walk.create_batch([*items, {"id": "new", "params": 1}])
    assert [each.id for each in again] == ["new"]
    await fleet.until(lambda: not fleet.rows(tables.task))


REFUSE = {
    "sqlite": "CREATE TRIGGER refuse BEFORE INSERT ON keepstep_run WHEN NEW.instance_id = 'bad' "
    "BEGIN SELECT RAISE(ABORT, 'refused'); END",
    "postgresql": "ALTER TABLE keepstep_run ADD CHECK (instance_id <> 'bad')",
}


async def test_a_batch_that_the_database_refuses_leaves_nothing_behind(fleet):
    """E2: one item that cannot be written refuses its whole batch, and nothing else of the group it was in."""
    node = await fleet.started(walk)
    fleet.execute(REFUSE[fleet.url.partition(":")[0]])
    kind = node.workflows.walk
    answers = await asyncio.gather(
        kind.create("before", params=0),
        kind.create_batch([{"id": name, "params": 0} for name in ("a", "bad", "b")]),
        kind.create("after", params=0),
        return_exceptions=True,
    )
    assert isinstance(answers[1], StoreError)
    assert sorted(row.instance_id for row in fleet.rows(tables.run)) == ["after", "before"]
