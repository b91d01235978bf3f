"""The Worker on a real workerd, and a real uvicorn for the app that it ticks: both on loopback, both ended by tests."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import pytest
import uvicorn

from tests.support.served import QuietServer
from tests.support.sources import ROOT

WORKER = ROOT / "packages/dispatcher-cloudflare/worker"
READY_S = 20.0
NO_NODE = (
    "the Worker is tested on a real workerd, which needs Node.js: install Node.js 20 or newer with npm "
    "(Debian: apt-get install nodejs npm), then `make test`"
)
NOT_INSTALLED = (
    f"workerd is not installed: `make test` installs it; or npm ci --prefix {WORKER.relative_to(ROOT)}"
)


def node() -> str:
    """Node's path; the test fails if there is none, or an old one, or no workerd for it."""
    found = shutil.which("node")
    if found is None or major_version(found) < 20:
        pytest.fail(NO_NODE, pytrace=False)
    if not (WORKER / "node_modules/miniflare").is_dir():
        pytest.fail(NOT_INSTALLED, pytrace=False)
    return found


@cache
def major_version(path: str) -> int:
    """The first number of a Node's version."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0])


def built(folder: Path) -> Path:
    """The Worker's TypeScript, checked and compiled to a module in ``folder``."""
    command = [node(), "node_modules/typescript/bin/tsc", "--outDir", folder]
    done = subprocess.run(command, cwd=WORKER, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "index.js"


class Workerd:
    """The built Worker on workerd, in processes of its own; its alarms are in a folder and outlive it.

    Args:
        script: the built Worker.
        folder: where its state and its log are.
        variables: what the Worker is configured with.
    """

    def __init__(self, script: Path, folder: Path, variables: dict[str, object]) -> None:
        self.script = script
        self.folder = folder
        self.variables = variables
        self.port = 0
        self.log = folder / "workerd.log"
        self._host: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it listens, also after a restart."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, at the port that it had before."""
        given = {
            "script": str(self.script),
            "vars": self.variables,
            "state": str(self.folder / "state"),
            "port": self.port or free_port(),
        }
        with self.log.open("ab") as log:
            self._host = await asyncio.create_subprocess_exec(
                node(),
                "host.mjs",
                json.dumps(given),
                cwd=WORKER,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self._host.stdout is not None
        async with asyncio.timeout(READY_S):
            line = await self._host.stdout.readline()
        assert line, self.log.read_text()
        self.port = int(json.loads(line)["url"].rstrip("/").rpartition(":")[2])

    async def kill(self) -> None:
        """SIGKILL workerd, then end the program that had started it."""
        assert self._host is not None
        killed = children(self._host.pid)
        assert killed, "there is no workerd to kill"
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        await self.stop()

    async def stop(self) -> None:
        """End it and everything it started. A second stop changes nothing."""
        host, self._host = self._host, None
        if host is None:
            return
        left = children(host.pid)
        assert host.stdin is not None
        host.stdin.close()
        try:
            async with asyncio.timeout(5):
                await host.wait()
        except TimeoutError:
            host.kill()
            await host.wait()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task")
    found = [task / "children" for task in tasks.iterdir()] if tasks.is_dir() else []
    return [int(child) for path in found for child in path.read_text().split()]


def free_port() -> int:
    """A port of loopback that nobody listens at, from below those that outgoing connections are given.

    So that it can be listened at again after a pause.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.asynccontextmanager
async def served(asgi, port: int) -> AsyncIterator[None]:
    """An ASGI app on a real uvicorn, at a port of loopback; connections are refused before and after."""
    config = uvicorn.Config(
        asgi, log_level="warning", lifespan="off", timeout_graceful_shutdown=2, access_log=False
    )
    ready = asyncio.Event()
    server = QuietServer(config, ready)
    listening = socket.create_server(("127.0.0.1", port), backlog=256)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        async with asyncio.timeout(READY_S):
            await ready.wait()
        assert server.started, "the server did not start"
        yield
    finally:
        server.should_exit = True
        await task
        listening.close()


class Arrived:
    """One tick as it arrived, and what it was answered."""

    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        self.at = time.time()
        self.headers = headers
        self.body = body
        self.said = json.loads(body)
        self.status = 0


class Recorder:
    """Stands before a tick endpoint: notes each tick, and gives a prepared answer instead if there is one.

    Attributes:
        endpoint: what answers otherwise.
        answers: prepared answers, ``(status, headers)``; the last one stays.
        ticks: those that were answered.
    """

    def __init__(self, endpoint=None) -> None:
        self.endpoint = endpoint
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.ticks: list[Arrived] = []
        self.paths: list[str] = []
        self._new: asyncio.Queue[Arrived] = asyncio.Queue()

    async def __call__(self, scope, receive, send) -> None:
        """Answer a tick."""
        message = await receive()
        assert not message.get("more_body"), "a tick's body comes in one piece"
        arrived = Arrived({k.decode(): v.decode() for k, v in scope["headers"]}, message["body"])
        self.paths.append(scope["path"])

        async def again():
            return message

        async def note(sent) -> None:
            if sent["type"] == "http.response.start":
                arrived.status = sent["status"]
                self.ticks.append(arrived)
                self._new.put_nowait(arrived)
            await send(sent)

        if self.answers:
            status, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
            await note({"type": "http.response.start", "status": status, "headers": encoded})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self.endpoint(scope, again, note)

    async def next(self, within: float = 15.0) -> Arrived:
        """The next tick that was not asked for yet.

        Raises:
            TimeoutError: none arrives.
        """
        async with asyncio.timeout(within):
            return await self._new.get()
