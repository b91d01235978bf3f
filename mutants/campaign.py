"""A campaign: first the engine as it is, which every judge must let pass; then mutant after mutant."""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from types import MappingProxyType
from typing import NamedTuple

from mutants.automatic import Change
from mutants.fault import Mutant, StaleError, mutated
from mutants.judges import Judge, Verdict, simulation, tests
from mutants.sandbox import Sandbox, sandbox

_TESTS = "packages/core/tests"
_STORE = ("share_out", "conformance", "defects", "plans")
TESTS: Mapping[str, Sequence[str]] = {
    "kernel": (f"{_TESTS}/kernel",),
    "loop": (f"{_TESTS}/loop",),
    "engine": (f"{_TESTS}/engine",),
    "store": (*(f"{_TESTS}/store/test_{name}.py" for name in _STORE), f"{_TESTS}/interleavings"),
    "services": (f"{_TESTS}/services",),
}
"""The unit tests of each layer of which something is changed."""
TESTS_S = 300.0
"""For the unit tests of a layer."""

FALSE_ALARM = "the engine as it is does not pass: {by} {detail}"


class FalseAlarmError(Exception):
    """A judge finds fault with the engine as it is: nothing that it says proves anything."""


class Judged(NamedTuple):
    """A mutant and what became of it; ``by`` the simulation, and by tests when it lets the mutant pass."""

    mutant: Mutant | Change
    simulated: Verdict
    tested: Verdict | None = None

    @property
    def verdicts(self) -> list[Verdict]:
        """The last one counts."""
        return [each for each in (self.simulated, self.tested) if each is not None]

    @property
    def caught(self) -> bool:
        """Whether something noticed it: by a verdict, by not ending, or by not running at all."""
        return self.verdicts[-1].state in {"killed", "timeout", "broken"}


Job = Callable[[Sandbox], Judged]


class Campaign:
    """Judges mutants in copies of the engine, one copy a worker.

    Args:
        seconds: for the simulation of one mutant.
        workers: how many mutants are judged at a time.
        tested: whether unit tests judge what the simulation lets pass.
        passed: what the simulation has let pass earlier, by name.
    """

    def __init__(
        self,
        seconds: float,
        workers: int = 1,
        *,
        tested: bool = True,
        passed: Mapping[str, Verdict] = MappingProxyType({}),
    ) -> None:
        self._seconds = seconds
        self._workers = workers
        self._tested = tested
        self._passed = passed

    def by_hand(self, mutants: Sequence[Mutant]) -> Iterator[Judged]:
        """Judge these by the simulation, and those that pass by unit tests, in the order in which they end.

        Raises:
            FalseAlarmError: the engine as it is does not pass.
        """
        self._control({"the simulation": simulation(self._seconds)})
        yield from self._all([lambda box, each=each: self._one(box, each) for each in mutants])

    def automatic(self, changes: Sequence[Change]) -> Iterator[Judged]:
        """Judge these by the simulation, and those that pass by the tests of their layer.

        Raises:
            FalseAlarmError: the engine as it is does not pass.
        """
        layers = sorted({layer_of(each.file) for each in changes})
        judges = {layer: layer_tests([layer]) for layer in layers if self._tested}
        self._control({"the simulation": simulation(self._seconds), **judges})
        yield from self._all([lambda box, each=each: self._change(box, each) for each in changes])

    def _control(self, judges: Mapping[str, Judge]) -> None:
        with sandbox() as box:
            for name, judge in judges.items():
                verdict = judge(box)
                print(
                    f"control: {name}: {verdict.state} {verdict.seconds:.0f} s", file=sys.stderr, flush=True
                )
                if verdict.state != "survived":
                    raise FalseAlarmError(
                        f"{name}: {FALSE_ALARM.format(by=verdict.by, detail=verdict.detail)}"
                    )

    def _all(self, jobs: Sequence[Job]) -> Iterator[Judged]:
        boxes: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()

        def do(job: Job) -> Judged:
            box = boxes.get()
            try:
                return job(box)
            finally:
                boxes.put(box)

        with ExitStack() as stack:
            for _ in range(self._workers):
                boxes.put(stack.enter_context(sandbox()))
            pool = ThreadPoolExecutor(self._workers)
            stack.callback(pool.shutdown, cancel_futures=True)
            for done in as_completed([pool.submit(do, job) for job in jobs]):
                yield done.result()

    def _one(self, box: Sandbox, mutant: Mutant) -> Judged:
        try:
            texts = mutated(mutant.edits, box.core)
        except StaleError as error:
            return Judged(mutant, Verdict("stale", str(error)))
        with box.holding(texts):
            return self._judged(box, mutant, texts)

    def _change(self, box: Sandbox, change: Change) -> Judged:
        with box.holding({change.file: change.text}):
            return self._judged(box, change, [change.file])

    def _judged(self, box: Sandbox, mutant: Mutant | Change, files: Iterable[str]) -> Judged:
        """By the simulation, and if that lets it pass by the unit tests of what is changed."""
        simulated = self._passed.get(mutant.name) or simulation(self._seconds)(box)
        layers = sorted({layer_of(file) for file in files} & TESTS.keys())
        if simulated.state != "survived" or not layers or not self._tested:
            return Judged(mutant, simulated)
        return Judged(mutant, simulated, layer_tests(layers)(box))


def layer_of(file: str) -> str:
    """The folder below ``keepstep`` in which a file is."""
    return file.partition("/")[0]


def layer_tests(layers: Iterable[str]) -> Judge:
    """The unit tests of some layers."""
    return tests([path for layer in layers for path in TESTS[layer]], TESTS_S)
