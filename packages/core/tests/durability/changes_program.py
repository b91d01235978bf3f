"""A process of its own that publishes changes until it is told to stop; the test kills it. Run as a script.

changes_program.py DATABASE FILE commit     commits instances, says so, and publishes nothing
changes_program.py DATABASE FILE publish    publishes until everything is in the file, a line each
"""

from __future__ import annotations

import asyncio
import sys

from keepstep import App, RunnerOptions, WorkflowEvent, WorkflowStep, workflow
from keepstep.changes import ChangeFeed, NdjsonFile

INSTANCES = 300


@workflow(name="quiet")
async def quiet(event: WorkflowEvent[int], step: WorkflowStep) -> int:
    """End at once."""
    return event.payload


async def main(database: str, path: str, mode: str) -> None:
    """Do what the mode says."""
    feed = ChangeFeed(sinks=[NdjsonFile("audit", path, batch=7)])
    options = RunnerOptions(hook_lease="1 second")
    app = App(database, workflows={"QUIET": quiet}, changes=feed, dispatcher=None, runner=options)
    await app.migrate()
    if mode == "commit":
        for start in range(0, INSTANCES, 100):
            await app.workflows.QUIET.create_batch(
                [{"id": f"q-{number}", "params": number} for number in range(start, start + 100)]
            )
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()
    await app.run_until_idle()
    while any(each.behind for each in await app.changes.sinks()):  # a lease of the process that was killed
        await asyncio.sleep(0.05)
        await app.tick()
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
