"""The journal: which commands of a body are open, and the delivery of resolutions in their recorded order (A2).

Theory
------
A body is deterministic but for what it waits for. What it waits for are *commands*: steps, sleeps, waits, timers of
its loop. A command is opened when the body awaits it, and it is closed in one of three ways: a *resolution* is
delivered, the body stops waiting (a timeout, a cancelled task), or the body ends.

All that ever came to a body from outside is therefore one sequence: its resolutions. Each is delivered alone, at the
loop time stored with it, and then the loop runs until nothing is ready. Between two deliveries nothing but the body's
own code decides what happens, and it decides alike every time: same queue order, same loop time, same keys. So the
state of a body after n resolutions is a function of its code, its params and these n records, and replay is nothing
but delivering them again (A2). A race that ended one way ends that way for ever, because the resolutions that
decided it come in the order in which they came.

Two consequences are easy to get wrong:

- A recorded result is **not** given to a command when it is asked for, but when its turn comes. Asking order and
  resolution order differ as soon as two commands are open at a time; answering at once would let the body run ahead
  of what it knew then.
- Suspension is nothing at all (A5): a future that nobody has settled yet. No exception travels through the body, so
  there is none to swallow, and a finished branch is never run again because another one waits.

Keys
----
A command's key is made of its scope, kind and name, and of how many times the body has asked for these before (C1).
The count is deterministic for the reason above, in loops and in concurrent branches alike, so a key means the same
command in every replay. Timers of the loop have one name, ``timer:loop``, and are told apart by count alone.

When code and records part (E10)
--------------------------------
New code meets old records. A resolution whose key is not open when its turn comes is *skipped* and remembered: the
code has dropped that step, or it has not come to it yet. If it never asks, that is reported and nothing else. If it
asks later, its order contradicts the recorded one: what it did in between, it did without knowing what it knew
then. Likewise if it asks for something of another kind in its place. A contradiction does not fail the run: the
body is stopped where it is, nothing that it asked for is done, and the difference is told until code that fits
is deployed.
"""

from __future__ import annotations

import json
from asyncio import Future
from collections.abc import KeysView, Sequence
from functools import lru_cache
from typing import Any

from keepstep.errors import StepLimitExceededError
from keepstep.loop.drift import Drift
from keepstep.loop.eventloop import WorkflowLoop
from keepstep.loop.handles import LoopTimer
from keepstep.loop.opened import MisfitError, Opened, OpenedTimer
from keepstep.model.commands import Activation, Command, DoCommand, LogLine, TimerCommand, WaitCommand
from keepstep.model.facts import CANCEL_KEY
from keepstep.model.ids import check_name
from keepstep.model.limits import Limits
from keepstep.model.records import StepRecord
from keepstep.model.status import StepKind, StepStatus

_ABANDONED = StepStatus.ABANDONED
_NOTHING: dict[str, StepRecord] = {}
"""Shared by bodies that have nothing stored; never written to."""


class Journal:
    """A body's open commands and the resolutions that it has received.

    Args:
        loop: the body's loop; the journal sets its time and holds its timers.
        limits: for names and the number of steps (C10).
        stored: open rows that are stored, by key: their deadlines and attempts count (D1).
        ahead: resolutions that replay will deliver.

    Attributes:
        loop: the body's.
        limits: in force (C10).
        waits: open timers and waits as the engine sees them, in call order.
        seq: the last resolution delivered.
        cancel_reason: the reason of a delivered cancellation (E5), else None.
        difference: how code and records contradict each other (E10), else None.
        drift: what a replay found that does not fit, else None.
        weight: bytes of the results delivered.
    """

    __slots__ = (
        "_ahead", "_closed", "_counted", "_fresh", "_logs", "_open", "_recorded", "_stored",
"_uses", "cancel_reason", "difference", "drift", "limits", "log_number", "loop", "seq", "waits", "weight",
    )  # fmt: skip

    def __init__(
        self, loop: WorkflowLoop, limits: Limits, stored: dict[str, StepRecord], ahead: Sequence[StepRecord]
    ) -> None:
        self.loop = loop
        self.limits = limits
        self._stored = stored or _NOTHING
        self._ahead: Sequence[StepRecord] = ahead
        self._recorded: frozenset[str] | None = None
        loop.replaying = bool(ahead or stored)
        self.drift = Drift() if ahead else None
        self._uses: dict[str, int] = {}
        self._counted = 0
        self._open: dict[str, Opened] = {}
        self._fresh: list[Opened] | None = None
        self._closed: list[str] | None = None
        self._logs: list[LogLine] | None = None
        self.waits: dict[str, TimerCommand | WaitCommand] = {}
        self.seq = 0
        self.cancel_reason: str | None = None
        self.difference: str | None = None
        self.log_number = 0
        self.weight = 0

    # Keys

    def new_key(self, scope: str, kind: StepKind, name: str) -> str:
        """The key of the next use of a kind and name in a scope (C1).

        Raises:
            InvalidNameError: the name breaks C1.
        """
        try:
            prefix = _prefix(scope, kind, name, self.limits.step_name_max)
        except TypeError:  # unhashable, so no text
            check_name(kind, name)
            raise
        self._uses[prefix] = n = self._uses.get(prefix, 0) + 1
        return prefix if n == 1 else f"{prefix}#{n}"

    def count_step(self, key: str) -> None:
        """Count a step (C10); one that is recorded already is not refused.

        Raises:
            StepLimitExceededError: the run has as many steps as it may have.
        """
        self._counted += 1
        if self._counted > self.limits.steps_max and not self.is_recorded(key):
            raise StepLimitExceededError(
                f"this run asked for more than {self.limits.steps_max:,} steps (Limits.steps_max). "
                "Do more in one step, start other instances, or go on with step.continue_as_new(params)"
            )

    def is_recorded(self, key: str) -> bool:
        """Whether the records of the replay hold the key, resolved or open."""
        if key in self._stored:
            return True
        if not self._ahead:
            return False
        if self._recorded is None:
            self._recorded = frozenset(record.key for record in self._ahead)
        return key in self._recorded

    # Commands

    def open(self, opened: Opened) -> Future[Any]:
        """Open a command; the future is settled by its resolution."""
        future: Future[Any] = Future(loop=self.loop)
        opened.future = future
        self._open_as(opened)
        return future

    def _open_as(self, opened: Opened) -> None:
        key = opened.key
        opened.opened_at = self.loop.now_ms
        self._open[key] = opened
        if self._stored:
            opened.record = self._stored.pop(key, None)
        drift = self.drift
        if drift is not None:
            drift.asked.append(key)
            if drift.skipped and self.difference is None:
                self.difference = drift.ask(key, self.is_new(key), self.seq)
        if self._fresh is not None:
            self._fresh.append(opened)

    def close(self, opened: Opened) -> None:
        """The body stopped waiting for a command; nothing happens if it is settled already."""
        key = opened.key
        if self._open.get(key) is not opened:
            return
        del self._open[key]
        self.waits.pop(key, None)
        stored = opened.record is not None and opened.record.status != _ABANDONED
        if opened.command is not None or stored:  # else nobody outside has heard of it
            if self._closed is None:
                self._closed = []
            self._closed.append(key)

    def timer_set(self, timer: LoopTimer) -> None:
        """A timer of the loop: ``asyncio.sleep``, ``asyncio.timeout`` (A1)."""
        timer.opened = opened = OpenedTimer(self.new_key("", StepKind.TIMER, "loop"), timer)
        self._open_as(opened)

    def timer_cancelled(self, timer: LoopTimer) -> None:
        """The body cancelled a timer."""
        if timer.opened is not None:
            self.close(timer.opened)
            timer.opened = None

    # Delivery

    def deliver(self, record: StepRecord) -> None:
        """Deliver one resolution: set the loop's time, settle what it resolves, and let the body run to rest (A2, A3)."""
        assert record.seq is not None
        self.seq = record.seq
        loop = self.loop
        if record.at is not None and record.at > loop.now_ms:
            loop.now_ms = record.at
        opened = self._open.pop(record.key, None)
        if opened is None:
            self._deliver_other(record)
        else:
            self.waits.pop(record.key, None)
            if record.result is not None:
                self.weight += len(record.result)
            try:
                opened.settle(record)
            except MisfitError as misfit:
                self.difference = str(misfit)
                self.drift = self.drift or Drift()
                self.drift.rival = record.key
        loop.run_ready()

    def _deliver_other(self, record: StepRecord) -> None:
        if record.key == CANCEL_KEY:
            self.cancel_reason = json.loads(record.result or '""') or ""
            assert self.loop.main is not None
            self.loop.main.cancel(self.cancel_reason or None)
        else:
            self._skip(record)

    # Replay and its end

    def replayed(self, done: int) -> None:
        """Replay is over after ``done`` records: the body came to rest, or it ended before the records did."""
        if self.difference is None:  # else the rest was not tried
            for record in self._ahead[done:]:
                if record.key != CANCEL_KEY:
                    self._skip(record)
        self._ahead = ()
        self._recorded = None
        self.loop.replaying = False
        if self.drift is not None and not self.drift.skipped and self.difference is None:
            self.drift = None

    def _skip(self, record: StepRecord) -> None:
        if self.drift is None:
            self.drift = Drift()
        found = self.drift.skip(record, (key for key in self._open if self.is_new(key)))
        self.difference = self.difference or found

    def is_new(self, key: str) -> bool:
        """Whether an open command has no record of its own."""
        return self._open[key].record is None and not self.is_recorded(key)

    def unasked(self) -> list[str]:
        """What is recorded and the code did not ask for, in words (E10)."""
        skipped = () if self.drift is None else self.drift.skipped.values()
        return [
            f"{record.key!r}, {state} ({record.status}), is no longer asked for by the code"
            for records, state in ((skipped, "recorded"), (self._stored.values(), "stored as open"))
            for record in records
            if record.status != _ABANDONED
        ]

    # What an activation brought about

    def log(self, level: str, message: str, data: str | None) -> None:
        """Note a line of ``step.log``; replayed ones are stored already, with the resolution that led to them."""
        self.log_number += 1
        if self._logs is None:
            self._logs = []
        loop = self.loop
        self._logs.append(LogLine(self.log_number, level, message, data, loop.now_ms, loop.replaying))

    def collect(self) -> Activation:
        """Take what has happened since the last call."""
        opened = () if self.difference is not None else self._built()
        activation = Activation(opened, self._closed or (), self._logs or ())
        self._logs = self._closed = None
        self._fresh = []
        return activation

    def _built(self) -> list[Command]:
        """The commands for the engine of what is new and still open."""
        built: list[Command] = []
        for opened in self._open.values() if self._fresh is None else self._fresh:
            if self._open.get(opened.key) is opened:
                opened.command = command = opened.build()
                built.append(command)
                if type(command) is not DoCommand:
                    self.waits[command.key] = command
        return built

    @property
    def commands(self) -> dict[str, Command]:
        """Open commands as the engine has seen them, by key, in call order."""
        found = ((key, opened.command) for key, opened in self._open.items())
        return {key: command for key, command in found if command is not None}

    @property
    def open_keys(self) -> KeysView[str]:
        """The keys of what the body waits for."""
        return self._open.keys()

    def close_all(self) -> None:
        """The body ended: it waits for nothing any more."""
        for opened in list(self._open.values()):
            self.close(opened)

    def drop(self) -> None:
        """Let go of everything, so that nothing holds the body in a circle."""
        self._open = {}
        self.waits.clear()
        self._fresh = None


@lru_cache(maxsize=8192)
def _prefix(scope: str, kind: StepKind, name: str, name_max: int) -> str:
    """The key of a name's first use. Cached: bodies of one workflow share the text, and the name is checked once."""
    check_name(kind, name, _name_limits(name_max))
    return f"{scope}{kind}:{str.__str__(name)}"


@lru_cache(maxsize=8)
def _name_limits(name_max: int) -> Limits:
    return Limits(step_name_max=name_max)
