"""The world that steps see while a simulation runs: the wall clock shows virtual time; threads and sockets are refused.

The module ``random`` is seeded, so that a run is repeated as it was. What is not caught: functions of C libraries that
read the clock themselves, and other processes.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from keepstep_testing.sim.clock import WorldClock
from keepstep_testing.sim.guard import RealWorldError


@contextmanager
def virtual_world(clock: WorldClock) -> Generator[None, None, None]:
    """Virtual time inside; no threads, no sockets."""
    replaced: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
        (time, "time", lambda: clock.now_ms() / 1000),
        (time, "time_ns", lambda: clock.now_ms() * 1_000_000),
        (time, "monotonic", clock.monotonic),
        (time, "perf_counter", clock.monotonic),
        (
            time,
            "sleep",
            _refusing("time.sleep", "make the step async and await asyncio.sleep, which takes virtual time"),
        ),
        (threading.Thread, "start", _refusing("a thread", "a simulation has one thread")),
        (socket.socket, "__init__", _refusing("a socket", "a simulation has no network")),
    )
    before = [(place, name, getattr(place, name)) for place, name, _ in replaced]
    for place, name, instead in replaced:
        setattr(place, name, instead)
    try:
        yield
    finally:
        for place, name, real in before:
            setattr(place, name, real)


def _refusing(what: str, why: str) -> Callable[..., Any]:
    def refused(*_: Any, **__: Any) -> Any:
        raise RealWorldError(f"it asked for {what}, and {why}")

    return refused
