"""Who may do what: the host decides, per kind of operation; what it does not allow is denied (G3, S0-62)."""

import asyncio
import threading

import httpx
import pytest
from starlette.exceptions import HTTPException

from keepstep import UsageError
from keepstep.errors import ForbiddenError, UnauthenticatedError
from keepstep.routes import Access, Kind

ONE_OF_EACH = {
    ("GET", "/openapi.json"): [("read", None, None)],
    ("GET", "/workflows"): [("read", None, None)],
    ("GET", "/workflows/order/schema"): [("read", "order", None)],
    ("GET", "/workflows/order/instances"): [("read", "order", None)],
    ("POST", "/workflows/order/instances"): [("create", "order", None)],
    ("POST", "/workflows/order/instances/batch"): [("create", "order", None)],
    ("GET", "/workflows/order/instances/o-1"): [("read", "order", "o-1")],
    ("GET", "/workflows/order/instances/o-1/history"): [("read", "order", "o-1")],
    ("POST", "/workflows/order/instances/o-1/events"): [("send_event", "order", "o-1")],
    **{
        ("POST", f"/workflows/order/instances/o-1/{verb}"): [("manage", "order", "o-1")]
        for verb in ("pause", "resume", "terminate", "cancel", "restart", "retry")
    },
    ("POST", "/workflows/order/instances/o-1/restart-or-create"): [
        ("create", "order", "o-1"),
        ("manage", "order", "o-1"),
    ],
    ("POST", "/_runner/tick"): [("tick", None, None)],
}


def client_of(asgi):
    """A client without a network."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://shop.test")


async def code_of(asgi, path="/workflows", **options):
    """Status and code of an answer."""
    async with client_of(asgi) as http:
        answer = await http.get(path, **options)
        return answer.status_code, answer.json().get("code")


async def test_the_list_has_every_operation(app):
    """No operation is without a kind."""
    asgi = app.routes(authorize=lambda request, access: True, tick=True)
    methods = sorted((each.method, len(each.path.split("/"))) for each in asgi.operations)
    assert methods == sorted((method, len(path.split("/"))) for method, path in ONE_OF_EACH)


async def test_nothing_is_allowed_by_default(app):
    """Without `authorize` every operation answers 403, and the document too (G3)."""
    asgi = app.routes()
    async with client_of(asgi) as http:
        for method, path in ONE_OF_EACH:
            if path != "/_runner/tick":
                answer = await http.request(method, path)
                assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN"), path


async def test_each_operation_asks_for_its_kind_and_target(app):
    """One check sees the request, the kind and the target, before anything else happens."""
    asked = []

    def check(request, access):
        asked.append((access.kind, access.workflow, access.instance_id))
        return access.kind is Kind.CREATE  # so that restart-or-create asks for both

    async with client_of(app.routes(authorize=check, tick=True)) as http:
        for (method, path), expected in ONE_OF_EACH.items():
            asked.clear()
            await http.request(method, path)
            assert asked == expected, path


async def test_a_mapping_allows_kinds_one_by_one(app):
    """A kind without a check is denied."""
    asgi = app.routes(authorize={"read": lambda request, access: True})
    async with client_of(asgi) as http:
        assert (await http.get("/workflows")).status_code == 200
        assert (await http.post("/workflows/nothing/instances")).status_code == 403


async def test_checks_may_be_sync_or_async(app):
    """A sync one runs in a thread, since it may block (A4); an async one on the loop."""
    threads = []

    def sync(request, access):
        threads.append(threading.current_thread())
        return True

    class Host:
        async def __call__(self, request, access):
            await asyncio.sleep(0)
            return request.headers["authorization"] == "Bearer good"

    assert await code_of(app.routes(authorize=sync)) == (200, None)
    assert threads[0] is not threading.current_thread()
    for check in (Host(), Host().__call__):
        asgi = app.routes(authorize=check)
        assert await code_of(asgi, headers={"authorization": "Bearer good"}) == (200, None)
        assert await code_of(asgi, headers={"authorization": "Bearer bad"}) == (403, "FORBIDDEN")


async def test_who_is_not_known_is_told_to_say_who_they_are(app):
    """401 with a challenge when the check says so; its own words are told."""

    def check(request, access):
        if "authorization" not in request.headers:
            raise UnauthenticatedError("send a token")
        raise ForbiddenError("this token reads only")

    asgi = app.routes(authorize=check)
    async with client_of(asgi) as http:
        unknown = await http.get("/workflows")
        assert (unknown.status_code, unknown.json()["detail"]) == (401, "send a token")
        assert unknown.headers["www-authenticate"] == "Bearer"
        known = await http.get("/workflows", headers={"authorization": "Bearer x"})
        assert (known.status_code, known.json()["detail"]) == (403, "this token reads only")


async def test_a_host_may_raise_its_frameworks_exception(app):
    """FastAPI's and Starlette's HTTPException keeps its status and headers."""

    def check(request, access):
        raise HTTPException(401, "who are you?", {"www-authenticate": "Basic"})

    async with client_of(app.routes(authorize=check)) as http:
        answer = await http.get("/workflows")
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")
        assert answer.headers["www-authenticate"] == "Basic"


@pytest.mark.parametrize("answer", [None, 1, "yes", object()])
async def test_only_true_allows(app, answer, caplog):
    """A check that forgets its answer denies; one that answers nonsense fails, and denies."""
    status, code = await code_of(app.routes(authorize=lambda request, access: answer))
    assert (status, code) == ((403, "FORBIDDEN") if answer is None else (500, "USAGE"))


async def test_a_check_that_fails_denies_and_says_nothing(app, caplog):
    """The log has the reason, the stranger does not."""

    def check(request, access):
        raise RuntimeError("password is hunter2")

    async with client_of(app.routes(authorize=check)) as http:
        answer = await http.get("/workflows")
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
    assert "hunter2" not in answer.text
    assert "hunter2" in caplog.text


async def test_nobody_learns_what_exists_before_they_are_allowed(app):
    """A denied request is answered alike, whatever it names and says."""
    async with client_of(app.routes(authorize=lambda request, access: False)) as http:
        answers = [
            await http.get("/workflows/order/instances/o-1"),
            await http.get("/workflows/other/instances/o-1"),
            await http.get("/workflows/order/instances/-"),
            await http.get("/workflows/order/instances?page_size=many"),
        ]
    assert len({answer.content for answer in answers}) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"authorize": {"write": print}}, "no kind write; the kinds are read, create"),
        ({"authorize": {"read": True}}, "takes functions"),
        ({"authorize": "admin"}, "takes functions"),
        ({"tick": True}, "needs a check of who may tick"),
        ({"tick": True, "authorize": {"read": print}}, "needs a check of who may tick"),
        ({"prefix": "api"}, "prefix must begin"),
        ({"prefix": "/api/"}, "prefix must begin"),
        ({"body_bytes_max": 0}, "body_bytes_max"),
    ],
)
async def test_wrong_options_are_refused_at_once(app, options, said):
    """Before anything is served (H)."""
    with pytest.raises(UsageError, match=said):
        app.routes(**options)


def test_what_a_request_wants_can_be_shown():
    """A host may log it."""
    assert repr(Access(Kind.READ, "order")) == (
        "Access(kind=<Kind.READ: 'read'>, workflow='order', instance_id=None, fragment=None)"
    )
