"""The life of a run as one table: what each trigger does in each status (E1-E7).

A run is *live* (``active``, ``waiting``, ``paused``) or *terminal* (``complete``, ``errored``, ``terminated``,
``cancelled``). ``active`` means eligible or executing, ``waiting`` that every branch waits on a timer, a retry or
an event, ``paused`` that nobody may advance it. Two kinds of trigger meet in the table:

**The runner's** end a boundary. They hold only while the runner has the run: a run that was paused, terminated or
restarted under it refuses them with ``LEASE_LOST``, so a late ``complete`` or ``park`` changes nothing (E7). That
column of refusals is the compare-and-set: a store writes a runner's transition only where the guard still holds.

**Operations** come from outside and are decided on the row as it is now. They go through, change nothing because
what was asked is the case already, or are refused with the code that the caller sees.

Not every operation changes the status. A pause of a run that executes is a wish (``pause_requested``), taken at
the next boundary as ``pause``; a cancellation is a resolution that the body receives (E5), so the run stays live,
and ``cancelled`` is what the body ends as; an event only wakes. ``restart`` is about the old run: the next run is
a row of its own that begins ``active``, and no terminal run ever leaves its status but by ``retry_failed_step``.

``decide`` is the only way to read the table, for the code and for the tests that count the walked transitions.
``python -m keepstep.kernel.transitions`` prints ``docs/reference/states.md``. Nothing else may live here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from keepstep.errors import InstanceStateError, InstanceTerminalError, LeaseLostError
from keepstep.model.status import TERMINAL, Status


class Trigger(StrEnum):
    """What can happen to a run."""

    CLAIM = "claim"
    PARK = "park"
    RELEASE = "release"
    PAUSE = "pause"
    COMPLETE = "complete"
    CONTINUE_AS_NEW = "continue_as_new"
    FAIL = "fail"
    CANCELLED = "cancelled"
    RESCUE = "rescue"
    CRASH_LOOP = "crash_loop"
    PAUSE_REQUESTED = "pause_requested"
    RESUME = "resume"
    EVENT = "event"
    CANCEL_REQUESTED = "cancel_requested"
    TERMINATE = "terminate"
    RESTART = "restart"
    RETRY_FAILED_STEP = "retry_failed_step"


MEANINGS: Mapping[Trigger, str] = {
    Trigger.CLAIM: "a runner takes the due task (B2)",
    Trigger.PARK: "every branch waits; the lease is given back",
    Trigger.RELEASE: "the run is given back unfinished: a drain, or the end of an optimistic tick",
    Trigger.PAUSE: "a requested pause takes effect: nothing executes (E3)",
    Trigger.COMPLETE: "the body returned",
    Trigger.CONTINUE_AS_NEW: "the body ended this run and began the next (C10)",
    Trigger.FAIL: "the body raised (C5)",
    Trigger.CANCELLED: "the body ended by the cancellation that was asked for (E5)",
    Trigger.RESCUE: "the holder's lease expired; the task is due again",
    Trigger.CRASH_LOOP: "the lease expired too often without a boundary (B7)",
    Trigger.PAUSE_REQUESTED: "`pause()`",
    Trigger.RESUME: "`resume()`",
    Trigger.EVENT: "`send_event()`",
    Trigger.CANCEL_REQUESTED: "`cancel()`",
    Trigger.TERMINATE: "`terminate()`",
    Trigger.RESTART: "`restart()`: what becomes of the old run",
    Trigger.RETRY_FAILED_STEP: "`retry_failed_step()`",
}
"""What each trigger is, for readers of the generated page."""


class To(NamedTuple):
    """The run's status changes."""

    status: Status


class Stay(NamedTuple):
    """The status stays: nothing to do, or only a wish or a wake-up is noted."""


class Refuse(NamedTuple):
    """The trigger is not allowed in this status; ``code`` is the stable code of the error (H)."""

    code: str


Decision = To | Stay | Refuse

_LOST = Refuse(LeaseLostError.code)
_ENDED = Refuse(InstanceTerminalError.code)
_STATE = Refuse(InstanceStateError.code)

_IN_ACTIVE: Mapping[Trigger, Decision] = {
    Trigger.CLAIM: Stay(),
    Trigger.PARK: To(Status.WAITING),
    Trigger.RELEASE: Stay(),
    Trigger.PAUSE: To(Status.PAUSED),
    Trigger.COMPLETE: To(Status.COMPLETE),
    Trigger.CONTINUE_AS_NEW: To(Status.COMPLETE),
    Trigger.FAIL: To(Status.ERRORED),
    Trigger.CANCELLED: To(Status.CANCELLED),
    Trigger.RESCUE: Stay(),
    Trigger.CRASH_LOOP: To(Status.ERRORED),
    Trigger.PAUSE_REQUESTED: Stay(),
    Trigger.RESUME: Stay(),
    Trigger.EVENT: Stay(),
    Trigger.CANCEL_REQUESTED: Stay(),
    Trigger.TERMINATE: To(Status.TERMINATED),
    Trigger.RESTART: To(Status.TERMINATED),
    Trigger.RETRY_FAILED_STEP: _STATE,
}

# An optimistic tick (B9) ends a waiting run's boundary without a claim, so park, release and the ends are here too.
# Nobody holds a waiting run: there is no lease to rescue, and parking has cleared the count of takeovers.
_IN_WAITING: Mapping[Trigger, Decision] = {
    **_IN_ACTIVE,
    Trigger.CLAIM: To(Status.ACTIVE),
    Trigger.PARK: Stay(),
    Trigger.RELEASE: To(Status.ACTIVE),
    Trigger.RESCUE: _LOST,
    Trigger.CRASH_LOOP: _LOST,
    Trigger.CANCEL_REQUESTED: To(Status.ACTIVE),
}

_BY_RUNNER = frozenset(
    {
        Trigger.CLAIM,
        Trigger.PARK,
        Trigger.RELEASE,
        Trigger.PAUSE,
        Trigger.COMPLETE,
        Trigger.CONTINUE_AS_NEW,
        Trigger.FAIL,
        Trigger.CANCELLED,
        Trigger.RESCUE,
        Trigger.CRASH_LOOP,
    }
)

_IN_PAUSED: Mapping[Trigger, Decision] = {
    **dict.fromkeys(_BY_RUNNER, _LOST),
    Trigger.PAUSE_REQUESTED: Stay(),
    Trigger.RESUME: To(Status.ACTIVE),
    Trigger.EVENT: Stay(),
    Trigger.CANCEL_REQUESTED: To(Status.ACTIVE),
    Trigger.TERMINATE: To(Status.TERMINATED),
    Trigger.RESTART: To(Status.TERMINATED),
    Trigger.RETRY_FAILED_STEP: _STATE,
}

_IN_TERMINAL: Mapping[Trigger, Decision] = {
    **dict.fromkeys(_BY_RUNNER, _LOST),
    Trigger.PAUSE_REQUESTED: _ENDED,
    Trigger.RESUME: Stay(),
    Trigger.EVENT: _ENDED,
    Trigger.CANCEL_REQUESTED: _ENDED,
    Trigger.TERMINATE: _ENDED,
    Trigger.RESTART: Stay(),
    Trigger.RETRY_FAILED_STEP: _STATE,
}

_ROWS: Mapping[Status, Mapping[Trigger, Decision]] = {
    Status.ACTIVE: _IN_ACTIVE,
    Status.WAITING: _IN_WAITING,
    Status.PAUSED: _IN_PAUSED,
    Status.COMPLETE: _IN_TERMINAL,
    Status.ERRORED: {**_IN_TERMINAL, Trigger.RETRY_FAILED_STEP: To(Status.ACTIVE)},
    Status.TERMINATED: _IN_TERMINAL,
    Status.CANCELLED: _IN_TERMINAL,
}

TABLE: Mapping[tuple[Status, Trigger], Decision] = {
    (status, trigger): row[trigger] for status, row in _ROWS.items() for trigger in Trigger
}
"""Every status and trigger, and what follows."""


def decide(status: Status | str, trigger: Trigger) -> Decision:
    """Look up what ``trigger`` does to a run in ``status``."""
    return TABLE[Status(status), trigger]


def markdown() -> str:
    """Draw the table as ``docs/reference/states.md``."""
    return "\n".join([_HEAD, *_diagram(), _MIDDLE, *_matrix(), _TRIGGERS, *_meanings(), ""])


_HEAD = """\
# States of an instance

<!-- Generated by `python -m keepstep.kernel.transitions`. Change kernel/transitions.py, not this page. -->

A run is live while it is `active`, `waiting` or `paused`; the other statuses are terminal. The diagram shows what
changes the status; the table below it shows every status and trigger.
"""

_MIDDLE = """
## Every status and trigger

A status is where the run goes; `·` means that the status stays (nothing to do, or only a wish or a wake-up is
noted); a code in capitals is the error that refuses the trigger.
"""

_TRIGGERS = """
## Triggers
"""


def _diagram() -> list[str]:
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> active: create"]
    arrows: dict[tuple[Status, Status], list[Trigger]] = {}
    for (status, trigger), decision in TABLE.items():
        if isinstance(decision, To):
            arrows.setdefault((status, decision.status), []).append(trigger)
    for (source, target), triggers in arrows.items():
        lines.append(f"    {source} --> {target}: {', '.join(triggers)}")
    lines += [f"    {status} --> [*]" for status in Status if status in TERMINAL]
    return [*lines, "```"]


def _matrix() -> list[str]:
    head = "| trigger | " + " | ".join(Status) + " |"
    rule = "|---" * (len(Status) + 1) + "|"
    rows = [
        f"| `{trigger}` | " + " | ".join(_cell(TABLE[status, trigger]) for status in Status) + " |"
        for trigger in Trigger
    ]
    return [head, rule, *rows]


def _cell(decision: Decision) -> str:
    match decision:
        case To(status):
            return f"**{status}**"
        case Stay():
            return "·"
        case Refuse(code):
            return code


def _meanings() -> list[str]:
    return ["| trigger | what it is |", "|---|---|"] + [f"| `{t}` | {MEANINGS[t]} |" for t in Trigger]


if __name__ == "__main__":
    sys.stdout.write(markdown())
