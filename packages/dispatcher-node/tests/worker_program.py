"""An app for a worker of the tests: its steps say on stdout that they have begun, and wait for a file.

Attributes:
    app: on the database that the environment names.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from keepstep import App, WorkflowEvent, WorkflowStep, workflow

FOLDER = Path(os.environ["TEST_FOLDER"])


def say_begun(name: str) -> None:
    """Tell the test."""
    sys.stdout.write(f"begun {name}\n")
    sys.stdout.flush()


@workflow(name="waiting")
async def waiting(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """One step that waits for its file."""

    async def wait() -> str:
        say_begun(event.payload)
        while not (FOLDER / event.payload).exists():  # noqa: ASYNC110  # another process makes it
            await asyncio.sleep(0.02)
        return f"{event.payload} in {os.getpid()}"

    return await step.do("wait", wait)


@workflow(name="blocking")
async def blocking(event: WorkflowEvent[str], step: WorkflowStep) -> None:
    """One step that blocks the loop."""

    async def block() -> None:
        say_begun(event.payload)
        time.sleep(60)  # noqa: ASYNC251  # that is what is tested

    await step.do("block", block)


def make_app() -> App:
    """The app, when a function makes it."""
    return App(os.environ["TEST_DATABASE"], workflows={"WAIT": waiting, "BLOCK": blocking})


def make_idle_app() -> App:
    """An app that runs nothing by itself."""
    return App(os.environ["TEST_DATABASE"], workflows={"WAIT": waiting}, dispatcher=None)


class Shop:
    """Has the app somewhere in it."""

    app = make_app()


app = Shop.app
