"""Judges: programs that are right about the engine as it is, and should notice each fault of it.

The simulation plays schedule after schedule until one fails; the tests of a layer stop at the first failure.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mutants.sandbox import Outcome, Sandbox

State = Literal["killed", "survived", "timeout", "broken", "stale"]

PATIENCE = 15
"""How much longer a judge may take on a busy machine."""
BEGIN_S = 30.0
"""What a judge needs beside, to begin."""


@dataclass(frozen=True)
class Verdict:
    """What a judge says of a mutant.

    Attributes:
        state: ``timeout`` when the judge did not come to an end by itself, ``broken`` when it could not even begin.
        by: which invariant or test noticed; else what is to be said.
        schedules: how many were played; 0 when tests judged.
        seconds: how long it took, for the simulation in seconds of the processor.
        detail: what the judge printed of the failure.
    """

    state: State
    by: str = ""
    schedules: int = 0
    seconds: float = 0.0
    detail: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """As data."""
        return asdict(self)


Judge = Callable[[Sandbox], Verdict]


def simulation(seconds: float) -> Judge:
    """Play schedules for so many seconds of the processor."""

    def judge(box: Sandbox) -> Verdict:
        outcome = box.run(["-m", "mutants.playing", str(seconds)], PATIENCE * seconds + BEGIN_S)
        if outcome.code in {None, -signal.SIGXCPU}:
            return Verdict("timeout", "a schedule did not end", seconds=outcome.seconds)
        said = re.search(r"^VERDICT (.*)$", outcome.output, re.MULTILINE)
        if said is None:
            return _broken(outcome)
        found = json.loads(said[1])
        state: State = "killed" if found["by"] else "survived"
        return Verdict(state, found["by"], found["schedules"], found["seconds"], found["detail"])

    return judge


def tests(paths: Sequence[str], seconds: float) -> Judge:
    """Run these tests, until the first that fails."""

    def judge(box: Sandbox) -> Verdict:
        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-p", "mutants.origin", "--timeout", "60"]
        outcome = box.run(["-m", "pytest", *options, *paths], seconds)
        if outcome.code is None:
            return Verdict("timeout", "the tests did not end", seconds=outcome.seconds)
        if outcome.code == 0:
            return Verdict("survived", seconds=outcome.seconds)
        failed = re.search(r"^(?:FAILED|ERROR) (\S+?)(?:\[.*?\])?(?: - (.*))?$", outcome.output, re.MULTILINE)
        if failed is None and "Timeout" in outcome.output:
            return Verdict("timeout", "a test did not end", seconds=outcome.seconds)
        if failed is None:
            return _broken(outcome)
        return Verdict("killed", failed[1], 0, outcome.seconds, failed[2] or "")

    return judge


def _broken(outcome: Outcome) -> Verdict:
    """The judge itself fell: the engine cannot even be imported, or kills its process."""
    last = outcome.output.strip().splitlines()[-1:] or [f"exit code {outcome.code}"]
    return Verdict("broken", "it does not run", 0, outcome.seconds, last[0])
