"""An ASGI application on a real socket: uvicorn in a thread, for clients that need one."""

import contextlib
import threading
from collections.abc import Iterator

import uvicorn


class _Started(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets=None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.listens.set()


@contextlib.contextmanager
def served(app) -> Iterator[str]:
    """Serve an application, its lifespan too; the address of the server."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="on", ws="none")
    server = _Started(config)
    thread = threading.Thread(target=server.run, name="served")
    thread.start()
    try:
        assert server.listens.wait(30), "the server did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
