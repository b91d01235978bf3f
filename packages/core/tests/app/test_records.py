"""What records mean to code and to the runs that follow: contradictions, continued and reopened runs (C10, E6, E10)."""

from collections.abc import Callable, Coroutine
from typing import Any

from keepstep import App, Retry, Status, WorkflowEvent, WorkflowStep, workflow

Body = Callable[[WorkflowEvent[Any], WorkflowStep], Coroutine[Any, Any, Any]]


def named(name: str) -> str:
    """A step that tells its name."""
    return name


def app_of(database_url: str, body: Body) -> App:
    """An app whose only workflow has this body today."""
    definition = workflow(name="changing", retry=Retry(max_attempts=1))(body)
    return App(database_url, workflows={"CHANGING": definition}, dispatcher=None)


async def test_code_that_contradicts_its_records_rests_until_code_fits(database_url: str):
    """E10: a run whose records the code contradicts is not failed; why() tells the difference; code that fits goes on."""

    async def recorded(event: WorkflowEvent[Any], step: WorkflowStep) -> list[str]:
        done = [await step.do("a", named, "a"), await step.do("b", named, "b")]
        await step.wait_for_event("go", "go")
        return done

    async def swapped(event: WorkflowEvent[Any], step: WorkflowStep) -> list[str]:
        done = [await step.do("b", named, "b"), await step.do("a", named, "a")]
        await step.wait_for_event("go", "go")
        return done

    first = app_of(database_url, recorded)
    await first.migrate()
    await first.workflows.CHANGING.create(id="x")
    await first.run_until_idle()
    await first.stop()

    changed = app_of(database_url, swapped)
    instance = await changed.workflows.CHANGING.get("x")
    await instance.send_event("go", None)
    await changed.run_until_idle()
    details = await instance.details()
    assert details.status is Status.WAITING
    assert details.error is None
    assert details.parked is not None
    assert "do:a" in details.parked
    assert "does not fit" in await instance.why()
    await changed.stop()

    fixed = app_of(database_url, recorded)
    instance = await fixed.workflows.CHANGING.get("x")
    await instance.send_event("go", "again")
    await fixed.run_until_idle()
    assert await instance.result(timeout=0) == ["a", "b"]
    assert (await instance.details()).parked is None
    await fixed.stop()


async def test_events_follow_a_run_that_continues_as_new(database_url: str):
    """C10: events that nothing has consumed are there for the next run, in their order."""

    async def counting(event: WorkflowEvent[Any], step: WorkflowStep) -> list[Any]:
        seen = [*(event.payload or []), (await step.wait_for_event("next", "item")).payload]
        if len(seen) < 3:
            step.continue_as_new(seen)
        return seen

    app = app_of(database_url, counting)
    await app.migrate()
    instance = await app.workflows.CHANGING.create(id="x")
    for item in (1, 2, 3):
        await instance.send_event("item", item)
    await app.run_until_idle()
    assert await instance.result(timeout=0) == [1, 2, 3]
    assert (await instance.details()).run_number == 3
    await app.stop()


async def test_a_reopened_run_gets_back_the_events_it_had_taken(database_url: str):
    """E6: retry_failed_step drops what came after the failed step; events those waits took are buffered again."""
    broken = True

    def fragile() -> str:
        if broken:
            raise ConnectionError("closed")
        return "charged"

    async def cleaning(event: WorkflowEvent[Any], step: WorkflowStep) -> str:
        try:
            return await step.do("charge", fragile)
        except Exception:
            await step.wait_for_event("noted", "note")
            raise

    app = app_of(database_url, cleaning)
    await app.migrate()
    instance = await app.workflows.CHANGING.create(id="x")
    await instance.send_event("note", "seen")
    await app.run_until_idle()
    assert (await instance.status()).status is Status.ERRORED
    assert (await instance.details()).buffered_events == 0
    broken = False
    await instance.retry_failed_step()
    assert (await instance.details()).buffered_events == 1
    await app.run_until_idle()
    assert await instance.result(timeout=0) == "charged"
    await app.stop()


async def test_no_text_that_a_body_or_a_caller_says_ends_a_run(database_url: str):
    """E5: a NUL or half a character in a line of the log or in a reason is replaced, as no column takes it."""

    async def body(event: WorkflowEvent[Any], step: WorkflowStep) -> None:
        step.log.info("a\x00b\ud800c")
        await step.wait_for_event("go", "go")

    app = app_of(database_url, body)
    await app.migrate()
    instance = await app.workflows.CHANGING.create(id="x")
    await app.run_until_idle()
    assert [line.message for line in (await instance.history()).logs] == ["a\ufffdb?c"]
    await instance.cancel("en\x00ough\udfff")
    await app.run_until_idle()
    assert (await instance.status()).status is Status.CANCELLED
    await app.stop()
