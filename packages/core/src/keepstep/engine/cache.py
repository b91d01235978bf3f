"""Parked bodies that stay in memory, least recently used first out (A6). A miss costs a replay, never a result."""

from __future__ import annotations

from collections import OrderedDict

from keepstep.engine.parked import Parked
from keepstep.model.records import RunRecord, TaskRecord


class Cache:
    """A bounded map from run to what stays of it while it waits.

    Args:
        runs_max: how many bodies at most; 0 keeps none.
        bytes_max: rough size of all bodies at most.
    """

    def __init__(self, runs_max: int, bytes_max: int) -> None:
        self._runs_max = runs_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._parked: OrderedDict[int, Parked] = OrderedDict()

    def __len__(self) -> int:
        return len(self._parked)

    def put(self, run_id: int, parked: Parked) -> None:
        """Keep a run that has just parked."""
        self._parked[run_id] = parked
        self._bytes += parked.size
        while len(self._parked) > self._runs_max or self._bytes > self._bytes_max:
            _, oldest = self._parked.popitem(last=False)
            self._bytes -= oldest.size
            oldest.body.close()

    def take(self, task: TaskRecord, run: RunRecord) -> Parked | None:
        """What stayed of a run just claimed, if nobody else advanced or steered it since it parked (A6).

        Each claim and each optimistic tick raises the fence by one, and the claim of a parked run raises the
        version by one: both must be exactly the next.
        """
        parked = self._parked.pop(task.run_id, None)
        if parked is None:
            return None
        self._bytes -= parked.size
        if task.fence == parked.fence + 1 and run.version == parked.version + 1:
            return parked
        parked.body.close()
        return None

    def clear(self) -> None:
        """Drop all bodies."""
        for parked in self._parked.values():
            parked.body.close()
        self._parked.clear()
        self._bytes = 0
