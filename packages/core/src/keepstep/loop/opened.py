"""What a body waits for: one object per open command, with the future that a resolution settles.

The command that the engine sees is built late, and only of what is still open when a body comes to rest: a step that
replay resolves never needs one.
"""

from __future__ import annotations

import json
from asyncio import Future
from collections.abc import Callable
from typing import Any, NamedTuple

from keepstep.authoring.events import EventModel, ReceivedEvent
from keepstep.authoring.step import UNSET
from keepstep.errors import EventPayloadError, EventTimeoutError, SerializationError
from keepstep.loop.handles import LoopTimer
from keepstep.loop.recorded import recorded_failure
from keepstep.model.codec import Codec, codec_for
from keepstep.model.commands import Command, DoCommand, TimerCommand, WaitCommand
from keepstep.model.duration import to_datetime
from keepstep.model.records import StepRecord
from keepstep.model.retry import Retry
from keepstep.model.status import StepKind, StepStatus

_FAILED = StepStatus.FAILED
_RETAKEN = frozenset({StepStatus.RETRYING, StepStatus.INTENT})


class MisfitError(Exception):
    """A recorded resolution does not fit what the code asks for under its key (E10)."""


class Opened:
    """An open command.

    Attributes:
        key: its step key.
        future: what the body awaits; set while it is open.
        opened_at: loop time in ms when it was opened.
        record: the row that was stored while it was open before, else None.
        command: what the engine sees; None until the body came to rest with it open.
    """

    __slots__ = ("command", "future", "key", "opened_at", "record")

    def __init__(self, key: str) -> None:
        self.key = key
        self.command: Command | None = None
        self.record: StepRecord | None = None

    future: Future[Any]
    opened_at: int

    def settle(self, record: StepRecord) -> None:
        """Give the body what ``record`` holds.

        Raises:
            MisfitError: the record cannot be what this waits for.
        """
        raise NotImplementedError

    def build(self) -> Command:
        """The command for the engine."""
        raise NotImplementedError


class DoOptions(NamedTuple):
    """How a step is to be done; most steps of a body share one."""

    retry: Retry
    timeout_ms: int | None
    journal_intent: bool = False
    reconcile: Callable[..., Any] | None = None


Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
"""A callback, its positional and its keyword arguments."""


class OpenedDo(Opened):
    """A ``step.do`` or ``step.transaction``."""

    __slots__ = ("call", "codec", "kind", "options")

    def __init__(self, key: str, kind: StepKind, call: Call, codec: Codec, options: DoOptions) -> None:
        self.key = key  # not the base's __init__: this is made for every step of a replay
        self.command = None
        self.record = None
        self.kind = kind
        self.call = call
        self.codec = codec
        self.options = options

    def settle(self, record: StepRecord) -> None:
        """Return the decoded result, or raise the recorded error (C2, C3)."""
        if record.status == _FAILED:
            self.future.set_exception(recorded_failure(record))
            return
        try:
            value = self.codec.decode(record.result or "null")
        except SerializationError as error:
            raise MisfitError(
                f"the result that is recorded for {self.key!r} cannot be read: {error}"
            ) from error
        self.future.set_result(value)

    def build(self) -> DoCommand:
        """The command for the engine."""
        fn, args, kwargs = self.call
        retry, timeout_ms, journal_intent, reconcile = self.options
        stored = self.record
        record = stored if stored is not None and stored.status in _RETAKEN else None
        return DoCommand(
            self.key, self.kind, fn, args, kwargs, self.codec, retry, timeout_ms, self.opened_at, journal_intent, reconcile,
            record,
        )  # fmt: skip


class OpenedSleep(Opened):
    """A ``step.sleep`` or ``step.sleep_until``."""

    __slots__ = ("due_at",)

    def __init__(self, key: str, due_at: int) -> None:
        super().__init__(key)
        self.due_at = due_at

    def settle(self, record: StepRecord) -> None:  # noqa: ARG002 - a fired timer says nothing but that
        """Wake the body."""
        self.future.set_result(None)

    def build(self) -> TimerCommand:
        """The command for the engine; a stored deadline wins (D1)."""
        return TimerCommand(self.key, StepKind.SLEEP, _due_at(self, self.due_at), self.opened_at, self.record)


class OpenedTimer(Opened):
    """A timer of the workflow loop; nobody awaits a future of it, it calls back (A1)."""

    __slots__ = ("timer",)

    def __init__(self, key: str, timer: LoopTimer) -> None:
        super().__init__(key)
        self.timer = timer

    def settle(self, record: StepRecord) -> None:  # noqa: ARG002 - likewise
        """Run the timer's callback."""
        self.timer.loop.fire(self.timer)

    def build(self) -> TimerCommand:
        """The command for the engine; a stored deadline wins (D1)."""
        return TimerCommand(
            self.key, StepKind.TIMER, _due_at(self, self.timer.due_at), self.opened_at, self.record
        )


class OpenedWait(Opened):
    """A ``step.wait_for_event``."""

    __slots__ = ("default", "due_at", "event_type", "model")

    def __init__(
        self, key: str, event_type: str, model: type[EventModel] | None, due_at: int | None, default: object
    ) -> None:
        super().__init__(key)
        self.event_type = event_type
        self.model = model
        self.due_at = due_at
        self.default = default

    def settle(self, record: StepRecord) -> None:
        """Return the event; on timeout return the default or raise (D4)."""
        if record.event_type is not None and record.event_type != self.event_type:
            raise MisfitError(
                f"{self.key!r} is recorded as a wait for an event of type {record.event_type!r}; "
                f"the code waits for {self.event_type!r}"
            )
        try:
            self.future.set_result(self._received(record))
        except (EventPayloadError, EventTimeoutError) as error:
            self.future.set_exception(error)

    def _received(self, record: StepRecord) -> object:
        if record.status == _FAILED:
            failure = recorded_failure(record)
            if isinstance(failure, EventTimeoutError) and self.default is not UNSET:
                return self.default
            raise failure
        found = json.loads(
            record.result or "null"
        )  # not orjson: a sender's integers may be longer than 64 bits
        payload = found["payload"]
        if self.model is not None:
            what = f"the event that {self.key!r} received"
            payload = codec_for(self.model).validate_json(json.dumps(payload), EventPayloadError, what)
        return ReceivedEvent(found["type"], payload, to_datetime(found["timestamp"]), found["id"])

    def build(self) -> WaitCommand:
        """The command for the engine; a stored deadline wins (D1)."""
        due_at = self.due_at if self.record is None else self.record.due_at
        return WaitCommand(self.key, self.event_type, due_at, self.opened_at, self.record)


def _due_at(opened: Opened, asked: int) -> int:
    stored = opened.record
    return asked if stored is None or stored.due_at is None else stored.due_at
