"""Refuses the real world while a simulation runs: time, threads, sockets, randomness without a seed raise at the call.

Functions that were bound by name before (``from time import time``) and ``datetime.now`` cannot be caught.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

ALLOWED = frozenset({"logging", "sqlalchemy.pool.base", "sqlalchemy.log"})
"""Modules that stamp what nobody decides on."""


class RealWorldError(AssertionError):
    """Code in a simulation asked for real time, a thread, a socket or unseeded randomness."""


def _refusing(name: str, real: Callable[..., Any], hint: str) -> Callable[..., Any]:
    def refused(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")  # pyright: ignore[reportPrivateUsage]  # no other way
        if caller in ALLOWED:
            return real(*args, **kwargs)
        raise RealWorldError(f"{name} was called in a simulation by {caller}: {hint}")

    return refused


_TIME = "take the time from App(clock=…), or let a step wait with asyncio.sleep"
_RANDOM = "draw from a seeded random.Random, or from step.random()"
_PLACES: tuple[tuple[Any, str, str], ...] = (
    *(
        (time, name, _TIME)
        for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "sleep")
    ),
    *(
        (random, name, _RANDOM)
        for name in (
            "random",
            "randint",
            "randrange",
            "choice",
            "choices",
            "shuffle",
            "sample",
            "uniform",
            "getrandbits",
        )
    ),
    (os, "urandom", _RANDOM),
    (threading.Thread, "start", "a simulation has one thread: give the step an async function"),
    (
        socket.socket,
        "__init__",
        "a simulation has no network: put the call behind a function that a test replaces",
    ),
)


_REFUSED = tuple(
    (place, name, _refusing(f"{getattr(place, '__name__', place)}.{name}", getattr(place, name), hint))
    for place, name, hint in _PLACES
)


@contextmanager
def no_real_world() -> Generator[None, None, None]:
    """Refuse the real world inside."""
    before = [(place, name, getattr(place, name)) for place, name, _ in _PLACES]
    for place, name, refused in _REFUSED:
        setattr(place, name, refused)
    try:
        yield
    finally:
        for place, name, real in before:
            setattr(place, name, real)
