"""Routes of fragments: mounted under their names, typed, authorised like the rest, each one transaction (G2, G3)."""

from datetime import date
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select

from keepstep import App, Fragment, Tx, UsageError, WorkflowEvent, WorkflowStep
from keepstep.errors import RefusedError

metadata = MetaData()
notes = Table(
    "notes_note",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("text", String(100), nullable=False, unique=True),
)


class Note(BaseModel):
    """What is sent and answered."""

    text: str
    day: date


library = Fragment("notes", schema=metadata)


@library.workflow(name="remember")
async def remember(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Do nothing."""
    return event.payload


@library.service
def write(tx: Tx, note_id: int, text: str) -> None:
    """Write a note, and begin to remember it."""
    tx.execute(insert(notes).values(id=note_id, text=text))
    tx.workflows.remember.create(id=f"n-{note_id}", params=text)


@library.route("PUT", "/days/{day}/notes/{note_id}", kind="create")
def put_note(tx: Tx, day: date, note_id: int, note: Note, again: bool = False) -> Note:
    """Keep a note."""
    write(tx, note_id, note.text)
    if again:
        write(tx, note_id + 1, f"{note.text} again")
    if note.text == "bad":
        raise RefusedError(409, "NOTE_BAD", "this note is not taken; write another one")
    return Note(text=note.text, day=day)


@library.route("GET", "/notes")
def list_notes(tx: Tx, limit: int = 10) -> list[str]:
    """List the notes."""
    return list(tx.execute(select(notes.c.text).order_by(notes.c.id).limit(limit)).scalars())


DAY = "/fragments/notes/days/2027-01-15/notes"
NOTE = {"text": "milk", "day": "2020-01-01"}


def everybody(request: Any, access: Any) -> bool:
    """Allow everything."""
    return True


@pytest.fixture
async def app(database_url):
    """An app with the fragment mounted twice."""
    app = App(database_url, fragments=[library, library.instance("other")], dispatcher=None)
    await app.migrate()
    yield app
    await app.stop()


def client(app, authorize: Any = everybody):
    """A client of its routes."""
    transport = httpx.ASGITransport(app.routes(authorize=authorize))
    return httpx.AsyncClient(transport=transport, base_url="http://notes.test")


async def test_a_route_is_a_service_of_its_mount(app):
    """G1, G2: path, query and body arrive typed; each mount has its own tables and workflows."""
    async with client(app) as http:
        answer = await http.put(f"{DAY}/1?again=true", json=NOTE)
        assert (answer.status_code, answer.json()) == (200, {"text": "milk", "day": "2027-01-15"})
        assert (await http.get("/fragments/notes/notes")).json() == ["milk", "milk again"]
        assert (await http.get("/fragments/notes/notes?limit=1")).json() == ["milk"]
        assert (await http.get("/fragments/other/notes")).json() == []
        listed = await http.get("/workflows/notes__remember/instances")
        assert sorted(each["id"] for each in listed.json()["instances"]) == ["n-1", "n-2"]


async def test_a_route_that_refuses_leaves_nothing(app):
    """B1: its transaction is rolled back; the problem has the fragment's own code."""
    async with client(app) as http:
        answer = await http.put(f"{DAY}/1", json={**NOTE, "text": "bad"})
        assert (answer.status_code, answer.json()["code"]) == (409, "NOTE_BAD")
        assert answer.headers["content-type"] == "application/problem+json"
        assert (await http.get("/fragments/notes/notes")).json() == []
        assert (await http.get("/workflows/notes__remember/instances")).json()["instances"] == []


@pytest.mark.parametrize(
    ("path", "given", "status", "code"),
    [
        (f"{DAY}/one", {"json": NOTE}, 422, "VALIDATION"),
        (f"{DAY}/1?again=perhaps", {"json": NOTE}, 422, "VALIDATION"),
        (f"{DAY}/1", {"json": {"text": "milk"}}, 422, "VALIDATION"),
        (f"{DAY}/1", {}, 422, "VALIDATION"),
        (f"{DAY}/1", {"data": NOTE}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("/fragments/nobody/notes", {"json": NOTE}, 404, "NOT_FOUND"),
        ("/fragments/notes/notes", {"json": NOTE}, 405, "METHOD_NOT_ALLOWED"),
    ],
)
async def test_what_does_not_fit_is_refused(app, path, given, status, code):
    """H: before the handler is called."""
    async with client(app) as http:
        answer = await http.put(path, **given)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_failure_tells_nothing(app):
    """H: what the handler did not mean to say stays in the log."""
    async with client(app) as http:
        assert (await http.put(f"{DAY}/1", json=NOTE)).status_code == 200
        answer = await http.put(f"{DAY}/1", json=NOTE)
    assert answer.status_code == 500
    assert "UNIQUE" not in answer.text.upper()


async def test_routes_are_denied_by_default(app):
    """G3: asked with the kind that the author gave, and with the mount's name."""
    asked = []

    def readers(request, access):
        asked.append((access.kind, access.fragment, access.workflow))
        return access.fragment == "notes"

    async with client(app, {"read": readers}) as http:
        assert (await http.get("/fragments/notes/notes")).status_code == 200
        assert (await http.get("/fragments/other/notes")).status_code == 403
        assert (await http.put(f"{DAY}/1", json=NOTE)).status_code == 403
    assert asked == [("read", "notes", None), ("read", "other", None)]
    async with client(app, None) as http:
        assert (await http.get("/fragments/notes/notes")).status_code == 403


async def test_routes_are_in_the_document(app):
    """Each mount's routes with their parameters, body and answer, from the handler's annotations."""
    document = app.routes(authorize=everybody).document("/api")
    assert document["servers"] == [{"url": "/api"}]
    put = document["paths"]["/fragments/notes/days/{day}/notes/{note_id}"]["put"]
    assert put["summary"] == "Keep a note."
    assert put["x-keepstep-access"] == ["create"]
    assert [(each["name"], each["in"], each["required"]) for each in put["parameters"]] == [
        ("day", "path", True),
        ("note_id", "path", True),
        ("again", "query", False),
    ]
    assert put["requestBody"]["required"]
    assert set(put["responses"]) >= {"200", "400", "403", "404", "409", "413", "415", "422", "500"}
    assert "/fragments/other/notes" in document["paths"]


@pytest.mark.parametrize(
    ("method", "path", "kind", "says"),
    [
        ("FETCH", "/x/{a}", "read", "the method is one of GET"),
        ("GET", "x/{a}", "read", "begins with '/'"),
        ("GET", "/x/{a}/", "read", "a path is like"),
        ("GET", "/{a}/{a}", "read", "one name twice"),
        ("GET", "/x/{b}", "read", "does not take b, which the path names"),
        ("GET", "/x/{a}", "look", "'look' is no kind of operation; the kinds are read, create"),
        ("GET", "/x/{a}", "read", "the body of POST, PUT or PATCH"),
    ],
)
def test_a_wrong_route_is_refused_where_it_is_written(method, path, kind, says):
    """H: before anything runs."""

    def handler(tx: Tx, a: str, note: Note) -> None: ...

    with pytest.raises(UsageError, match=says):
        Fragment("wrong").route(method, path, kind=kind)(handler)


def test_what_cannot_be_a_handler_is_refused():
    """H: a handler is what a service is."""

    async def colourful(tx: Tx) -> None: ...

    def bare() -> None: ...

    def greedy(tx: Tx, *rest: str) -> None: ...

    for handler, says in (
        (colourful, "plain def"),
        (bare, "first parameter"),
        (greedy, "no request can give"),
    ):
        with pytest.raises(UsageError, match=says):
            Fragment("wrong").route("GET", "/x")(handler)
    with pytest.raises(UsageError, match="refuses with one of"):
        RefusedError(418, "TEAPOT", "no")
