"""The application: finds the operation, bounds the body, asks the host, reads what comes in, answers or refuses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypedDict

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route, Router
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from keepstep.client import wire
from keepstep.errors import UsageError
from keepstep.model.access import Kind
from keepstep.model.duration import duration_ms
from keepstep.routes import openapi
from keepstep.routes.access import Access, Authorize, Gate
from keepstep.routes.endpoints import Call, Served
from keepstep.routes.fragments import operations_of
from keepstep.routes.incoming import Bounded, check_length, read_body, read_query
from keepstep.routes.operations import OPERATIONS, TICK, AnyOperation
from keepstep.routes.problems import answer_error

NO_STORE = {"cache-control": "no-store"}


class RouteOptions(TypedDict, total=False):
    """What :meth:`keepstep.App.routes` takes besides ``authorize``."""

    tick: bool
    """Whether to offer ``POST /_runner/tick``, about which ``authorize`` must decide then; by default not."""
    prefix: str
    """Before every path, like ``"/api"``; a mount's own path is not to be repeated here."""
    body_bytes_max: int
    """The largest body of a request; by default eight times the largest payload."""
    wait_max: timedelta | str
    """How long ``wait_ms`` may hold a request; by default 20 seconds."""


class Routes:
    """An app's HTTP face: an ASGI application, to be mounted or served alone.

    Args:
        served: the app.
        authorize: who may do what (G3).
        tick, prefix, body_bytes_max, wait_max: see :class:`RouteOptions`.

    Raises:
        UsageError: one of these is wrong, or ticks are offered that nobody checks.
        InvalidDurationError: ``wait_max`` cannot be read.
    """

    def __init__(
        self,
        served: Served,
        *,
        authorize: Authorize = None,
        tick: bool = False,
        prefix: str = "",
        body_bytes_max: int | None = None,
        wait_max: timedelta | str = "20 seconds",
    ) -> None:
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise UsageError(f'prefix must begin with / and not end with it, like "/api", not {prefix!r}')
        most = 8 * served.mint.limits.payload_bytes_max if body_bytes_max is None else body_bytes_max
        if type(most) is not int or most < 1:
            raise UsageError(f"body_bytes_max must be an integer of 1 or more, not {body_bytes_max!r}")
        self._served = served
        self._gate = Gate(authorize, needs_tick=tick)
        self._most = most
        self._wait_ms = min(duration_ms(wait_max, "wait_max"), wire.WAIT_MS_MAX)
        self._prefix = prefix
        ticks = (TICK,) if tick else ()
        self.operations = (*OPERATIONS, *ticks, *operations_of(served.mounts))
        self._document: dict[str, Any] | None = None
        self._routes = [
            (Route(prefix + each.path, _unused, methods=[each.method]), each) for each in self.operations
        ]
        self._alone = Router(lifespan=self._living)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Served alone, it starts the app with the server and stops it with it."""
        if scope["type"] == "lifespan":
            await self._alone(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            request = Request(scope, Bounded(receive, self._most))
            response = await self._answer(request)
            await response(scope, receive, _without_body(send) if scope["method"] == "HEAD" else send)

    def document(self, server: str = "") -> dict[str, Any]:
        """Write the OpenAPI document; ``server`` is where the paths begin."""
        if self._document is None:
            self._document = openapi.document(self.operations, self._prefix)
        return {**self._document, "servers": [{"url": server or "/"}]}

    async def _answer(self, request: Request) -> Response:
        try:
            operation = self._find(request)
            if operation is None:
                return Response(status_code=204, headers={"allow": ", ".join(self._allowed(request))})
            check_length(request, self._most)
            for kind in operation.kinds:
                await self._gate.ask(request, _access(kind, operation, request))
            return await self._do(operation, request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception as error:  # noqa: BLE001  # every error is an answer
            return answer_error(request, error)

    async def _do(self, operation: AnyOperation, request: Request) -> Response:
        body = await read_body(request, operation.body) if operation.takes_body else wire.NoBody()
        query = read_query(request.query_params, operation.query)
        call = Call(self._served, request, body, query, self._wait_ms, self._document_for)
        status, answer, location = await operation.handle(call)
        headers = dict(NO_STORE)
        if location is not None:
            headers["location"] = f"{request.url.path.rstrip('/')}/{location}"
        return Response(answer.model_dump_json(), status, headers, "application/json")

    def _find(self, request: Request) -> AnyOperation | None:
        """The operation that a request means; None = it asks which methods there are.

        Raises:
            HTTPException: no such path, or no such method there.
        """
        for route, operation in self._routes:
            match, found = route.matches(request.scope)
            if match is Match.FULL:
                request.scope.update(found)
                return operation
        allowed = self._allowed(request)
        if not allowed:
            raise HTTPException(404, f"there is nothing at {request.url.path[:200]}")
        if request.method == "OPTIONS":
            return None
        raise HTTPException(405, f"{request.method[:20]} is not done here", {"allow": ", ".join(allowed)})

    def _allowed(self, request: Request) -> list[str]:
        found = {
            method
            for route, _ in self._routes
            if route.matches(request.scope)[0] is not Match.NONE
            for method in route.methods or ()
        }
        return sorted({*found, "OPTIONS"}) if found else []

    def _document_for(self, request: Request) -> dict[str, Any]:
        return self.document(request.scope.get("root_path", ""))

    @asynccontextmanager
    async def _living(self, _: Any) -> AsyncGenerator[None]:
        if self._served.started():
            yield
        else:
            async with self._served.running():
                yield


def _access(kind: Kind, operation: AnyOperation, request: Request) -> Access:
    if operation.fragment is not None:  # what its path names is its own affair
        return Access(kind, fragment=operation.fragment)
    return Access(kind, request.path_params.get("name"), request.path_params.get("id"))


async def _unused(request: Request) -> Response:
    raise AssertionError(f"{request.url}: routes are matched here, not called")


def _without_body(send: Send) -> Callable[[Message], Any]:
    async def headers_only(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return headers_only
