"""``keepstep.client.Client``: an app's verbs from another program, over HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from keepstep.authoring.definition import DEFAULT_TIMEOUT_MS, WorkflowDefinition, definition_of
from keepstep.authoring.events import EventModel, event_type_of
from keepstep.authoring.registry import Bindings, Registry
from keepstep.client.binding import Binding
from keepstep.client.bound import Workflow, bindings_of
from keepstep.client.mint import Mint
from keepstep.client.verbs import BindingVerbs
from keepstep.engine.seams import Seams
from keepstep.errors import InvalidNameError, UsageError
from keepstep.http_client.conversation import Conversation
from keepstep.http_client.exchange import Exchange
from keepstep.http_client.transport import Headers, HttpPort, Line, SyncHttpPort, Transport
from keepstep.model.codec import codec_for
from keepstep.model.duration import duration_ms
from keepstep.model.ids import check_workflow_name
from keepstep.model.limits import Limits
from keepstep.model.outcome import TickResult
from keepstep.model.retry import Retry
from keepstep.sync.binding import SyncBinding

P = TypeVar("P")
R = TypeVar("R")
W = TypeVar("W", bound=Bindings)

AGAIN: Final = Retry(max_attempts=4, delay="200ms", max_delay="5 seconds", jitter=0.5)
"""How often a request is sent again by default, where that is safe."""

_SERVERS_RULE = Limits(
    workflow_name_max=1000,
    instance_id_max=1000,
    event_type_max=1000,
    payload_bytes_max=2**31,
    batch_max=100_000,
)
"""Sizes are the server's to refuse: what it allows is not known here."""


class Client:
    """The verbs of an app that serves ``app.routes(…)`` somewhere else.

    Bindings and instances are those of an app: typed, with the same verbs, results and errors. A request is sent again
    only where that does no harm: reads, instances and events that carry an id (one is made where none is given), and
    what has certainly not arrived.

    Args:
        base_url: where the routes are, with the path of their mount.
        headers: sent with every request, such as ``authorization``; a function is called for each request.
        timeout: for connecting, sending, and for an answer. ``result()`` waits as long as it is told to.
        retry: how often and when a request is sent again where that is safe; ``Retry(max_attempts=1)`` = never.
        transport: an httpx transport instead of the network, of the colour that is used.

    Attributes:
        sync: the same for sync code.

    Raises:
        UsageError: ``base_url`` is no address.
        InvalidDurationError: ``timeout`` cannot be read.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Headers | None = None,
        timeout: timedelta | str = "30 seconds",
        retry: Retry = AGAIN,
        transport: Transport | None = None,
    ) -> None:
        seams = Seams.production()
        self._mint = Mint(_SERVERS_RULE, seams.clock.now_ms, seams.random.getrandbits)
        exchange = Exchange(retry, seams.random.random)
        talking = Conversation(exchange, seams.clock.monotonic, self._mint.instance_id)
        self._line = Line(base_url, headers or {}, duration_ms(timeout, "timeout") / 1000, transport, talking)
        self._port = HttpPort(self._line)
        self.sync = SyncSide(self._line, self._mint)

    def __repr__(self) -> str:
        return f"<Client of {self._line.base_url}>"

    def binding(self, workflow: Workflow[P, R]) -> Binding[P, R]:
        """The binding of a workflow whose code is here, typed by it; the server must know it by the same name."""
        return Binding(self._port, BindingVerbs(definition_of(workflow), self._mint))

    def bindings(self, workflows: type[W]) -> W:
        """The bindings of a ``Bindings`` class, as ``app.workflows`` has them."""
        return bindings_of(Registry(workflows), self._port, self._mint)

    def workflow(
        self,
        name: str,
        *,
        params: type[P] | Any = Any,
        output: type[R] | Any = Any,
        events: Iterable[type[EventModel]] | None = None,
    ) -> Binding[P, R]:
        """The binding of a workflow whose code is not here.

        Args:
            name: its name.
            params: their type; left out = plain JSON.
            output: the type of its result; left out = plain JSON.
            events: the events that are sent to it; left out = the server says which there are.

        Raises:
            UsageError: the name breaks C10, or pydantic does not know a type.
        """
        return Binding(self._port, BindingVerbs(_described(name, params, output, events), self._mint))

    async def tick(self, max_instances: int | None = None) -> TickResult:
        """Have the server advance what is due, if it offers that, as :meth:`keepstep.App.tick`."""
        return await self._port.drive(self._line.talking.tick(max_instances))

    async def close(self) -> None:
        """Close the connections. Idempotent; the next verb opens new ones."""
        await self._port.close()

    async def __aenter__(self) -> Self:
        """Close the connections at the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class SyncSide:
    """A client's verbs as plain functions: ``client.sync``."""

    def __init__(self, line: Line, mint: Mint) -> None:
        self._line = line
        self._mint = mint
        self._port = SyncHttpPort(line)

    def binding(self, workflow: Workflow[P, R]) -> SyncBinding[P, R]:
        """As :meth:`Client.binding`."""
        return SyncBinding(self._port, BindingVerbs(definition_of(workflow), self._mint))

    def workflow(
        self,
        name: str,
        *,
        params: type[P] | Any = Any,
        output: type[R] | Any = Any,
        events: Iterable[type[EventModel]] | None = None,
    ) -> SyncBinding[P, R]:
        """As :meth:`Client.workflow`."""
        return SyncBinding(self._port, BindingVerbs(_described(name, params, output, events), self._mint))

    def tick(self, max_instances: int | None = None) -> TickResult:
        """As :meth:`Client.tick`."""
        return self._port.drive(self._line.talking.tick(max_instances))

    def close(self) -> None:
        """Close the connections. Idempotent; the next verb opens new ones."""
        self._port.close()

    def __enter__(self) -> Self:
        """Close the connections at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _described(
    name: str, params: Any, output: Any, events: Iterable[type[EventModel]] | None
) -> WorkflowDefinition[Any, Any]:
    try:
        check_workflow_name(name)
    except InvalidNameError as error:
        raise UsageError(str(error)) from error
    declared = None if events is None else {event_type_of(model): model for model in events}
    return WorkflowDefinition(
        name=name,
        version=1,
        fn=_elsewhere,
        params_codec=codec_for(params),
        result_codec=codec_for(output),
        retry=Retry(),
        timeout_ms=DEFAULT_TIMEOUT_MS,
        events=declared,
    )


async def _elsewhere(event: Any, step: Any) -> Any:
    raise AssertionError(f"{event} and {step}: a workflow runs where its code is")
