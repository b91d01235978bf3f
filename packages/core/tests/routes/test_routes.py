"""Each row of the HTTP table: what it answers, and how it refuses (S0-54 to S0-61, H)."""

import pytest

LAMP = {"item": "lamp", "quantity": 3}
ORDERS = "/workflows/order/instances"


def refused(response, status, code):
    """Check a refusal: problem+json with the status and the code; its text."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    problem = response.json()
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, "about:blank")
    assert problem["title"]
    return problem["detail"]


async def test_workflows_are_listed_with_their_events(http):
    """`GET /workflows`: names, versions, events; null where any event is taken (S0-54, S1-37)."""
    found = (await http.get("/workflows")).json()
    assert found == {
        "workflows": [
            {"name": "nothing", "versions": [1], "events": None},
            {"name": "order", "versions": [1], "events": ["approval"]},
        ]
    }


async def test_a_workflow_says_what_it_takes(http, types):
    """`GET /workflows/{name}/schema` has the JSON Schemas of params, output and events."""
    found = (await http.get("/workflows/order/schema")).json()
    assert found["params"] == types["params"].model_json_schema()
    assert found["output"] == types["output"].model_json_schema(mode="serialization")
    assert found["events"] == {"approval": types["approval"].model_json_schema()}
    assert (await http.get("/workflows/nothing/schema")).json()["events"] is None
    assert "'oder'" in refused(await http.get("/workflows/oder/schema"), 404, "WORKFLOW_NOT_FOUND")


async def test_creating_answers_with_the_instance_and_its_place(http):
    """`POST …/instances`: 201, and where it can be read (S0-55, E2)."""
    made = await http.post(ORDERS, json={"id": "o-1", "params": LAMP})
    assert (made.status_code, made.json()) == (
        201,
        {"id": "o-1", "details": {"status": "active", "output": None, "error": None}},
    )
    assert (await http.get(made.headers["location"])).json()["id"] == "o-1"
    generated = await http.post("/workflows/nothing/instances")
    assert generated.status_code == 201
    assert len(generated.json()["id"]) == 24


async def test_an_existing_id_is_a_conflict_or_the_existing_instance(http):
    """`if_exists` decides (E2)."""
    await http.post(ORDERS, json={"id": "o-1", "params": LAMP})
    refused(await http.post(ORDERS, json={"id": "o-1", "params": LAMP}), 409, "INSTANCE_ALREADY_EXISTS")
    same = await http.post(ORDERS, json={"id": "o-1", "params": LAMP, "if_exists": "return"})
    assert (same.status_code, same.json()["id"]) == (200, "o-1")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"id": "not an id", "params": LAMP}, 400, "INVALID_INSTANCE_ID"),
        ({"id": 7, "params": LAMP}, 422, "VALIDATION"),
        ({"id": "o-1", "params": {"quantity": 1}}, 422, "WORKFLOW_PARAMS_INVALID"),
        ({"id": "o-1", "params": LAMP, "priority": 1}, 422, "VALIDATION"),
        ({"id": "o-1", "params": {"item": "x" * 1_100_000}}, 413, "PAYLOAD_TOO_LARGE"),
    ],
)
async def test_what_is_refused_is_not_stored(http, body, status, code):
    """H: bad ids, params that do not fit, unknown fields, too much."""
    refused(await http.post(ORDERS, json=body), status, code)
    assert (await http.get(ORDERS)).json()["instances"] == []


async def test_issues_say_what_does_not_fit(http):
    """422 lists every issue with its path (H)."""
    answer = await http.post(ORDERS, json={"params": {"item": 7, "quantity": "many"}})
    assert [issue["path"] for issue in answer.json()["issues"]] == ["item", "quantity"]


async def test_a_batch_leaves_out_what_exists(http):
    """`POST …/instances/batch`: new ones in order; one invalid item refuses all (S0-56, E2)."""
    await http.post(ORDERS, json={"id": "a", "params": LAMP})
    items = [{"id": each, "params": LAMP} for each in ("a", "b", "c", "b")]
    made = await http.post(f"{ORDERS}/batch", json={"instances": items})
    assert (made.status_code, [each["id"] for each in made.json()["instances"]]) == (200, ["b", "c"])
    bad = {"instances": [{"id": "d", "params": LAMP}, {"id": "e"}]}
    refused(await http.post(f"{ORDERS}/batch", json=bad), 422, "WORKFLOW_PARAMS_INVALID")
    many = {"instances": [{"id": f"n-{n}"} for n in range(101)]}
    refused(await http.post("/workflows/nothing/instances/batch", json=many), 400, "INVALID_INPUT")
    assert len((await http.get(ORDERS)).json()["instances"]) == 3


async def test_an_instance_is_read_with_what_it_waits_for(app, http):
    """`GET …/{id}`: status, run, params, times, the current step, and all of it in words (S0-57, E1)."""
    await http.post(ORDERS, json={"id": "o-1", "params": LAMP})
    await app.run_until_idle()
    found = (await http.get(f"{ORDERS}/o-1")).json()
    assert found["details"] == {"status": "waiting", "output": None, "error": None}
    meta = found["meta"]
    assert (meta["run_number"], meta["params"], meta["created_at"]) == (1, LAMP, "2027-01-15T08:00:00Z")
    [waiting] = meta["waiting_for"]
    assert (waiting["key"], waiting["event_type"], waiting["until"]) == (
        "wait:decision",
        "approval",
        "2027-01-15T09:00:00Z",
    )
    assert "'approval'" in found["why"]
    refused(await http.get(f"{ORDERS}/gone"), 404, "INSTANCE_NOT_FOUND")
    refused(await http.get(f"{ORDERS}/-"), 400, "INVALID_INSTANCE_ID")


async def test_a_read_may_wait_for_the_end(app, http):
    """`wait_ms` answers when the instance has ended, or after that time as it stands."""
    await http.post("/workflows/nothing/instances", json={"id": "n-1"})
    path = "/workflows/nothing/instances/n-1"
    assert (await http.get(f"{path}?wait_ms=1")).json()["details"]["status"] == "active"
    await app.run_until_idle()
    assert (await http.get(f"{path}?wait_ms=20000")).json()["details"]["status"] == "complete"
    refused(await http.get(f"{path}?wait_ms=60001"), 422, "VALIDATION")


async def test_a_life_is_steered(app, http, shop):
    """Pause, resume, restart, cancel, terminate, retry, each with the status right after (S0-58, E3-E6)."""
    await http.post(ORDERS, json={"id": "o-1", "params": LAMP})
    await app.run_until_idle()

    async def steer(verb, body=None):
        answer = await http.post(f"{ORDERS}/o-1/{verb}", json=body)
        assert (answer.status_code, answer.json()["ok"]) == (200, True)
        await app.run_until_idle()
        return answer.json()["details"]["status"]

    assert await steer("pause") == "paused"
    assert await steer("resume", {}) == "active"
    assert await steer("restart", {"params": {"item": "rug"}}) == "active"
    assert await steer("restart", {"from_step": "wait:decision"}) == "active"
    assert shop.charges == 2
    assert await steer("cancel", {"reason": "changed my mind"}) == "active"
    refused(await http.post(f"{ORDERS}/o-1/terminate"), 409, "INSTANCE_TERMINAL")
    assert await steer("restart-or-create") == "active"
    refused(await http.post(f"{ORDERS}/o-1/restart-or-create"), 409, "INSTANCE_STATE")
    assert await steer("terminate", {"reason": "fraud"}) == "terminated"
    refused(await http.post(f"{ORDERS}/o-1/retry"), 409, "INSTANCE_STATE")
    shop.broken = True
    assert await steer("restart") == "active"
    shop.broken = False
    assert await steer("retry") == "active"
    meta = (await http.get(f"{ORDERS}/o-1")).json()["meta"]
    assert (meta["run_number"], meta["params"]["item"]) == (5, "rug")
    refused(await http.post(f"{ORDERS}/o-1/terminate", json={"reason": "x" * 1001}), 422, "VALIDATION")
    both = {"params": LAMP, "from_step": "do:charge"}
    refused(await http.post(f"{ORDERS}/o-1/restart", json=both), 422, "VALIDATION")
    refused(await http.post(f"{ORDERS}/gone/pause"), 404, "INSTANCE_NOT_FOUND")
    assert (await http.post(f"{ORDERS}/o-2/restart-or-create", json={"params": LAMP})).status_code == 200


async def test_events_are_accepted_once(app, http):
    """202, with the instance's status and whether it was a repeat (S0-59, D6, D7)."""
    await http.post(ORDERS, json={"id": "o-1", "params": LAMP})
    path = f"{ORDERS}/o-1/events"
    event = {"type": "approval", "payload": {"approved": True}, "id": "e-1"}
    refused(await http.post(path, json={**event, "if_waiting": True}), 409, "INSTANCE_STATE")
    first, second = await http.post(path, json=event), await http.post(path, json=event)
    assert (first.status_code, first.json()) == (202, {"status": "active", "duplicate": False})
    assert second.json()["duplicate"] is True
    other = {**event, "payload": {"approved": False}}
    refused(await http.post(path, json=other), 409, "EVENT_ID_CONFLICT")
    refused(await http.post(path, json={"type": "rejection"}), 400, "INVALID_EVENT_TYPE")
    refused(await http.post(path, json={"type": "approval"}), 422, "EVENT_PAYLOAD_INVALID")
    refused(await http.post(path), 422, "VALIDATION")
    await app.run_until_idle()
    assert (await http.get(f"{ORDERS}/o-1")).json()["details"]["output"] == {"total": 75, "note": "True"}
    refused(await http.post(path, json=event | {"id": "e-2"}), 409, "INSTANCE_TERMINAL")


async def test_a_tick_advances_what_is_due(http):
    """`POST /_runner/tick`, as often as it takes, says when to come again (S0-61, B9)."""
    items = [{"id": f"o-{n}", "params": LAMP} for n in range(3)]
    await http.post(f"{ORDERS}/batch", json={"instances": items})
    first = (await http.post("/_runner/tick", json={"max_instances": 2})).json()
    assert (first["processed"], first["next_due"]) == (2, "2027-01-15T08:00:00Z")
    second = (await http.post("/_runner/tick")).json()
    assert second == {"processed": 1, "next_due": "2027-01-15T09:00:00Z"}
    refused(await http.post("/_runner/tick", json={"max_instances": 0}), 422, "VALIDATION")


async def test_ticks_are_not_offered_unless_asked_for(app):
    """Off by default: there is no such path (S0-61)."""
    import httpx

    asgi = app.routes(authorize=lambda request, access: True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://shop.test") as http:
        refused(await http.post("/_runner/tick"), 404, "NOT_FOUND")
        assert "/_runner/tick" not in (await http.get("/openapi.json")).json()["paths"]


@pytest.mark.parametrize("path", ["/", "/workflows/", "/workflows/order/instances/a/b", "/workflows//schema"])
async def test_unknown_paths_are_problems(http, path):
    """404 in the same form as all refusals (H)."""
    refused(await http.get(path), 404, "NOT_FOUND")


async def test_other_methods_are_told_which_there_are(http):
    """405 and OPTIONS say what is done at a path; HEAD is GET without a body."""
    answer = await http.put(f"{ORDERS}/o-1")
    refused(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    asked = await http.options(ORDERS)
    assert (asked.status_code, asked.headers["allow"], asked.content) == (
        204,
        "GET, HEAD, OPTIONS, POST",
        b"",
    )
    head = await http.head("/workflows")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0
    refused(await http.post("/workflows"), 405, "METHOD_NOT_ALLOWED")


async def test_an_instance_may_be_called_batch(http):
    """A name of a path is no reserved id."""
    await http.post("/workflows/nothing/instances", json={"id": "batch"})
    assert (await http.get("/workflows/nothing/instances/batch")).json()["id"] == "batch"
    assert (await http.post("/workflows/nothing/instances/batch/pause")).json()["details"][
        "status"
    ] == "paused"
