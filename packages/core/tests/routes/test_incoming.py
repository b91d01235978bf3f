"""What comes in is bounded before it is read, and is JSON in the strict sense (H, C10)."""

import json

import httpx
import pytest

ORDERS = "/workflows/order/instances"
JSON = {"content-type": "application/json"}


async def post(http, content, **headers):
    """Status, code and detail of the answer to a body."""
    answer = await http.post(ORDERS, content=content, headers=JSON | headers)
    problem = answer.json()
    return answer.status_code, problem.get("code"), problem.get("detail", "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"id": "a", "id": "b"}', "one key twice"),
        (b'{"params": {"item": "a", "quantity": 1, "quantity": 2}}', "one key twice"),
        (b'{"params": NaN}', "NaN is no JSON number"),
        (b'{"params": [-Infinity]}', "-Infinity is no JSON number"),
        (b'{"params": 1e999}', "too large"),
        (b'{"params": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"params": "\xff"}', "not JSON in UTF-8"),
        (b'\xef\xbb\xbf{"params": 1}', "not JSON"),
        ('{"params": "x"}'.encode("utf-16"), "UTF-8"),
        (b'{"params": "\\ud800"}', "UTF-8"),
        (b'{"id": "a"', "not JSON"),
        (b'{"id": "a"} {}', "not JSON"),
        (b"{'id': 'a'}", "not JSON"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
async def test_what_is_not_json_is_refused(http, content, said):
    """400; nothing is guessed."""
    status, code, detail = await post(http, content)
    assert (status, code) == (400, "INVALID_INPUT")
    assert said in detail


@pytest.mark.parametrize("content", [b"[]", b"null", b'"o-1"', b"7"])
async def test_a_body_is_an_object(http, content):
    """422 with the issue."""
    assert (await post(http, content))[:2] == (422, "VALIDATION")


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_only_json_is_read(http, media):
    """415: also of a form without content, which a foreign page could send with a visitor's cookies."""
    answer = await http.post(ORDERS, content=b"{}", headers={"content-type": media})
    assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    if media:
        path = f"{ORDERS}/o-1/pause"
        assert (await http.post(path, headers={"content-type": media})).status_code == 415


async def test_large_integers_arrive_whole(http):
    """What a type can hold is not rounded on its way (C3)."""
    number = 2**70 + 1
    body = b'{"id": "o-1", "params": {"item": "x", "quantity": %d}}' % number
    assert (await post(http, body))[0] == 201
    found = json.loads((await http.get(f"{ORDERS}/o-1")).content)
    assert found["meta"]["params"]["quantity"] == number


async def endless():
    """A body in pieces, of a length that nobody says."""
    while True:
        yield b" " * 1000


async def test_a_body_is_bounded_whatever_it_says(app):
    """413 by Content-Length before anything is read, and while reading when there is none."""
    read = []

    async def chunks():
        read.append(1)
        yield b"{}"

    asgi = app.routes(authorize=lambda request, access: True, body_bytes_max=10_000)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://shop.test") as http:
        said = await post(http, chunks(), **{"content-length": "10001"})
        assert said[:2] == (413, "PAYLOAD_TOO_LARGE")
        assert (await post(http, chunks(), **{"content-length": "9" * 30}))[0] == 413
        assert read == []
        assert (await post(http, endless()))[:2] == (413, "PAYLOAD_TOO_LARGE")
        assert "10,000 bytes" in (await post(http, b" " * 10_001))[2]
        assert (await post(http, b" " * 9_998 + b"{}"))[0] == 422


async def test_a_check_that_reads_the_body_is_bounded_too(app):
    """A host may verify a signature of the body, and the operation reads it again."""

    async def check(request, access):
        return b"signed" in await request.body()

    asgi = app.routes(authorize=check, body_bytes_max=10_000)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://shop.test") as http:
        assert (await post(http, endless()))[0] == 413
        assert (await post(http, b'{"id": "o-1", "params": {"item": "signed"}}'))[0] == 201


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("page_size=0", "page_size"),
        ("page_size=1001", "page_size"),
        ("page_size=many", "page_size"),
        ("status=done", "status"),
        ("status=active&status=paused", "status"),
    ],
)
async def test_queries_are_checked(http, query, path):
    """422 with the issue; what a host adds for itself is left to it."""
    answer = await http.get(f"{ORDERS}?{query}&token=secret")
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION")
    assert [issue["path"] for issue in answer.json()["issues"]] == [path]
    assert (await http.get(f"{ORDERS}?token=secret")).status_code == 200
