"""A process of its own that delivers hooks until it is told to stop; the tests kill it. Run as a script.

    hooks_program.py DATABASE EFFECTS commit     commits a trigger, says so, and delivers nothing
    hooks_program.py DATABASE EFFECTS hang       delivers, and hangs in the first hook after it had its effect
    hooks_program.py DATABASE EFFECTS deliver    delivers until nothing is pending
    hooks_program.py DATABASE EFFECTS drain      the same, with leases that outlast a busy machine

It appends ``kind text attempt milliseconds pid`` to the file EFFECTS for each call of a hook.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import datetime
from pathlib import Path

from keepstep import App, Fragment, HookContext, RunnerOptions, Tx
from keepstep.engine.dispatch import Looker
from keepstep_node import PollingDispatcher

mail = Fragment("mail")
MODE = sys.argv[3] if len(sys.argv) > 3 else ""
SLOW_S = 0.5


class Never:
    """A dispatcher that never looks."""

    async def start(self, runner: Looker) -> None:
        """Nothing begins."""

    async def wake(self, at: datetime | None = None) -> None:
        """Nothing happens."""

    async def stop(self) -> None:
        """Nothing ends."""


@mail.hook
async def quick(context: HookContext, payload: str) -> None:
    """Have an effect, and hang if so told."""
    note("quick", context, payload)
    if MODE == "hang":
        await asyncio.Event().wait()


@mail.hook(retry={"max_attempts": 5, "delay": "200 ms", "backoff": "constant"})
async def flaky(context: HookContext, payload: str) -> None:
    """Fail the first time."""
    note("flaky", context, payload)
    if context.attempt == 1:
        raise ConnectionError("try again")


@mail.hook
async def slow(context: HookContext, payload: str) -> None:
    """Take a while."""
    await asyncio.sleep(SLOW_S)
    note("slow", context, payload)


@mail.hook
def blocking(context: HookContext, payload: str) -> None:
    """Take a while in a thread."""
    time.sleep(SLOW_S / 10)
    note("blocking", context, payload)


@mail.service
def send(tx: Tx, text: str) -> None:
    """Trigger one hook."""
    tx.trigger_hook(quick, text)


def note(kind: str, context: HookContext, text: str) -> None:
    """Append one line in one write."""
    line = f"{kind} {text} {context.attempt} {time.time_ns() // 1_000_000} {os.getpid()}\n"
    with Path(sys.argv[2]).open("a", encoding="ascii", buffering=1) as effects:
        effects.write(line)


async def left(app: App) -> bool:
    """Whether something is pending or being delivered; asked twenty times a second at most."""
    await asyncio.sleep(0.05)
    listed = [await app.hooks.list(status=status, limit=1) for status in ("pending", "delivering")]
    return any(page.items for page in listed)


async def main(database: str) -> None:
    """Do what the mode says."""
    dispatcher = Never() if MODE == "commit" else PollingDispatcher(interval="100ms")
    options = RunnerOptions(hook_lease="30 seconds" if MODE == "drain" else "1 second", hooks=64)
    app = App(database, fragments=[mail], runner=options, dispatcher=dispatcher)
    async with app.running():
        if MODE == "commit":
            await app.mail.call(send, "o-1")
        if MODE in {"commit", "hang"}:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await asyncio.Event().wait()
        while await left(app):
            pass


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
