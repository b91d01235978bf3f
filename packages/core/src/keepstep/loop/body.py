"""A body: one run's code, advanced by resolutions. Holds what the loop, the journal and the step make together.

Nothing here reads a clock, starts a callback or writes: an :class:`Activation` says what the body asks for, and the
engine does it (A2, A7).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import Any, cast

from keepstep.authoring.definition import WorkflowDefinition
from keepstep.authoring.events import WorkflowEvent
from keepstep.errors import NondeterminismError, PayloadTooLargeError, SerializationError, WorkflowOutputError
from keepstep.loop.draws import Draws
from keepstep.loop.eventloop import WorkflowLoop
from keepstep.loop.journal import Journal
from keepstep.loop.places import place_of
from keepstep.loop.recorded import error_info
from keepstep.loop.step import BodyStep, ContinueSignal, Facilities
from keepstep.model.change import ChangeKind
from keepstep.model.commands import (
    Activation,
    BodyOutcome,
    Cancelled,
    Command,
    Continued,
    Contradicted,
    Place,
    Raised,
    Returned,
    TimerCommand,
    WaitCommand,
)
from keepstep.model.duration import to_datetime
from keepstep.model.limits import Limits
from keepstep.model.records import RunRecord, StepRecord

_PARKED_BYTES = 2_400
"""A body that waits for one thing, without what its own variables hold; measured."""
_COMMAND_BYTES = 800
"""One more open command with its task; measured."""


class Body:
    """The body of one run, in memory. Used by one thread at a time; a closed one is of no use any more.

    Args:
        definition: the workflow's code.
        run: the run's row.
        records: its step rows, in any order.
        limits: in force for this app (C10).

    Attributes:
        failure: the exception that ended the body, for the host's log; dropped by :meth:`close`.
        waits: open timers and waits by key, in call order.
    """

    __slots__ = (
        "_definition",
        "_facilities",
        "_journal",
        "_limits",
        "_loop",
        "_records",
        "_run",
        "failure",
        "waits",
    )

    def __init__(
        self,
        definition: WorkflowDefinition[Any, Any],
        run: RunRecord,
        records: Sequence[StepRecord],
        limits: Limits,
    ) -> None:
        self._definition = definition
        self._run = run
        self._limits = limits
        ahead = sorted((record for record in records if record.seq is not None), key=_seq)
        stored = {record.key: record for record in records if record.seq is None}
        self._records: Sequence[StepRecord] = ahead
        self._loop = loop = WorkflowLoop(salt=zlib.crc32(run.instance_id.encode()))
        loop.now_ms = self.started_at
        self._journal = loop.timers = journal = Journal(loop, limits, stored, ahead)
        self.waits: Mapping[str, TimerCommand | WaitCommand] = journal.waits
        self._facilities = Facilities(journal, definition, Draws(run))
        self.failure: BaseException | None = None

    @property
    def started_at(self) -> int:
        """Loop time before the first resolution (A3)."""
        run = self._run
        return run.created_at if run.started_at is None else run.started_at

    @property
    def changes(self) -> frozenset[ChangeKind]:
        """What is published of the workflow (F3)."""
        return self._definition.changes

    @property
    def commands(self) -> Mapping[str, Command]:
        """Open commands by key, in call order."""
        return self._journal.commands

    def is_open(self, key: str) -> bool:
        """Whether the body waits for the command with this key."""
        return key in self._journal.open_keys

    @property
    def seq(self) -> int:
        """The last resolution delivered."""
        return self._journal.seq

    @property
    def warnings(self) -> list[str]:
        """What is recorded and no longer asked for (E10), and errors that nothing in the body waits for."""
        found = [*self._journal.unasked(), *(self._loop.complaints or ())]
        main = self._loop.main
        if main is not None and not main.done() and not self._journal.open_keys:
            found.append("the body waits for nothing that can be resolved: only a cancellation can wake it")
        return found

    @property
    def asked(self) -> Sequence[str]:
        """What the code asked for in a replay that left records over, in order (E10)."""
        drift = self._journal.drift
        return () if drift is None else drift.asked

    @property
    def skipped(self) -> Sequence[StepRecord]:
        """Recorded resolutions that found nobody waiting (E10)."""
        drift = self._journal.drift
        return () if drift is None else tuple(drift.skipped.values())

    def place_of(self, key: str | None) -> Place | None:
        """The line at which the body waits for a command; where it does not, the line at which it stands."""
        return place_of(self._loop.coroutines(), key)

    @property
    def size(self) -> int:
        """Rough bytes it holds, for the cache's bound (A6)."""
        return _PARKED_BYTES + _COMMAND_BYTES * len(self._journal.open_keys) + 2 * self._journal.weight

    def start(self) -> Activation:
        """Run to the first rest, then deliver every recorded resolution in order (A2)."""
        return self._advance(self._replay)

    def resolve(self, record: StepRecord) -> Activation:
        """Deliver one more resolution and run to the next rest.

        Args:
            record: with the next ``seq``, and ``at`` = the loop time of the delivery.
        """
        assert record.seq == self._journal.seq + 1, f"resolution {record.seq} after {self._journal.seq}"
        return self._advance(self._journal.deliver, record)

    def close(self) -> None:
        """Drop the body: none of its awaits runs (A5), and nothing keeps its memory."""
        self._journal.drop()
        self._loop.close()
        self._journal.drop()  # what cleanup code asked for
        self.failure = None
        self._records = ()

    def __del__(self) -> None:
        if hasattr(self, "failure") and not self._loop.is_closed():  # else its making failed, or that is done
            self.close()

    def _advance(self, work: Callable[..., None], *args: Any) -> Activation:
        try:
            self._loop.activate(work, *args)
        except NondeterminismError as error:  # an endless body
            self.failure = error
            outcome: BodyOutcome | None = Raised(error_info(error))
        except BaseException:  # the process is being interrupted; what the body did so far is not known
            self.close()
            raise
        else:
            outcome = self._outcome()
        if outcome is not None and not isinstance(outcome, Contradicted):
            self._journal.close_all()
        activation = self._journal.collect()
        activation.outcome = outcome
        return activation

    def _replay(self) -> None:
        journal, records = self._journal, self._records
        if not self._begin():
            return
        self._loop.run_ready()
        done = 0
        for record in records:
            if journal.difference is not None or self._ended():
                break
            journal.deliver(record)
            done += 1
        journal.replayed(done)
        self._records = ()

    def _begin(self) -> bool:
        run, definition = self._run, self._definition
        try:
            payload = None if run.params is None else definition.params_codec.decode(run.params)
        except SerializationError as error:
            self._journal.difference = (
                f"the params that the instance was created with cannot be read: {error}"
            )
            return False
        created = to_datetime(run.created_at)
        event = WorkflowEvent(payload, created, run.instance_id, run.workflow, run.run_number)
        # A context of its own: the variables of whoever happens to advance the body are not for it.
        context = Context()
        coroutine = context.run(definition.run, event, BodyStep(self._facilities))
        self._loop.create_main_task(coroutine, run.instance_id, context)
        return True

    def _ended(self) -> bool:
        main = self._loop.main
        return main is not None and main.done()

    def _outcome(self) -> BodyOutcome | None:
        journal, main = self._journal, self._loop.main
        if journal.difference is not None:
            return Contradicted(journal.difference, self.place_of(journal.drift and journal.drift.rival))
        if main is None or not main.done():
            return None
        if main.cancelled():
            return self._cancelled()
        error = main.exception()
        if self._facilities.continued is not None and (error is None or _only_signals(error)):
            return Continued(self._facilities.continued)
        if error is None:
            return self._returned(main.result())
        self.failure = error
        return Raised(error_info(error))

    def _cancelled(self) -> BodyOutcome:
        reason = self._journal.cancel_reason
        if reason is not None:
            return Cancelled(reason)
        return Raised(error_info(asyncio.CancelledError("the body cancelled itself")))

    def _returned(self, value: object) -> BodyOutcome:
        codec, limit = self._definition.result_codec, self._limits.payload_bytes_max
        try:
            return Returned(codec.encode(value, limit, f"the result of workflow {self._definition.name!r}"))
        except PayloadTooLargeError as error:
            self.failure = error
        except SerializationError as error:
            self.failure = WorkflowOutputError(str(error), error.path)
        return Raised(error_info(self.failure))


def _seq(record: StepRecord) -> int:
    return record.seq or 0


def _only_signals(error: BaseException) -> bool:
    """Whether an exception is nothing but the signal of ``continue_as_new``, alone or in a ``TaskGroup``'s group."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_only_signals, cast("Sequence[BaseException]", error.exceptions)))
    return isinstance(error, ContinueSignal)
