"""``@sim_test``: a test is run again and again, each time with another order of events and other mishaps.

The first run is calm. Then each is drawn from its seed: who goes first, what crashes where, for a while; after that
everything is fair, and must come to its end. What fails is made smaller, saved, and named in one line to paste.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keepstep_testing import settings
from keepstep_testing.mishaps import Case, Watch
from keepstep_testing.runs import FAILURES, Outcome, Plan, Run, drawn, read_run, smaller
from keepstep_testing.simulation import Simulation
from keepstep_testing.tracepage import show
from keepstep_testing.verdict import DurabilityError
from keepstep_testing.workers import search

Test = Callable[[Simulation], Any]

CORPUS = "sim_corpus"
SHRINKS_MAX = 60


@dataclass(slots=True)
class Exploration:
    """What was explored.

    Attributes:
        name: of the test.
        schedules: how many runs.
        seconds: real time that they took.
        fired: mishaps by kind.
        labels: kinds of places at which processes were seen.
        reached: what ``sim.sometimes`` counted, by name.
    """

    name: str
    schedules: int = 0
    seconds: float = 0.0
    fired: Counter[str] = field(default_factory=Counter)
    labels: set[str] = field(default_factory=set)
    reached: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """One more run."""
        self.schedules += 1
        self.fired += outcome.fired
        self.labels |= outcome.labels
        for name, count in outcome.reached.items():
            self.reached[name] += count

    def join(self, other: Exploration) -> None:
        """What another process explored beside it."""
        self.schedules += other.schedules
        self.fired += other.fired
        self.labels |= other.labels
        for name, count in other.reached.items():
            self.reached[name] += count

    def __str__(self) -> str:
        fired = ", ".join(f"{name} {count}" for name, count in sorted(self.fired.items())) or "no mishaps"
        never = [name for name, count in self.reached.items() if not count]
        lost = f"; never reached: {', '.join(never)}" if never else ""
        return (
            f"{self.name}: {self.schedules} schedules in {self.seconds:.1f} s, {len(self.labels)} kinds of places; "
            f"{fired}{lost}"
        )


def sim_test(*, budget: str = "2s", schedules: int | None = None) -> Callable[[Test], Callable[..., None]]:
    """Make a test of a simulation one that explores.

    The test takes ``sim``, and other fixtures if it wants; it may be sync, and call ``sim.run``. Options of the command
    line say more: ``--sim-budget``, ``--sim-seed``, ``--sim-replay``, ``--sim-faults``, ``--sim-exhaustive``,
    ``--sim-workers``.

    Args:
        budget: how long it explores: ``"2s"``, ``"500ms"``, ``"5min"``.
        schedules: how many runs at most; None = as many as the budget allows.
    """
    settings.seconds(budget)

    def decorate(test: Test) -> Callable[..., None]:
        signature = inspect.signature(test)
        if "sim" not in signature.parameters:
            raise TypeError(f"{test.__name__} is decorated with @sim_test and takes no `sim`")

        @functools.wraps(test)
        def explores(**fixtures: Any) -> None:
            __tracebackhide__ = True
            explore(
                functools.partial(test, **fixtures),
                budget=budget,
                schedules=schedules,
                name=test.__name__,
                home=Path(inspect.getfile(test)).parent,
            )

        del explores.__wrapped__
        left = [each for name, each in signature.parameters.items() if name != "sim"]
        vars(explores)["__signature__"] = signature.replace(parameters=left)
        return explores

    return decorate


def explore(
    test: Callable[..., Any],
    *,
    budget: str = "2s",
    schedules: int | None = None,
    name: str = "test",
    home: Path | None = None,
) -> Exploration:
    """Explore a test, as :func:`sim_test` does; ``test`` is called with ``sim=`` for each run.

    Args:
        test: sync or async.
        budget: real time, like ``"2s"``.
        schedules: how many runs at most.
        name: for reports and saved runs.
        home: beside which folder ``sim_corpus`` holds kept runs.

    Raises:
        DurabilityError: a run failed; its cause is what the test raised.
    """
    __tracebackhide__ = True
    options = settings.current()
    found = Exploration(name)
    started = time.perf_counter()
    seconds = options.budget_s if options.budget_s is not None else settings.seconds(budget)
    try:
        _explore(test, found, home, schedules, started + seconds)
    finally:
        found.seconds = time.perf_counter() - started
        settings.reports.append(str(found))
    return found


def play(test: Callable[..., Any], run: Run, *, traced: bool = False) -> Outcome:
    """Play one run."""
    plan = Plan(run)
    with Simulation(
        seed=run.seed,
        chooser=plan.chooser,
        disaster=plan,
        cache=run.cache,
        skew_ms=run.skew_ms,
        traced=traced,
    ) as sim:
        plan.simulation = sim
        error: BaseException | None = None
        try:
            if inspect.iscoroutinefunction(getattr(test, "func", test)):
                sim.run(functools.partial(test, sim=sim))
            else:
                test(sim=sim)
        except Exception as raised:  # noqa: BLE001  # a test may raise anything
            error = raised
        again = Run(run.seed, cases=tuple(plan.struck), deviations=plan.chooser.deviations, whole=run.whole)
        trace = tuple(sim.lines) if traced else ()
    return Outcome(run, again, error, plan.fired, plan.labels, sim.reached, trace)


def _explore(
    test: Callable[..., Any], found: Exploration, home: Path | None, schedules: int | None, until: float
) -> None:
    """First what is given, then what is drawn, seed after seed."""
    options = settings.current()
    for run in _given(test, found.name, home, options):
        if found.schedules and schedules is not None and found.schedules >= schedules:
            return
        _survives(test, found, play(test, run))
        if run.cases is None and time.perf_counter() > until:
            return
    if options.replay is not None or options.exhaustive:
        return
    left = None if schedules is None else schedules - found.schedules
    if options.workers > 1:
        failed = search(
            lambda seed: play(test, drawn(seed)),
            found,
            first=options.seed,
            count=left,
            until=until,
            workers=options.workers,
        )
        if failed is not None:
            _survives(test, found, _again(test, failed), counted=True)
        return
    for seed in itertools.count(options.seed) if left is None else range(options.seed, options.seed + left):
        _survives(test, found, play(test, drawn(seed)))
        if time.perf_counter() > until:
            return


def _survives(
    test: Callable[..., Any], found: Exploration, outcome: Outcome, *, counted: bool = False
) -> None:
    __tracebackhide__ = True
    if not counted:
        found.add(outcome)
    if outcome.error is not None:
        raise DurabilityError(_told(test, found.name, outcome, found), None) from outcome.error


def _again(test: Callable[..., Any], seed: int) -> Outcome:
    """The run that failed in another process."""
    outcome = play(test, drawn(seed))
    if outcome.error is None:
        raise DurabilityError(
            f"seed {seed} fails in a process of its own and not in this one: the test depends on more than its seed"
        )
    return outcome


def _given(
    test: Callable[..., Any], name: str, home: Path | None, options: settings.Settings
) -> Iterator[Run]:
    """The run to play again; or the calm one, the kept ones, and every mishap at every place."""
    if options.replay is not None:
        path = Path(options.replay)
        yield read_run(path)[1] if path.suffix == ".json" else _run_of(Case.of(options.replay))
        return
    yield Run(chaos_picks=0)
    for path in sorted((home / CORPUS).glob("*.json")) if home is not None else ():
        whose, run = read_run(path)
        if whose == name:
            yield run
    if options.exhaustive:
        watch = Watch()
        with Simulation(disaster=watch) as sim:
            watch.simulation = sim
            if inspect.iscoroutinefunction(getattr(test, "func", test)):
                sim.run(functools.partial(test, sim=sim))
            else:
                test(sim=sim)
        yield from (_run_of(each) for each in watch.cases() if settings.wants(each.mishap))


def _run_of(case: Case) -> Run:
    if case.gate is None:
        return Run(cases=(), deviations={}, whole=(case.mishap,))
    return Run(cases=(str(case),), deviations={})


def _told(test: Callable[..., Any], name: str, outcome: Outcome, found: Exploration) -> str:
    smallest = _shrunk(test, outcome)
    path = _save(name, smallest)
    run = smallest.replay
    node = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0] or name
    lines = [
        f"{name} fails in schedule {found.schedules} (seed {outcome.run.seed}):",
        "",
        *(f"  {each}" for each in str(smallest.error).splitlines()),
        "",
        "  What is left of the run after making it smaller:",
        *(f"    {each}" for each in (*run.whole, *(run.cases or ()))),
        *(
            f"    instead of {default}: {', '.join(picked)}"
            for default, picked in list((run.deviations or {}).items())[:8]
        ),
    ]
    if not (run.whole or run.cases or run.deviations):
        lines.append("    nothing: it fails without any mishap")
    if settings.current().trace is not None:
        lines += ["", show(path.stem, "\n".join(lines), play(test, smallest.replay, traced=True).trace)]
    lines += ["", "  To play it again:", f"    pytest '{node}' --sim-replay={path}"]
    lines += [f"  To keep it as a regression test, move the file to {CORPUS}/ beside the test."]
    return "\n".join(lines)


def _shrunk(test: Callable[..., Any], outcome: Outcome) -> Outcome:
    """The smallest run found that fails in the same way; the exact replay, at least."""
    again = play(test, outcome.replay)
    best = again if again.error is not None else outcome
    left = SHRINKS_MAX
    progress = best is again
    while progress and left > 0:
        progress = False
        for candidate in smaller(best.replay):
            left -= 1
            tried = play(test, candidate)
            if tried.error is not None and tried.said == best.said:
                best, progress = tried, True
                break
            if left <= 0:
                break
    return best


def _save(name: str, outcome: Outcome) -> Path:
    FAILURES.mkdir(exist_ok=True)
    path = FAILURES / f"{re.sub(r'[^A-Za-z0-9_-]', '-', name)}-{outcome.run.seed}.json"
    path.write_text(outcome.replay.to_json(name, outcome.said), encoding="utf-8")
    return path
