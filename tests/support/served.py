"""An ASGI application on a real socket: uvicorn in a thread, for clients that need one."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import uvicorn

WITHIN_S = 30.0


class QuietServer(uvicorn.Server):
    """Says when it listens, or has failed to, and leaves the process's signal handlers alone.

    Args:
        config: uvicorn's.
        ready: set when its start is over.
    """

    def __init__(self, config: uvicorn.Config, ready: threading.Event | asyncio.Event) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets=None) -> None:
        """Start, and say when that is over."""
        try:
            await super().startup(sockets)
        finally:
            self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@contextlib.contextmanager
def served(app) -> Iterator[str]:
    """Serve an application, its lifespan too; the address of the server."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_level="warning",
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=2,
    )
    ready = threading.Event()
    server = QuietServer(config, ready)
    thread = threading.Thread(target=server.run, name="served")
    thread.start()
    try:
        assert ready.wait(WITHIN_S), "the server did not start"
        assert server.started, "the application did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(WITHIN_S)
        assert not thread.is_alive(), "the server did not stop"
