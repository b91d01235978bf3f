"""Defects seen in systems of this kind (semantics, end), each tried on a whole app. As decisions: kernel/test_defects.py."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from keepstep import (
    App,
    InstanceTerminalError,
    Retry,
    Status,
    StepContext,
    WorkflowEvent,
    WorkflowStep,
    workflow,
)
from keepstep.errors import StoreUnavailableError
from keepstep_testing.conformance.engines import Clock

HOUR = 3_600_000


class World:
    """Apps on one database under one clock; nothing runs by itself."""

    def __init__(self, url):
        self.url = url
        self.clock = Clock()
        self.apps = []

    async def app(self, *bodies):
        """One more app that has these workflows."""
        app = App(self.url, workflows={body.name: body for body in bodies}, dispatcher=None, clock=self.clock)
        await app.migrate()
        self.apps.append(app)
        return app

    async def later(self, app, hours=0):
        """Let time pass and do what is due."""
        self.clock.ms += hours * HOUR
        return await app.run_until_idle()


@pytest.fixture
async def world(database_url):
    """Ticked apps, on each kind of database."""
    world = World(database_url)
    yield world
    for app in world.apps:
        await app.stop()


class Driven:
    """One workflow's app, advanced by a runner or by ticks."""

    def __init__(self, url, ticks):
        self.url, self.ticks = url, ticks

    async def begin(self, body, gate=None):
        """Create an instance; ``gate`` stands around each transaction from then on, as a simulation's would."""
        app = self.app = App(self.url, workflows={"W": body}, **({"dispatcher": None} if self.ticks else {}))
        await app.migrate()
        await app.start()
        app._engine.store._gate = gate
        return await app.workflows.W.create(id="x")

    async def rest(self, instance):
        """Return when it is not active any more; a tick that the database fails is made again, as hosts do."""
        while (await instance.status()).status is Status.ACTIVE:
            if self.ticks:
                with suppress(StoreUnavailableError):
                    await self.app.run_until_idle()
            else:
                await asyncio.sleep(0)
        await self.app.stop()

    def own(self, context):
        """The instance that a step belongs to."""
        return self.app.workflows.W.instance(context.instance_id)


@pytest.fixture(params=["runner", "ticks"])
async def driven(request, database_url):
    """Both ways to advance an instance, on each kind of database."""
    driven = Driven(database_url, request.param == "ticks")
    yield driven
    await driven.app.stop()


def named(result: str) -> str:
    """A step."""
    return result


async def test_1_a_timer_that_fell_due_while_paused_fires_on_resume(world):
    """Defect 1: paused before, resumed after its time: the sleep ends, and nothing happened in between (E3, E4)."""

    @workflow(name="sleeper")
    async def sleeper(event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        await step.sleep("rest", "1 hour")
        return "slept"

    app = await world.app(sleeper)
    instance = await app.workflows.sleeper.create()
    await world.later(app)
    await instance.pause()
    assert await world.later(app, hours=2) == 0
    assert (await instance.status()).status is Status.PAUSED
    await instance.resume()
    assert await world.later(app) == 1
    assert await instance.result(timeout=0) == "slept"


async def test_1_a_retry_that_fell_due_while_paused_follows_on_resume(world):
    """Defect 1: the same for the next attempt of a step (C4, E3)."""

    def second(context: StepContext) -> int:
        if context.attempt == 1:
            raise ConnectionError("closed")
        return context.attempt

    @workflow(name="retried", retry=Retry(delay="1 hour"))
    async def retried(event: WorkflowEvent[Any], step: WorkflowStep) -> int:
        return await step.do("call", second)

    app = await world.app(retried)
    instance = await app.workflows.retried.create()
    await world.later(app)
    await instance.pause()
    await world.later(app, hours=2)
    assert (await instance.status()).status is Status.PAUSED
    await instance.resume()
    await world.later(app)
    assert await instance.result(timeout=0) == 2


async def test_2_a_wake_ends_only_what_is_due(world):
    """Defect 2: two sleeps and a wait at 1, 2 and 3 hours end one by one, each by its own deadline (D2)."""

    @workflow(name="three")
    async def three(event: WorkflowEvent[Any], step: WorkflowStep) -> None:
        await asyncio.gather(
            step.sleep("one", "1 hour"),
            step.sleep("two", "2 hours"),
            step.wait_for_event("three", "never", timeout="3 hours", default=None),
        )

    app = await world.app(three)
    instance = await app.workflows.three.create()
    await world.later(app)
    waits = []
    for _ in range(3):
        waits.append([each.key for each in (await instance.details()).waiting_for])
        await world.later(app, hours=1)
    assert waits == [["sleep:one", "sleep:two", "wait:three"], ["sleep:two", "wait:three"], ["wait:three"]]
    assert await instance.result(timeout=0) is None


async def test_3_nothing_of_the_body_can_swallow_a_suspension(world):
    """Defect 3: the body catches everything and gathers exceptions, and waits all the same (A5)."""

    @workflow(name="greedy")
    async def greedy(event: WorkflowEvent[Any], step: WorkflowStep) -> list[str]:
        seen: list[str] = []
        try:
            await asyncio.gather(step.sleep("rest", "1 hour"), return_exceptions=True)
        except BaseException as error:  # noqa: BLE001  # what the test is about
            seen.append(type(error).__name__)
        finally:
            seen.append("finally")
        return seen

    app = await world.app(greedy)
    instance = await app.workflows.greedy.create()
    await world.later(app)
    assert (await instance.status()).status is Status.WAITING
    await world.later(app, hours=1)
    assert await instance.result(timeout=0) == ["finally"]


async def test_4_an_event_that_comes_while_a_step_runs_is_received(driven):
    """Defect 4: sent from within the step that the instance executes, waited for after it (B6, D5)."""

    async def call(context: StepContext) -> None:
        await driven.own(context).send_event("go", "meanwhile", id="e-1")

    @workflow(name="busy")
    async def busy(event: WorkflowEvent[Any], step: WorkflowStep) -> Any:
        await step.do("call", call)
        return (await step.wait_for_event("go", "go", timeout=None)).payload

    instance = await driven.begin(busy)
    await driven.rest(instance)
    assert await instance.result(timeout=0) == "meanwhile"


async def test_5_and_12_what_has_finished_is_not_run_again(world):
    """Defects 5 and 12: a finished sibling, and a step whose failure the body caught, run once over all replays (C2)."""
    calls = []

    def note(name: str) -> str:
        calls.append(name)
        if name == "fails":
            raise ValueError(name)
        return name

    @workflow(name="branches", retry=Retry(max_attempts=1))
    async def branches(event: WorkflowEvent[Any], step: WorkflowStep) -> list[str]:
        with pytest.raises(Exception, match="fails"):
            await step.do("fails", note, "fails")
        await asyncio.gather(step.do("quick", note, "quick"), step.sleep("slow", "2 hours"))
        await step.sleep("rest", "1 hour")
        return [*calls]

    app = await world.app(branches)
    instance = await app.workflows.branches.create()
    for _ in range(4):
        await world.later(app, hours=1)
    assert await instance.result(timeout=0) == ["fails", "quick"]
    assert calls == ["fails", "quick"]


async def test_6_a_terminate_during_a_pass_stands(driven):
    """Defect 6: terminated from within its step, it stays so, and the step's result is not recorded (E5, E7)."""

    async def call(context: StepContext) -> str:
        await driven.own(context).terminate("enough")
        return "too late"

    @workflow(name="doomed")
    async def doomed(event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        return await step.do("call", call)

    instance = await driven.begin(doomed)
    await driven.rest(instance)
    assert (await instance.status()).status is Status.TERMINATED
    assert (await instance.history()).steps == ()


async def test_6_a_pause_during_a_pass_stands(driven):
    """Defect 6: paused from within its step, it rests paused, not waiting (E3); a tick holds no lease, so it gives way (B9)."""

    async def call(context: StepContext) -> str:
        await driven.own(context).pause()
        return "recorded"

    @workflow(name="halted")
    async def halted(event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        done = await step.do("call", call)
        await step.wait_for_event("go", "go")
        return done

    instance = await driven.begin(halted)
    await driven.rest(instance)
    assert (await instance.status()).status is Status.PAUSED
    recorded = [each.result for each in (await instance.history()).steps if each.seq]
    assert recorded == ([] if driven.ticks else ["recorded"])


@pytest.mark.parametrize("point", ["commit", "committed"])
async def test_7_a_commit_that_fails_or_whose_answer_is_lost_errors_nothing(driven, point):
    """Defect 7: writes are cut off once, before or after their commit, and the run ends right (C5, B8)."""
    cut = []

    @workflow(name="unlucky")
    async def unlucky(event: WorkflowEvent[Any], step: WorkflowStep) -> list[str]:
        return [await step.do(name, named, name) for name in ("a", "b", "c")]

    async def gate(label, at):
        if at == point and label in {"claim", "commit", "tick"} and cut.count(label) < 2:
            cut.append(label)
            raise StoreUnavailableError(f"{label}: cut off by the test")

    instance = await driven.begin(unlucky, gate)
    await driven.rest(instance)
    assert await instance.result(timeout=0) == ["a", "b", "c"]
    assert [each.key for each in (await instance.history()).steps] == ["do:a", "do:b", "do:c"]
    assert {"tick" if driven.ticks else "commit"} <= set(cut)


async def test_8_an_app_without_the_code_leaves_the_instance_alone(world):
    """Defect 8: another service ticks the same database; the instance is untouched until its own code comes (B2)."""

    @workflow(name="mine")
    async def mine(event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        return await step.do("a", named, "done")

    @workflow(name="theirs")
    async def theirs(event: WorkflowEvent[Any], step: WorkflowStep) -> None: ...

    own, other = await world.app(mine), await world.app(theirs)
    instance = await own.workflows.mine.create()
    before = await instance.details()
    assert await world.later(other, hours=1) == 0
    assert await instance.details() == before
    await world.later(own)
    assert await instance.result(timeout=0) == "done"


async def test_10_a_slow_step_neither_holds_back_nor_repeats_its_siblings(database_url):
    """Defect 10, for steps: what ended beside a slow one is recorded, goes on, and is not repeated after a stop (B1)."""
    calls = []
    went_on, release = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        calls.append("slow")
        await release.wait()

    async def quick(name: str) -> None:
        calls.append(name)
        if name == "second":
            went_on.set()

    @workflow(name="mixed")
    async def mixed(event: WorkflowEvent[Any], step: WorkflowStep) -> None:
        async def branch() -> None:
            await step.do("first", quick, "first")
            await step.do("second", quick, "second")
            await step.do("third", quick, "third")

        await asyncio.gather(step.do("slow", slow), branch())

    app = App(database_url, workflows={"MIXED": mixed})
    async with app.running():
        instance = await app.workflows.MIXED.create(id="x")
        await went_on.wait()
        steps = (await instance.history()).steps
        assert steps[0].key == "do:first"
        release.set()
        await instance.result(timeout=20)
    assert sorted(calls) == ["first", "second", "slow", "third"]


async def test_14_a_late_alarm_after_the_end_changes_nothing(world):
    """Defect 14: the instance ended before its timers; when they would fall due nothing is advanced or written (E7)."""

    @workflow(name="early")
    async def early(event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        rest = asyncio.ensure_future(step.sleep("rest", "1 hour"))
        async with asyncio.timeout(7200):
            await step.wait_for_event("go", "go", timeout="3 hours")
        rest.cancel()
        return "ended"

    app = await world.app(early)
    instance = await app.workflows.early.create()
    await world.later(app)
    await instance.send_event("go")
    await world.later(app)
    ended = (await instance.details(), await instance.history())
    assert ended[0].output == "ended"
    for _ in range(4):
        assert await world.later(app, hours=1) == 0
    with pytest.raises(InstanceTerminalError):
        await instance.send_event("go")
    assert (await instance.details(), await instance.history()) == ended


async def test_16_what_commits_out_of_order_is_not_passed_by(postgres_database):
    """Defect 16: begun first and committed last, an instance is run, and an event received: no reader keeps a mark (B2, D4)."""

    @workflow(name="pair")
    async def pair(event: WorkflowEvent[Any], step: WorkflowStep) -> list[Any]:
        return [(await step.wait_for_event("next", "item", timeout=None)).payload for _ in range(2)]

    app = App(postgres_database, workflows={"PAIR": pair}, dispatcher=None)
    await app.migrate()
    engine = create_engine(postgres_database.replace("postgresql://", "postgresql+psycopg://"))
    with Session(engine) as late:
        app.using(late).workflows.PAIR.create(id="late")
        await app.workflows.PAIR.create(id="early")
        await app.run_until_idle()
        assert [each.id for each in (await app.workflows.PAIR.list()).items] == ["early"]
        late.commit()
    engine.dispose()
    first, second = app.workflows.PAIR.instance("late"), app.workflows.PAIR.instance("early")
    assert await app.run_until_idle() == 1
    for instance in (first, second):
        await instance.send_event("item", 1)
        await instance.send_event("item", 2)
    await app.run_until_idle()
    assert await first.result(timeout=0) == await second.result(timeout=0) == [1, 2]
    assert [each.id for each in (await app.workflows.PAIR.list()).items] == ["early", "late"]
    await app.stop()


async def test_17_a_run_in_hand_is_not_loaded_again_for_each_step(driven):
    """Defect 17: over 20 steps the history is read at most once, before the first of them (A6)."""

    @workflow(name="long")
    async def long(event: WorkflowEvent[Any], step: WorkflowStep) -> int:
        for number in range(20):
            await step.do(f"step {number}", named, "x")
        return 20

    loads = []

    async def gate(label, at):
        if at == "begin":
            loads.append(label)

    instance = await driven.begin(long, gate)
    await driven.rest(instance)
    assert await instance.result(timeout=0) == 20
    assert loads.count("load") <= 2  # a tick reads steps and events, a runner neither
    assert loads.count("tick" if driven.ticks else "commit") >= 20
