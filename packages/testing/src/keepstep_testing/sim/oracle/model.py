"""The reference model of the play: what its params must come to, computed without the engine's kernel or loop.

The model is sequential. What only chance decides (which event a wait took, which branch of a race was first) it reads
from the recorded steps; everything else it computes, and then says which steps there must be.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

POLICY_ATTEMPTS = 4


class Failed(Exception):  # noqa: N818  # it is the model's own way out
    """The body fails here."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class NotRecorded(Exception):  # noqa: N818  # likewise
    """A step that the outcome needs is not recorded."""


class Again(Exception):  # noqa: N818  # likewise
    """The run continues as a new one."""

    def __init__(self, ops: Any) -> None:
        super().__init__()
        self.ops = ops


class Model:
    """One run.

    Args:
        ops: its params.
        steps: its recorded rows by key.

    Attributes:
        used: keys that the model asked for, in its own order.
    """

    def __init__(self, ops: list[Any], steps: dict[str, Any]) -> None:
        self._ops = ops
        self._steps = steps
        self._uses: Counter[str] = Counter()
        self.used: list[str] = []

    def outcome(self) -> tuple[str, Any]:
        """The status, and the output or the name of the error or the next params."""
        try:
            return "complete", [self._play(op) for op in self._ops]
        except Failed as failed:
            return "errored", failed.name
        except Again as again:
            return "again", again.ops

    def _key(self, kind: str, name: str) -> str:
        self._uses[kind, name] += 1  # pyright: ignore[reportArgumentType]
        count = self._uses[kind, name]  # pyright: ignore[reportArgumentType]
        return f"{kind}:{name}" if count == 1 else f"{kind}:{name}#{count}"

    def _row(self, kind: str, name: str) -> Any:
        key = self._key(kind, name)
        self.used.append(key)
        row = self._steps.get(key)
        if row is None or row.seq is None:
            raise NotRecorded(key)
        return row

    def _play(self, op: list[Any]) -> Any:  # noqa: C901  # one case an op
        match op:
            case ["do", name, how]:
                return self._do(name, how)
            case ["sleep", name, ms]:
                if ms:  # what is past returns at once, and leaves no record (D1)
                    self._row("sleep", name)
                return "slept"
            case ["wait", name, _, _]:
                row = self._row("wait", name)
                return "nothing" if row.status == "failed" else json.loads(row.result)["payload"]
            case ["gather", *branches]:
                return self._gather(branches)
            case ["race", *branches]:
                return self._race(branches)
            case ["try", inner]:
                try:
                    return self._play(inner)
                except Failed as failed:
                    return f"caught {failed.name}"
            case ["own", name]:
                self._row("transaction", name)
                return "written"
            case ["hook", name]:
                self._row("do", name)
                return f"{name} triggered"
            case ["log", _]:
                return None
            case ["coin", name]:
                return self._coin(name)
            case ["again", ops]:
                raise Again(ops)
            case _:
                raise ValueError(op)

    def _do(self, name: str, how: dict[str, Any]) -> str:
        row = self._row("do", name)
        reconciles = bool(how.get("intent"))
        must_fail = bool(how.get("never")) or (how.get("fails", 0) >= POLICY_ATTEMPTS and not reconciles)
        if must_fail or row.status == "failed":
            raise Failed(json.loads(row.error)["name"] if row.status == "failed" else "it must fail")
        return f"{name} done"

    def _coin(self, name: str) -> str:
        """A step or a sleep, whichever is recorded."""
        keys = [self._key("do", name), self._key("sleep", name)]
        found = [key for key in keys if key in self._steps and self._steps[key].seq is not None]
        if not found:
            raise NotRecorded(name)
        self.used += found
        return f"{name} done"

    def _gather(self, branches: list[list[Any]]) -> Any:
        """All branches; when one has failed the others need not have come anywhere."""
        values: list[Any] = []
        failed: list[Failed] = []
        missing: list[NotRecorded] = []
        for branch in branches:
            try:
                values.append([self._play(each) for each in branch])
            except Failed as failure:
                failed.append(failure)
            except NotRecorded as step:
                missing.append(step)
        if failed:
            raise failed[0]
        if missing:
            raise missing[0]
        return values

    def _race(self, branches: list[list[Any]]) -> Any:
        best: tuple[int, int, Any, str | None] | None = None
        for number, branch in enumerate(branches):
            before = len(self.used)
            try:
                value, failed = [self._play(each) for each in branch], None
            except Failed as failure:
                value, failed = None, failure.name
            except NotRecorded:
                continue
            seqs = [self._steps[key].seq for key in self.used[before:] if key in self._steps]
            last = max((seq for seq in seqs if seq is not None), default=0)
            if best is None or last < best[0]:
                best = (last, number, value, failed)
        if best is None:
            raise NotRecorded("no branch of a race")
        if best[3] is not None:
            raise Failed(best[3])
        return [best[1], best[2]]
