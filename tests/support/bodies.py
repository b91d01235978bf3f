"""Bodies for tests of the loop: a run driven by hand, with its records kept as a store would keep them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from keepstep.authoring.definition import WorkflowDefinition
from keepstep.loop.body import Body
from keepstep.model.commands import Activation, BodyOutcome, LogLine, TimerCommand, WaitCommand
from keepstep.model.facts import CANCEL_KEY
from keepstep.model.limits import Limits
from keepstep.model.outcome import ErrorInfo
from keepstep.model.recorded import error_text
from keepstep.model.records import RunRecord, StepRecord
from keepstep.model.status import StepStatus
from tests.support.rows import run_row

CREATED = 1_700_000_000_000
STARTED = CREATED + 500


def fresh_run(definition: WorkflowDefinition[Any, Any], params: object = None, **changes: Any) -> RunRecord:
    """The first run of instance ``i-1``, claimed."""
    base = {
        "id": 7,
        "workflow": definition.name,
        "instance_id": "i-1",
        "run_number": 1,
        "created_at": CREATED,
        "started_at": STARTED,
        "params": json.dumps(params),
    }
    return run_row(**{**base, **changes})


def resolved(seq: int, key: str, result: object = None, **changes: Any) -> StepRecord:
    """A completed step, resolved ``seq`` seconds after the start."""
    at = STARTED + 1000 * seq
    row = StepRecord(7, key, seq, StepStatus.COMPLETED, 1, at, at, None, None, json.dumps(result), None)
    return row._replace(**changes)


def stored(key: str, status: StepStatus, **changes: Any) -> StepRecord:
    """An open or abandoned row."""
    return StepRecord(7, key, None, status, 0, STARTED, None, None, None, None, None)._replace(**changes)


class Drive:
    """One run: its body, and the records that its resolutions leave.

    Args:
        definition: the code.
        params: plain JSON.
        records: what is stored already.
        limits: for the body.
        run: the run's row, else a fresh one with ``params``.
    """

    def __init__(
        self,
        definition: WorkflowDefinition[Any, Any],
        params: object = None,
        records: Sequence[StepRecord] = (),
        limits: Limits | None = None,
        run: RunRecord | None = None,
    ) -> None:
        self.definition = definition
        self.run = run or fresh_run(definition, params)
        self.limits = limits or Limits()
        self.records = list(records)
        self.logs: list[LogLine] = []
        self.outcome: BodyOutcome | None = None
        self.body = Body(definition, self.run, self.records, self.limits)
        self.now = self.body.started_at
        self.last = self._note(self.body.start())
        self.now = max([self.now, *(record.at or 0 for record in self.records)])

    def _note(self, activation: Activation) -> Activation:
        self.logs += activation.logs
        self.outcome = activation.outcome
        return activation

    @property
    def open(self) -> list[str]:
        """Keys of the open commands, in call order."""
        return list(self.body.commands)

    def resolve(
        self, key: str, record: StepRecord | None = None, *, after_ms: int = 1000, **fields: Any
    ) -> Activation:
        """Resolve an open command a second later and keep the record."""
        self.now += after_ms
        row = record or resolved(0, key)
        row = row._replace(key=key, seq=self.body.seq + 1, at=self.now, **fields)
        self.records.append(row)
        self.last = self._note(self.body.resolve(row))
        return self.last

    def finish(self, key: str, result: object = None, **options: Any) -> Activation:
        """A step completes with a plain result."""
        return self.resolve(key, resolved(0, key, result), **options)

    def fail(
        self, key: str, message: str = "no", name: str = "ValueError", code: str | None = None
    ) -> Activation:
        """A step fails for good after two attempts."""
        error = error_text(ErrorInfo(name, message, code, key, 2))
        return self.resolve(key, status=StepStatus.FAILED, attempt=2, result=None, error=error)

    def fire(self, key: str) -> Activation:
        """A timer is due: the clock goes to its deadline."""
        command = self.body.commands[key]
        assert isinstance(command, TimerCommand)
        return self.resolve(
            key, after_ms=max(0, command.due_at - self.now), result=None, due_at=command.due_at
        )

    def receive(self, key: str, payload: object, id: str | None = None) -> Activation:  # noqa: A002
        """A wait takes an event."""
        command = self.body.commands[key]
        assert isinstance(command, WaitCommand)
        event = {"type": command.event_type, "payload": payload, "timestamp": self.now + 1000, "id": id}
        return self.resolve(key, result=json.dumps(event), event_type=command.event_type)

    def time_out(self, key: str) -> Activation:
        """A wait's deadline passes: the clock goes to it."""
        error = error_text(ErrorInfo("EventTimeoutError", "no event", "EVENT_TIMEOUT", key))
        command = self.body.commands[key]
        assert isinstance(command, WaitCommand)
        assert command.due_at is not None
        return self.resolve(
            key,
            after_ms=max(0, command.due_at - self.now),
            status=StepStatus.FAILED,
            result=None,
            error=error,
            event_type=command.event_type,
            due_at=command.due_at,
        )

    def cancel(self, reason: str = "stop") -> Activation:
        """A requested cancellation is delivered (E5)."""
        return self.resolve(CANCEL_KEY, result=json.dumps(reason))

    def park(self) -> list[StepRecord]:
        """The rows a store holds when the run is parked now: resolutions, and what is open."""
        rows = [
            stored(
                command.key,
                StepStatus.WAITING,
                started_at=command.opened_at,
                due_at=command.due_at,
                event_type=command.event_type if isinstance(command, WaitCommand) else None,
            )
            for command in self.body.commands.values()
            if isinstance(command, TimerCommand | WaitCommand)
        ]
        return [*self.records, *rows]

    def again(self, records: Sequence[StepRecord] | None = None) -> Drive:
        """The same run, replayed from its records by another body."""
        return Drive(
            self.definition,
            records=self.records if records is None else records,
            limits=self.limits,
            run=self.run,
        )
