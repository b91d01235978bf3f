"""Parked bodies that stay in memory, least recently used first out (A6). A miss costs a replay, never a result."""

from __future__ import annotations

from collections import OrderedDict

from keepstep.engine.execution import Execution
from keepstep.model.records import RunRecord, TaskRecord


class Cache:
    """A bounded map from run to parked execution.

    Args:
        runs_max: how many bodies at most; 0 keeps none.
        bytes_max: rough size of all bodies at most.
    """

    def __init__(self, runs_max: int, bytes_max: int) -> None:
        self._runs_max = runs_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._parked: OrderedDict[int, tuple[Execution, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._parked)

    def put(self, execution: Execution) -> None:
        """Keep a body that has just parked."""
        size = execution.body.size
        self._parked[execution.run.id] = (execution, size)
        self._bytes += size
        while len(self._parked) > self._runs_max or self._bytes > self._bytes_max:
            _, (oldest, freed) = self._parked.popitem(last=False)
            self._bytes -= freed
            oldest.body.close()

    def take(self, task: TaskRecord, run: RunRecord) -> Execution | None:
        """The body of a run just claimed, if nobody else advanced or steered the run since it parked (A6).

        Each claim and each optimistic tick raises the fence by one, and the claim of a parked run raises the
        version by one: both must be exactly the next.
        """
        found = self._parked.pop(task.run_id, None)
        if found is None:
            return None
        execution, size = found
        self._bytes -= size
        if task.fence == execution.fence + 1 and run.version == execution.run.version + 1:
            return execution
        execution.body.close()
        return None

    def clear(self) -> None:
        """Drop all bodies."""
        for execution, _ in self._parked.values():
            execution.body.close()
        self._parked.clear()
        self._bytes = 0
