"""The seams between the engine and its world: clock, randomness, process identity (simulation.md).

Production code and simulation differ in the values of :class:`Seams` and in nothing else. This file is the adapter
of the system clock and of process identity; no other file of the core may read them.
"""

from __future__ import annotations

import math
import os
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from keepstep.authoring.context import StepContext
    from keepstep.engine.attempt import Attempt


class Clock(Protocol):
    """Where time comes from."""

    def now_ms(self) -> int:
        """Wall-clock time, milliseconds UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...


class SystemClock:
    """The machine's own clock."""

    monotonic = staticmethod(time.monotonic)

    def now_ms(self) -> int:
        """Wall-clock time, milliseconds UTC."""
        return time.time_ns() // 1_000_000


def process_alive(pid: int) -> bool:
    """Whether a process of this host exists; True when that cannot be told."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


Callee = Callable[[Callable[..., Any], "Attempt", "StepContext"], Callable[..., Any]]
"""Given a step's function (or its ``reconcile``), its attempt and context: what is called."""


@dataclass(frozen=True, slots=True)
class Seams:
    """Everything of the outside world that the engine asks for.

    Attributes:
        clock: wall clock and monotonic clock.
        random: source of draws and of the random bits of ids.
        host: names this host, boot and process namespace: equal for processes that can see one another's pids.
        pid: this process.
        alive: whether a pid of this host is alive.
        callee: what is called in place of a step's function, if not that itself; a transaction's is as async as it.
    """

    clock: Clock
    random: random.Random
    host: str
    pid: int
    alive: Callable[[int], bool] = process_alive
    callee: Callee | None = None

    @staticmethod
    def production(clock: Clock | None = None) -> Seams:
        """The real world."""
        return Seams(clock or SystemClock(), random.SystemRandom(), _host_name(), os.getpid())


def _host_name() -> str:
    """Host name, boot id and pid namespace; parts that this system does not have are left out."""
    parts = [socket.gethostname()]
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    if boot.exists():
        parts.append(boot.read_text(encoding="ascii").strip()[:8])
    if namespace.exists():
        parts.append(namespace.readlink().name.strip("pid:[]"))
    return "-".join(parts)


CAUTION = 0.9995
"""How much slower than this machine's clock database time is taken to pass: clocks are slewed by up to 500 ppm."""


class DatabaseClock:
    """This process's estimate of database time: never ahead of it, so nothing fires early (B5, D3).

    Each answer of the database carries its time; it is taken at the answer's arrival, later than it was read, and
    moved on by the monotonic clock, a little slower than that: it may itself be fast. Runners decide with it only what
    the database has confirmed or will check.
    """

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic  # at hand: the time is asked for several times a step
        self._base_ms = clock.now_ms()
        self._at = clock.monotonic()

    def monotonic(self) -> float:
        """The process's monotonic clock: when a question is asked, for :meth:`observe`."""
        return self._monotonic()

    def observe(self, db_now_ms: int, asked_at: float) -> None:
        """Take in the database's own time, as just answered.

        An answer that took long says less than the estimate: the later of the two holds, unless the estimate was
        ahead of the answer already when the question was asked (by :meth:`monotonic`).
        """
        if db_now_ms >= self.now_ms() or db_now_ms < self._at_ms(asked_at):
            self._base_ms = db_now_ms
            self._at = self._monotonic()

    def passed(self, instant_ms: int) -> None:
        """The database has found this instant (ms) to be past: the estimate is no earlier."""
        if instant_ms > self.now_ms():
            self._base_ms = instant_ms
            self._at = self._monotonic()

    def now_ms(self) -> int:
        """The estimate, in milliseconds UTC."""
        return self._at_ms(self._monotonic())

    def _at_ms(self, monotonic: float) -> int:
        since = monotonic - self._at
        pace = CAUTION if since >= 0 else 2 - CAUTION  # an instant before was no later than this
        return self._base_ms + math.floor(since * pace * 1000)
