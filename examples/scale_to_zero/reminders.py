"""Reminders from an app that runs only when somebody asks: its timers are fired by a Worker's ticks.

    uvicorn --factory examples.scale_to_zero.reminders:from_environment

`docs/how-to/cloudflare.md` says how to deploy the Worker. Between two requests this process may be stopped: what it
has to remember is in its database, and when to be woken is told to the Worker before a request is answered.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

import httpx
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from keepstep import App, Bindings, InstanceNotFoundError, WorkflowEvent, WorkflowStep, workflow
from keepstep_cloudflare import CloudflareDispatcher

TICK_PATH = "/keepstep/tick"


class Reminder(BaseModel):
    """What to say, and when."""

    text: str
    after: str


@workflow(name="reminding")
async def reminding(event: WorkflowEvent[Reminder], step: WorkflowStep) -> str:
    """Wait without a process, then say it."""
    await step.sleep("until then", event.payload.after)
    return await step.do("say", say, event.payload.text)


async def say(text: str) -> str:
    """Where a real app would send a mail."""
    return f"Remember: {text}"


class Workflows(Bindings):
    """The workflows of this app."""

    reminding = reminding


def make_asgi(
    database: str,
    *,
    alarm_url: str,
    public_url: str,
    schedule_secrets: str,
    tick_secrets: str,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Starlette:
    """The web app, the workflows in it, and the place where ticks arrive."""
    dispatcher = CloudflareDispatcher(
        alarm_url,
        "reminders",
        schedule_secrets,
        tick_secrets,
        tick_url=public_url + TICK_PATH,
        transport=transport,
    )
    app = App(database, workflows=Workflows, dispatcher=dispatcher)

    async def create(request: Request) -> Response:
        reminder = Reminder.model_validate_json(await request.body())
        instance = await app.workflows.reminding.create(params=reminder)
        await dispatcher.settled("2 seconds")  # the host may stop us once this is answered
        return JSONResponse({"id": instance.id}, 201)

    async def read(request: Request) -> Response:
        try:
            instance = await app.workflows.reminding.get(request.path_params["id"])
        except InstanceNotFoundError:
            return Response(status_code=404)
        found = await instance.status()
        return JSONResponse({"status": found.status, "said": found.output})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with app.running():
            yield

    routes = [
        Route("/reminders", create, methods=["POST"]),
        Route("/reminders/{id}", read),
        Route(TICK_PATH, dispatcher.endpoint(app)),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def from_environment() -> Starlette:
    """The app as it is deployed."""
    return make_asgi(
        os.environ["DATABASE_URL"],
        alarm_url=os.environ["ALARM_URL"],
        public_url=os.environ["PUBLIC_URL"],
        schedule_secrets=os.environ["SCHEDULE_SECRETS"],
        tick_secrets=os.environ["TICK_SECRETS"],
    )
