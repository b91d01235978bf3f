"""The routes under a host: mounted in Starlette and FastAPI, or alone with uvicorn."""

from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from keepstep import App, WorkflowEvent, WorkflowStep, workflow
from keepstep.client import Client
from tests.support.served import served


@workflow(name="greeting")
async def greeting(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """One step."""
    return await step.do("greet", greet, event.payload)


def greet(name: str) -> str:
    """Say hello."""
    return f"hello {name}"


def everybody(request, access):
    """Allow everything."""
    return True


def hosts(asgi, lifespan):
    """Hosts of different makes, the routes at /keepstep."""
    fastapi = FastAPI(lifespan=lifespan)
    fastapi.mount("/keepstep", asgi)
    return {
        "Starlette": Starlette(routes=[Mount("/keepstep", asgi)], lifespan=lifespan),
        "FastAPI": fastapi,
        "FastAPI in Starlette": Starlette(routes=[Mount("/shop", fastapi)], lifespan=lifespan),
    }


@pytest.mark.parametrize("host", ["Starlette", "FastAPI", "FastAPI in Starlette"])
async def test_a_host_mounts_the_routes(app, host):
    """Paths, the document's server and places of new instances follow the mount."""

    @asynccontextmanager
    async def lifespan(_):
        yield

    asgi = hosts(app.routes(authorize=everybody), lifespan)[host]
    root = "/shop/keepstep" if host.startswith("FastAPI in") else "/keepstep"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://shop.test") as http:
        made = await http.post(f"{root}/workflows/nothing/instances", json={"id": "n-1"})
        assert made.headers["location"] == f"{root}/workflows/nothing/instances/n-1"
        assert (await http.get(made.headers["location"])).json()["id"] == "n-1"
        document = (await http.get(f"{root}/openapi.json")).json()
        assert document["servers"] == [{"url": root}]
        missing = await http.get(f"{root}/nothing")
        assert (missing.status_code, missing.json()["code"]) == (404, "NOT_FOUND")


async def test_a_prefix_stands_before_every_path(app):
    """For routes that are served alone below a path."""
    asgi = app.routes(authorize=everybody, prefix="/api/keepstep")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://shop.test") as http:
        document = (await http.get("/api/keepstep/openapi.json")).json()
        assert "/api/keepstep/workflows" in document["paths"]
        assert (await http.get("/api/keepstep/workflows")).status_code == 200
        assert (await http.get("/workflows")).status_code == 404


def test_served_alone_it_runs_the_app(database_url):
    """The server's life is the app's: it migrates, runs and drains; a client waits for a result."""
    app = App(database_url, workflows={"GREETING": greeting})
    with served(app.routes(authorize=everybody)) as address:
        with Client(address).sync as client:
            instance = client.binding(greeting).create(params="ada")
            assert instance.result(timeout=60) == "hello ada"
        with httpx.Client(base_url=address) as http:
            head = http.head("/workflows")
            assert (head.status_code, head.content) == (200, b"")
            chunked = http.post("/workflows/greeting/instances", content=iter([b"x" * 2**20] * 9))
            assert (chunked.status_code, chunked.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert app.home is None


async def test_an_app_that_runs_is_left_to_its_host(app):
    """A lifespan of the routes does not stop what somebody else has started."""
    asgi = app.routes(authorize=everybody)
    await app.start()
    sent, received = [], iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive():
        return {"type": next(received)}

    async def send(message):
        sent.append(message["type"])

    await asgi({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert app.home is not None


async def test_web_sockets_are_refused(app):
    """There is nothing to connect to."""
    sent = []

    async def send(message):
        sent.append(message["type"])

    await app.routes(authorize=everybody)({"type": "websocket", "path": "/workflows"}, None, send)
    assert sent == ["websocket.close"]
