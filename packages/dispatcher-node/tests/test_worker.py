"""`keepstep worker`, in processes of its own: it works, drains, leaves, and says how it is (dispatchers.md)."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from pathlib import Path

import httpx
import pytest

from keepstep import App, RunnerOptions, UsageError, WorkflowEvent, WorkflowStep, workflow
from keepstep_cloudflare import CloudflareDispatcher, new_secret
from keepstep_node.worker import Worker
from keepstep_testing.conformance.dispatchers.outages import Outage

HERE = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("keepstep")
WITHIN_S = 30.0


class Running:
    """A worker's process; what it says is read line by line."""

    def __init__(self, process) -> None:
        self.process = process
        self.said = []

    async def says(self, pattern):
        """Read what it logs until a line matches."""
        return await self._read(self.process.stderr, pattern)

    async def begins(self, name):
        """Return when a step has begun."""
        await self._read(self.process.stdout, f"begun {name}")

    async def _read(self, stream, pattern):
        async with asyncio.timeout(WITHIN_S):
            while line := (await stream.readline()).decode():
                self.said.append(line)
                if found := re.search(pattern, line):
                    return found
        raise AssertionError(f"it never said {pattern!r}: {''.join(self.said)}")

    def tell(self, number=signal.SIGTERM):
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self):
        """The exit code."""
        async with asyncio.timeout(WITHIN_S):
            _, rest = await self.process.communicate()
        self.said.append(rest.decode())
        return self.process.returncode


class Yard:
    """Where workers run: a folder, a database, and an app that runs nothing by itself."""

    def __init__(self, folder, database, stack) -> None:
        self.folder, self.database, self._stack = folder, database, stack

    async def worker(self, target="worker_program:app", *options, database=None):
        """Start a worker in the folder of the program."""
        environment = {
            **os.environ,
            "TEST_DATABASE": database or self.database,
            "TEST_FOLDER": str(self.folder),
        }
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            "worker",
            target,
            *options,
            cwd=HERE,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._stack.push_async_callback(gone, process)
        return Running(process)

    def release(self, name):
        """Let a step end."""
        (self.folder / name).touch()


async def gone(process):
    """End a process that is still there."""
    if process.returncode is None:
        process.kill()
    await process.wait()


@workflow(name="waiting")
async def waiting(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Of the same name as the program's: this side only creates and reads."""
    return event.payload


@workflow(name="blocking")
async def blocking(event: WorkflowEvent[str], step: WorkflowStep) -> None:
    """Likewise."""


@pytest.fixture
async def yard(database_url, tmp_path):
    """A yard; its processes end with the test."""
    async with contextlib.AsyncExitStack() as stack:
        made = Yard(tmp_path, database_url, stack)
        made.app = App(database_url, workflows={"WAIT": waiting, "BLOCK": blocking}, dispatcher=None)
        await made.app.migrate()
        stack.push_async_callback(made.app.stop)
        yield made


async def test_it_works_and_a_signal_has_it_drain(yard):
    """SIGTERM in the middle of a step: the step ends, is recorded, and the process ends with 0."""
    instance = await yard.app.workflows.WAIT.create(id="w-1", params="w-1")
    worker = await yard.worker()
    await worker.begins("w-1")
    worker.tell()
    await worker.says("draining")
    yard.release("w-1")
    assert await worker.ended() == 0
    assert await instance.result(timeout=5) == f"w-1 in {worker.process.pid}"
    assert (await instance.details()).takeovers == 0
    said = "".join(worker.said)
    assert "running <App on" in said
    assert "blocking, waiting>" in said
    assert "SIGTERM" in said
    assert "stopped" in said


async def test_a_second_signal_leaves_at_once(yard):
    """Nothing is waited for; the next worker of the host takes the work over without waiting for the lease (B2)."""
    instance = await yard.app.workflows.WAIT.create(id="w-1", params="w-1")
    worker = await yard.worker("worker_program:make_app()")
    await worker.begins("w-1")
    worker.tell()
    await worker.says("draining")
    worker.tell()
    assert await worker.ended() == 128 + signal.SIGTERM
    assert (await instance.status()).status == "active"
    yard.release("w-1")
    heir = await yard.worker("worker_program:Shop.app")
    async with asyncio.timeout(WITHIN_S / 2):
        assert await instance.result() == f"w-1 in {heir.process.pid}"
    heir.tell(signal.SIGINT)
    assert await heir.ended() == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_loop_that_is_blocked_does_not_keep_it(yard):
    """A step of somebody's that blocks the loop: the second signal still ends the process."""
    await yard.app.workflows.BLOCK.create(params="b-1")
    worker = await yard.worker()
    await worker.begins("b-1")
    worker.tell()
    await worker.says("SIGTERM")
    worker.tell()
    assert await worker.ended() == 128 + signal.SIGTERM


async def test_it_says_how_it_is(yard):
    """Alive while the loop turns; ready while the database answers and it does not drain."""
    async with Outage.of(yard.database) as outage, httpx.AsyncClient(timeout=10) as client:
        options = ("--health-port", "0", "--concurrency", "3")
        worker = await yard.worker("worker_program:make_idle_app()", *options, database=outage.url)
        found = await worker.says(r"health at (http://127\.0\.0\.1:\d+)/livez")
        await worker.says("running")
        here = found[1]
        assert await answer(client, f"{here}/livez") == (200, "alive\n")
        assert await answer(client, f"{here}/readyz") == (200, "ready\n")
        assert (await answer(client, f"{here}/"))[0] == 404
        assert (await client.post(f"{here}/livez")).status_code == 405
        if not yard.database.startswith("sqlite"):  # a file does not go away
            async with outage.away():
                status, text = await answer(client, f"{here}/readyz")
                assert (status, text.partition(":")[0]) == (503, "not ready")
                assert "the database is away" in text
                assert (await answer(client, f"{here}/livez"))[0] == 200
            while (await answer(client, f"{here}/readyz"))[0] != 200:
                pass
        await yard.app.workflows.WAIT.create(params="w-1")
        await worker.begins("w-1")
        worker.tell(signal.SIGINT)
        await worker.says("draining")
        assert await answer(client, f"{here}/readyz") == (503, "not ready: draining\n")
        assert (await answer(client, f"{here}/livez"))[0] == 200
        yard.release("w-1")
        assert await worker.ended() == 0


async def answer(client, url):
    """What a health check is answered."""
    got = await client.get(url)
    return got.status_code, got.text


async def test_a_wrong_name_ends_it_with_a_sentence(tmp_path):
    """No traceback, and an exit code that says that it is no use to start it again."""
    async with contextlib.AsyncExitStack() as stack:
        worker = await Yard(tmp_path, f"sqlite:///{tmp_path}/none.db", stack).worker("nowhere:app")
        assert await worker.ended() == 2
    assert "there is no module 'nowhere'" in worker.said[-1]
    assert "Traceback" not in worker.said[-1]


async def test_a_database_that_is_not_there_ends_it(tmp_path):
    """With 1: whoever started it may try again."""
    async with contextlib.AsyncExitStack() as stack:
        yard = Yard(tmp_path, f"sqlite:///{tmp_path}/missing/folder.db", stack)
        worker = await yard.worker()
        assert await worker.ended() == 1
    assert "the app cannot start" in worker.said[-1]


def test_an_app_that_is_ticked_from_elsewhere_needs_no_worker(tmp_path):
    """A remote dispatcher starts no runner: a worker would have nothing to do."""
    dispatcher = CloudflareDispatcher(
        "https://worker.test", "main", new_secret(), new_secret(), tick_url="https://app.test/tick"
    )
    app = App(f"sqlite:///{tmp_path}/a.db", workflows={"WAIT": waiting}, dispatcher=dispatcher)
    with pytest.raises(UsageError, match="is ticked from elsewhere"):
        Worker(app)


async def test_concurrency_bounds_what_is_in_hand(tmp_path):
    """`--concurrency` is what `App.start(concurrency=…)` takes, instead of the app's own option."""
    most = 0
    holding = asyncio.Semaphore(0)

    @workflow(name="held")
    async def held(event: WorkflowEvent[int], step: WorkflowStep) -> None:
        async def hold() -> None:
            nonlocal most
            most = max(most, len(app._engine.runner.advancer.held))
            holding.release()

        await step.do("hold", hold)

    app = App(f"sqlite:///{tmp_path}/a.db", workflows={"HELD": held}, runner=RunnerOptions(concurrency=50))
    await app.migrate()
    await app.workflows.HELD.create_batch([{"id": f"h-{n}", "params": n} for n in range(20)])
    await app.stop()
    await app.start(concurrency=2)
    for _ in range(20):
        async with asyncio.timeout(WITHIN_S):
            await holding.acquire()
    await app.stop()
    assert most == 2
