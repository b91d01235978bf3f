"""What the command line says: read by the pytest plugin, used by whatever explores. Without pytest, the defaults."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass

KINDS = (
    "crash",
    "takeover",
    "drain",
    "answer-lost",
    "refused",
    "no-memory",
    "sent-twice",
    "clock-ahead",
    "clock-behind",
)
"""What can happen to a process; :mod:`keepstep_testing.mishaps` says what each is."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one session.

    Attributes:
        budget_s: how long one ``@sim_test`` explores, seconds; None = as the test says.
        seed: of the first schedule.
        replay: a case, or a saved run's file, to play alone; None = explore.
        faults: kinds to add (``+``) and to leave out (``-``).
        exhaustive: every mishap at every place, instead of a search.
        trace: how to show what happened in a failing run: ``text`` or ``html``; None = not at all.
        workers: processes that explore one ``@sim_test``.
    """

    budget_s: float | None = None
    seed: int = 1
    replay: str | None = None
    faults: tuple[str, ...] = ()
    exhaustive: bool = False
    trace: str | None = None
    workers: int = 1


_current = [Settings()]


reports: list[str] = []
"""What explorations said, for the end of the session."""

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0}


def seconds(text: str) -> float:
    """Read ``2s``, ``500ms``, ``5min``.

    Raises:
        ValueError: it is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|min)", text.strip())
    if found is None:
        raise ValueError(f"a budget is written like 2s, 500ms or 5min, not {text!r}")
    return float(found[1]) * _SECONDS[found[2]]


def current() -> Settings:
    """The session's."""
    return _current[0]


def use(settings: Settings) -> None:
    """Make these the session's."""
    _current[0] = settings


def wants(mishap: str) -> bool:
    """Whether ``--sim-faults`` lets a kind of mishap happen: ``+`` keeps to those named, ``-`` leaves one out."""
    named = _current[0].faults
    kept = {each[1:] for each in named if each.startswith("+")}
    return f"-{mishap}" not in named and (not kept or mishap in kept)


def again(case: str) -> str:
    """One line to paste that plays a case again."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    if not test:
        return f"crash_everywhere(…, only={case!r})"
    return f"pytest {shlex.quote(test)} --sim-replay={shlex.quote(case)}"
