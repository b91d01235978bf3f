"""`app.sync`: the same verbs for sync code, on a thread of their own or on the host's loop (G1, H)."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from keepstep import (
    App,
    InstanceNotFoundError,
    ResultTimeoutError,
    Status,
    UsageError,
    WorkflowEvent,
    WorkflowNotFoundError,
    WorkflowStep,
    workflow,
)


def double(number: int) -> int:
    """A step."""
    return number * 2


@workflow(name="doubling")
async def doubling(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """Double, wait for a go."""
    doubled = await step.do("double", double, event.payload)
    await step.wait_for_event("go", "go", timeout="1 hour")
    return doubled


@pytest.fixture
def app(database_url):
    """An app that nobody has started; nothing of it is left at the end."""
    app = App(database_url, workflows={"DOUBLING": doubling})
    yield app
    app.sync.stop()
    assert [thread.name for thread in threading.enumerate() if thread.name == "keepstep-sync"] == []


def test_a_script_runs_workflows(app):
    """Start, create, send, wait for the result, stop: without one await."""
    with app.sync.running() as sync:
        instance = sync.workflows.DOUBLING.create(id="d-1", params=4)
        assert repr(instance) == "<SyncInstance doubling/d-1>"
        with pytest.raises(ResultTimeoutError):
            instance.result(timeout=0)
        instance.send_event("go")
        assert instance.result(timeout=30) == 8
        assert instance.status().output == 8
        assert [step.key for step in instance.history().steps] == ["do:double", "wait:go"]
    with app.sync.running() as sync:
        assert sync.workflows.DOUBLING.get("d-1").status().status is Status.COMPLETE


def test_start_and_stop_are_idempotent(app):
    """As the async ones."""
    app.sync.stop()
    app.sync.start()
    app.sync.start()
    app.sync.stop()
    app.sync.stop()


def test_an_app_works_without_start(database_url):
    """The thread begins with the first verb; `tick` does what is due (B9)."""
    app = App(database_url, workflows={"DOUBLING": doubling}, dispatcher=None)
    app.sync.migrate()
    instance = app.sync.workflows.DOUBLING.create(params=4)
    assert app.sync.tick(max_instances=5).processed == 1
    instance.send_event("go")
    assert app.sync.run_until_idle() == 1
    assert instance.result(timeout=0) == 8
    app.sync.stop()


def test_many_threads_share_one_client(app):
    """A threaded host: ids of runs and instances never meet (E2)."""
    with app.sync.running() as sync, ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: sync.workflows.DOUBLING.create(params=n), range(80)))
        assert len({instance.id for instance in made}) == 80
        list(pool.map(lambda instance: instance.send_event("go"), made))
        assert [instance.result(timeout=30) for instance in made] == [2 * n for n in range(80)]


def test_errors_are_those_of_the_async_verbs(app):
    """One tree (H)."""
    app.sync.migrate()
    with pytest.raises(InstanceNotFoundError):
        app.sync.workflows.DOUBLING.get("gone")
    with pytest.raises(WorkflowNotFoundError, match="'TRIPLING'; known keys are DOUBLING"):
        _ = app.sync.workflows.TRIPLING
    with pytest.raises(WorkflowNotFoundError):
        _ = app.sync.workflows["TRIPLING"]
    assert not hasattr(app.sync.workflows, "TRIPLING")
    assert list(app.sync.workflows) == ["DOUBLING"]
    assert "DOUBLING" in dir(app.sync.workflows)
    assert app.sync.binding(doubling).name == "doubling"


async def test_sync_code_beside_a_running_app_uses_its_loop(app):
    """An ASGI host's sync handlers run in threads; the app runs on the host's loop, and stays there."""

    def handler():
        with app.sync.running() as sync:
            instance = sync.workflows.DOUBLING.create(id="d-1", params=4)
            instance.send_event("go")
            return instance.result(timeout=30)

    async with app.running():
        assert await asyncio.to_thread(handler) == 8
        assert app.home is asyncio.get_running_loop(), "a sync stop leaves the host's app alone"
        assert (await app.workflows.DOUBLING.instance("d-1").status()).status is Status.COMPLETE


async def test_the_apps_own_loop_cannot_wait_for_itself(app):
    """Refused with what to do, instead of waiting for ever (H)."""
    async with app.running():
        with pytest.raises(UsageError, match=r"await app\.workflows"):
            app.sync.workflows.DOUBLING.create(params=1)


def test_a_loop_that_has_ended_is_refused(app):
    """An app that was not stopped before its loop ended cannot be called (H)."""

    async def forget():
        await app.start()
        app._engine.dispatcher, dispatcher = None, app._engine.dispatcher
        await dispatcher.stop()
        await app._engine.stop()
        await app._engine.close()

    asyncio.run(forget())
    with pytest.raises(UsageError, match=r"await app\.stop\(\)"):
        app.sync.workflows.DOUBLING.create(params=1)


def test_a_stop_ends_calls_that_wait(app):
    """Nobody is left waiting for a loop that is gone."""
    app.sync.start()
    instance = app.sync.workflows.DOUBLING.create(params=1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(instance.result)
        while not app.sync._portal.call(count_waiting, app):
            pass
        app.sync.stop()
        with pytest.raises(UsageError, match="was stopped while this call waited"):
            waiting.result()


async def count_waiting(app):
    """How many runs somebody waits for."""
    return len(app._engine.changes._listeners)


def test_the_process_may_end_without_a_stop(app, monkeypatch):
    """An exit handler drains what was left running."""
    handlers = []
    monkeypatch.setattr("atexit.register", handlers.append)
    app.sync.start()
    (handler,) = handlers
    handler()
    assert app.home is None
