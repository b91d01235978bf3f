"""Exploring with several processes (``--sim-workers``): each plays every n-th seed; the first failing seed is played again.

A process is forked for each worker, with the test as it stands, so that nothing of it has to be sent. What comes back is
what it counted, and the seed that failed: a seed is a run, so the asking process fails with it by itself.
"""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keepstep_testing.runs import Outcome

if TYPE_CHECKING:
    from keepstep_testing.exploring import Exploration

Player = Callable[[int], Outcome]
"""Plays the run of a seed."""


SEEDS_END = 1 << 62


@dataclass(frozen=True, slots=True)
class _Task:
    play: Player
    found: Exploration
    seeds: range
    count: int | None
    until: float


def search(
    play: Player, found: Exploration, *, first: int, count: int | None, until: float, workers: int
) -> int | None:
    """Play seeds from ``first`` on; the smallest that failed, or None.

    Args:
        play: what to do with a seed.
        found: where runs are counted.
        first: the first seed.
        count: how many runs at most; None = as many as there is time for.
        until: on ``time.perf_counter``: when to end.
        workers: how many processes.
    """
    forking = multiprocessing.get_context("fork")
    stop = forking.Event()
    begun: list[tuple[Any, Any]] = []
    for number in range(workers):
        mine, theirs = forking.Pipe(duplex=False)
        share = None if count is None else len(range(number, count, workers))
        task = _Task(play, type(found)(found.name), range(first + number, SEEDS_END, workers), share, until)
        process = forking.Process(target=_work, args=(task, stop, theirs))
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # other threads, like a test's timeout, hold nothing of ours
            process.start()
        theirs.close()
        begun.append((process, mine))
    return _gathered(found, begun)


def _gathered(found: Exploration, begun: Sequence[tuple[Any, Any]]) -> int | None:
    failed: list[int] = []
    for process, mine in begun:
        try:
            theirs, seed = mine.recv()
        except EOFError:
            process.join()
            raise RuntimeError(
                f"a process that explored {found.name} ended with {process.exitcode}"
            ) from None
        found.join(theirs)
        failed += [] if seed is None else [seed]
        process.join()
        mine.close()
    return min(failed, default=None)


def _work(task: _Task, stop: Any, answer: Any) -> None:
    failed = None
    for seed in task.seeds:
        if stop.is_set() or time.perf_counter() > task.until or task.found.schedules == task.count:
            break
        outcome = task.play(seed)
        task.found.add(outcome)
        if outcome.error is not None:
            failed = seed
            stop.set()
            break
    answer.send((task.found, failed))
    answer.close()
