"""A runner that does not end says where it stands: what a long soak leaves behind explains itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from soak.client import client_of
from soak.processes import STACKS_END, errors_in, fleet

DISPATCHER = "keepstep dispatcher in Looking._keep_looking > PollingDispatcher._pause > Event.wait"


async def test_a_runner_tells_its_stacks_when_it_is_asked(database_url: str, tmp_path: Path) -> None:
    """Every thread, then every task with the calls in which it waits; and it goes on, and ends well."""
    async with client_of(database_url) as client:
        with fleet(database_url, tmp_path) as runners:
            (runner,) = await runners.started(1)
            await client.begin(0, walk=5)
            told = ""
            while DISPATCHER not in told:  # it looks from time to time
                told = await asyncio.to_thread(runner.stacks)
            assert "most recent call first" in told
            assert "keepstep-heartbeat in Lease._keep > sleep" in told
            assert STACKS_END in told
            runner.ask_to_end()
            assert await runner.gone() == 0
            assert errors_in(runner.text) == []


def test_a_stop_that_was_given_up_is_a_complaint() -> None:
    """The bound of a stop must not hide from a soak that something never ends."""
    record = "2026-01-01 00:00:00,000 WARNING keepstep.engine.stopping: a stop goes on without the end of the runner"
    assert errors_in(f"running\n{record}, after 32 s: keepstep-stop in never\n") == [
        f"{record}, after 32 s: keepstep-stop in never"
    ]
