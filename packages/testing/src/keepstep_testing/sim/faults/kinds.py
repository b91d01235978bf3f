"""What a kind of fault is, what it may strike, and the register of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keepstep.store.errors import translate
from keepstep_testing.sim.gates import Gate, Message, Option

if TYPE_CHECKING:
    from keepstep_testing.sim.stage import Stage

LEASE_S = 5.0
"""The lease of simulated runners: stalls are measured by it."""
Act = Callable[["Stage", Any, float], bool]
"""Does it, to an option, for so many seconds; True when the option must not be opened now."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault.

    Attributes:
        kind: of ``KINDS``.
        nth: strikes at the n-th gate that this kind may strike, from 1.
        seconds: how long what it does lasts, or after how long what it took comes back.
        gate: the name of the gate that it struck; a replay strikes there.
    """

    kind: str
    nth: int
    seconds: float
    gate: str | None = None


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A kind of fault.

    Attributes:
        name: in plans and tables.
        number: in simulation.md's list.
        title: for readers.
        may_strike: whether it can strike an option.
        act: what it does; True when the option must not be opened now.
        seconds: what ``Fault.seconds`` is drawn from.
    """

    name: str
    number: str
    title: str
    may_strike: Callable[[Option], bool]
    act: Act
    seconds: tuple[float, ...] = (0.0,)


KINDS: dict[str, FaultKind] = {}


def kind(
    name: str,
    number: str,
    title: str,
    may_strike: Callable[[Option], bool],
    seconds: tuple[float, ...] = (0.0,),
) -> Callable[[Act], Act]:
    """Register a kind; the decorated function does it."""

    def registered(act: Act) -> Act:
        KINDS[name] = FaultKind(name, number, title, may_strike, act, seconds)
        return act

    return registered


def hold(stage: Stage, option: Option, seconds: float) -> bool:
    """Have an option wait for so long: what kinds do that make something late."""
    option.after_us = stage.world.clock.us + int(seconds * 1e6)
    return True


# --- what may be struck

READS = frozenset(
    {
        "load",
        "next_due",
        "look_held",
        "reread",
        "neighbours",
        "first_due_hooks",
        "due",
        "check schema version",
    }
)


_TICKING = frozenset({"due:committed", "load:committed", "tick:begin", "tick:committed", "reread:committed"})


def at_runner(option: Option) -> bool:
    """Any gate of a runner."""
    return isinstance(option, Gate) and option.process.name.startswith("r")


def at_server(option: Option) -> bool:
    """Any gate of a machine that serves."""
    return isinstance(option, Gate) and option.process.name[0] in "rt"


def at_written(option: Option) -> bool:
    """The answer of a write."""
    label, _, point = option.key.label.rpartition(":")
    return isinstance(option, Gate) and point == "committed" and label not in READS


def at_read(option: Option) -> bool:
    """The answer of a query."""
    label, _, point = option.key.label.rpartition(":")
    return isinstance(option, Gate) and point == "committed" and label in READS


def at_commit(option: Option) -> bool:
    """A COMMIT."""
    return isinstance(option, Gate) and option.key.label.endswith(":commit")


def at_begin(option: Option) -> bool:
    """The beginning of a write."""
    return (
        isinstance(option, Gate)
        and option.key.label.endswith(":begin")
        and option.key.label != "thread:begin"
    )


def at_start_up(option: Option) -> bool:
    """What a runner does when it starts."""
    return isinstance(option, Gate) and option.key.label.partition(":")[0] in {
        "register",
        "rescue",
        "neighbours",
    }


def at_step(option: Option) -> bool:
    """Within a step's code."""
    return isinstance(option, Gate) and option.key.label == "step"


def at_renewal(option: Option) -> bool:
    """A heartbeat."""
    return isinstance(option, Gate) and option.key.label == "renew:begin"


def at_ticking(option: Option) -> bool:
    """Within a tick of a serverless host, where it waits for the database."""
    return at_server(option) and option.key.actor.startswith("t") and option.key.label in _TICKING


def at_hook(option: Option) -> bool:
    """Within a hook's handler, after the receiver has done its part."""
    return isinstance(option, Gate) and option.key.label == "hook"


def at_thread(option: Option) -> bool:
    """The beginning of a thread's work: of a sync step, or of a user's transaction."""
    return isinstance(option, Gate) and option.key.label == "thread:begin"


def at_database(option: Option) -> bool:
    """Wherever a process waits for the database."""
    label = option.key.label
    return (
        isinstance(option, Gate)
        and label.endswith((":begin", ":committed"))
        and not label.startswith("thread")
    )


def at_quiet(option: Option) -> bool:
    """Any gate of a machine that serves, while nobody writes."""
    return at_server(option) and not _writing(option)


def at_quiet_written(option: Option) -> bool:
    """The answer of a write of a machine that serves, while nobody writes."""
    return at_written(option) and at_server(option) and not _writing(option)


def at_message(option: Option) -> bool:
    """A wake-up."""
    return isinstance(option, Message) and option.key.label in {"wake", "hint"}


def at_tick(option: Option) -> bool:
    """An HTTP tick."""
    return isinstance(option, Message) and option.key.label == "tick"


def _writing(option: Option) -> bool:
    return isinstance(option, Gate) and option.process.world.in_transaction


# --- what a server says


class _ServerError(Exception):
    """An error as drivers of PostgreSQL raise it: with its SQLSTATE."""

    def __init__(self, sqlstate: str, text: str) -> None:
        super().__init__(f"injected: {text}")
        self.sqlstate = sqlstate


def refusal_of(sqlstate: str, text: str) -> Exception:
    """What the engine's store makes of a server's error."""
    found = translate(_ServerError(sqlstate, text), "injected")
    assert found is not None, f"{sqlstate} is unknown to the store"
    return found
