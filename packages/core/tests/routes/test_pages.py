"""Pages neither skip nor repeat: of listings, and of each part of a history (S0-54, S0-60, defect 15)."""

import asyncio
from collections import Counter

import httpx
import pytest

from keepstep import App, WorkflowEvent, WorkflowStep, workflow

SIZE = 5
HISTORY = "/workflows/long/instances/l-1/history"


def double(n: int) -> int:
    """A step."""
    return 2 * n


@workflow(name="long")
async def long(event: WorkflowEvent[int], step: WorkflowStep) -> None:
    """Steps one after the other, lines of several levels, then many waits at the same time."""
    for n in range(event.payload):
        await step.do(f"step {n}", double, n)
        step.log.warning("done", n=n, category="even" if n % 2 == 0 else "odd")
        step.log.debug("more", n=n)
    await asyncio.gather(*(step.wait_for_event(f"wait {n}", f"type-{n}") for n in range(event.payload)))


@pytest.fixture
async def app(database_url, clock):
    """An app with an instance that waits for five events and has two others."""
    app = App(database_url, workflows={"LONG": long}, dispatcher=None, clock=clock)
    await app.migrate()
    instance = await app.workflows.LONG.create(id="l-1", params=SIZE)
    for n in range(2):
        await instance.send_event("other", n)
    await app.run_until_idle()
    yield app
    await app.stop()


@pytest.fixture
async def http(app):
    """A client that everything is allowed to."""
    transport = httpx.ASGITransport(app.routes(authorize=lambda request, access: True))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
        yield client


async def get(http, path, **query):
    """A page."""
    answer = await http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def whole_history(http, between=None, **query):
    """All pages of each part, two rows at a time; ``between`` is awaited after each."""
    parts = {"steps": [], "events": [], "logs": []}
    pages, following = 0, {"include_logs": "true"}
    while following:
        page = await get(http, HISTORY, page_size=2, **query, **following)
        pages += 1
        for part, rows in parts.items():
            assert len(page[part] or ()) <= 2
            rows.extend(page[part] or ())
        names = (f"{part}_cursor" for part in parts)
        following = {name: page[name] for name in names if page[name] is not None}
        if between is not None:
            await between(pages)
    return parts, pages


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_history_is_read_whole_in_pages(app, http, order):
    """Each part has its cursor; together they give what one read of everything gives, or its reverse."""
    expected = await app.workflows.LONG.instance("l-1").history()
    parts, pages = await whole_history(http, order=order)
    assert pages == 5
    turned = {part: rows if order == "asc" else rows[::-1] for part, rows in parts.items()}
    assert [each["key"] for each in turned["steps"]][:SIZE] == [each.key for each in expected.steps[:SIZE]]
    assert {each["key"] for each in turned["steps"][SIZE:]} == {each.key for each in expected.steps[SIZE:]}
    assert [each["payload"] for each in turned["events"]] == [0, 1]
    assert [each["number"] for each in turned["logs"]] == [each.number for each in expected.logs]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_what_happens_meanwhile_neither_hides_nor_repeats_a_step(app, http, order):
    """Waits that end between two pages, in any order, are listed once, before or after."""
    instance = app.workflows.LONG.instance("l-1")

    async def proceed(pages):
        if pages <= SIZE:
            await instance.send_event(f"type-{(3 * pages) % SIZE}")
            await app.run_until_idle()

    parts, _ = await whole_history(http, proceed, order=order)
    counted = Counter(each["key"] for each in parts["steps"])
    there = {f"do:step {n}" for n in range(SIZE)} | {f"wait:wait {n}" for n in range(SIZE)}
    assert counted == dict.fromkeys(there, 1)


async def test_an_ended_part_stays_empty(http):
    """A request with cursors goes on with their parts only."""
    first = await get(http, HISTORY, page_size=2, include_logs="true")
    assert (len(first["events"]), first["events_cursor"]) == (2, None)
    second = await get(http, HISTORY, page_size=2, steps_cursor=first["steps_cursor"])
    assert (len(second["steps"]), second["events"], second["logs"]) == (2, [], None)
    third = await get(http, HISTORY, page_size=2, logs_cursor=first["logs_cursor"])
    assert (third["steps"], third["events"], len(third["logs"])) == ([], [], 2)


async def test_lines_are_chosen_by_level_and_category(http):
    """The level is the lowest; the category is what the line was logged with; pages hold what was asked for."""
    wanted = {"include_logs": "true", "log_level": "info", "log_category": "even", "page_size": 2}
    page = await get(http, HISTORY, **wanted)
    assert [line["data"]["n"] for line in page["logs"]] == [0, 2]
    rest = await get(http, HISTORY, **wanted, logs_cursor=page["logs_cursor"])
    assert ([line["data"]["n"] for line in rest["logs"]], rest["logs_cursor"]) == ([4], None)
    assert (await get(http, HISTORY, include_logs="true", log_level="error"))["logs"] == []
    assert (await get(http, HISTORY))["logs"] is None


async def test_a_cursor_keeps_to_its_run(app, http):
    """A restart between two pages does not change the subject; old runs stay readable (E6)."""
    first = await get(http, HISTORY, page_size=2)
    await app.workflows.LONG.instance("l-1").restart()
    second = await get(http, HISTORY, page_size=2, steps_cursor=first["steps_cursor"])
    assert (second["run_number"], len(second["steps"])) == (1, 2)
    assert (await get(http, HISTORY))["steps"] == []
    assert len((await get(http, HISTORY, run=1))["steps"]) == 2 * SIZE


async def test_cursors_that_do_not_fit_are_refused(http):
    """400 says which, and what to do."""
    cursor = (await get(http, HISTORY, page_size=2))["steps_cursor"]
    for query, said in (
        ({"steps_cursor": "garbage"}, "none that a history gave"),
        ({"events_cursor": cursor}, "none that a history gave"),
        ({"steps_cursor": cursor[:-1]}, "none that a history gave"),
        ({"steps_cursor": cursor + "="}, "none that a history gave"),
        ({"steps_cursor": cursor, "order": "desc"}, "belongs to run 1, order 'asc'"),
        ({"steps_cursor": cursor, "run": 2}, "belongs to run 1"),
        ({"run": 2}, "has no run 2"),
        ({"run": 2**31 - 1}, "has no run"),
    ):
        answer = await http.get(HISTORY, params=query)
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_INPUT"), query
        assert said in answer.json()["detail"]


async def test_a_listing_is_read_whole_in_pages(app, http):
    """Newest first, also where many have one timestamp; what comes meanwhile shifts nothing."""
    path = "/workflows/long/instances"
    await app.workflows.LONG.create_batch([{"id": f"n-{n}", "params": 0} for n in range(7)])
    found, cursor = [], {}
    while True:
        page = await get(http, path, page_size=3, **cursor)
        found += [each["id"] for each in page["instances"]]
        assert page["has_next_page"] == (page["cursor"] is not None)
        if page["cursor"] is None:
            break
        cursor = {"cursor": page["cursor"]}
        await app.workflows.LONG.create(params=0)
    assert Counter(found) == dict.fromkeys([f"n-{n}" for n in range(7)] + ["l-1"], 1)
    assert [each["id"] for each in (await get(http, path, status="waiting"))["instances"]] == ["l-1"]
    answer = await http.get(path, params={"cursor": "garbage"})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_INPUT")
