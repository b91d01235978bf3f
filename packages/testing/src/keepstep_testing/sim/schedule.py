"""Plays one scenario: chaos, then the fair phase, then the judgement. What comes of it is a :class:`Result`."""

from __future__ import annotations

import gc
import logging
import random
import zlib
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from keepstep_testing.sim.chooser import Deviations, Recording, Replay, strategy_of
from keepstep_testing.sim.coins import COINS
from keepstep_testing.sim.database import Database
from keepstep_testing.sim.faults import strikes as _  # noqa: F401
from keepstep_testing.sim.faults.kinds import Fault
from keepstep_testing.sim.faults.plan import FaultPlan
from keepstep_testing.sim.guard import no_real_world
from keepstep_testing.sim.loop import EndlessProcessError
from keepstep_testing.sim.oracle import rules
from keepstep_testing.sim.oracle.conduct import Alarm
from keepstep_testing.sim.oracle.histories import histories
from keepstep_testing.sim.oracle.oracle import Oracle
from keepstep_testing.sim.roles import Watcher
from keepstep_testing.sim.scenario import Command, Machine, Scenario
from keepstep_testing.sim.stage import Stage
from keepstep_testing.sim.trace import Trace
from keepstep_testing.sim.world import World

FAIR_S = 600.0
PATIENCE_MS = 120_000
"""How long the fair phase waits for anything to happen at all: longer than whatever a play waits for."""
FAIR_PICKS = 2_000
STOP_S = 60.0


@dataclass(slots=True)
class Result:
    """What became of a schedule.

    Attributes:
        scenario: what was played.
        violation: the first offence, or None.
        chooser: what picked.
        struck: the faults that struck, with the gates where they did.
        trace: what happened.
        fired: faults by kind, those of the workload too.
        pairs: kinds of faults by label of the gate.
        gates: gates by label.
        transitions: changes of status.
        labels: committed transactions by label.
        answers: what clients asked, in order, and what came of it.
        picks: choices in all, and in the chaos.
        digest: of the trace and the database: equal for equal seeds.
        history: what runs left behind, without what chance draws.
    """

    scenario: Scenario
    violation: rules.Violation | None
    chooser: Recording | Replay
    struck: list[Fault]
    trace: Trace
    fired: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    gates: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    sometimes: Counter[str] = field(default_factory=Counter)
    answers: list[tuple[str, str, str | None, str]] = field(default_factory=list)
    picks: int = 0
    chaos_picks: int = 0
    digest: int = 0
    history: str = ""

    @property
    def deviations(self) -> Deviations:
        """Where it departed from the schedule without preemptions."""
        return self.chooser.deviations


def play(
    scenario: Scenario,
    database: Database,
    *,
    wanted: bool = False,
    digested: bool = True,
    watcher: Watcher | None = None,
) -> Result:
    """Play a scenario on a database that is emptied first.

    Args:
        scenario: what to play.
        database: kept from schedule to schedule.
        wanted: keep the lines of the trace.
        digested: make a digest of the trace and the database.
        watcher: sees every commit after the oracle.
    """
    database.reset()
    trace = Trace(wanted=wanted, digested=digested)
    plan = FaultPlan(scenario.faults)
    if scenario.deviations is not None:
        chooser: Recording | Replay = Replay(scenario.deviations)
    else:
        chooser = Recording(strategy_of(scenario.strategy, random.Random(f"{scenario.seed}/strategy")))
    world = World(scenario.seed, database, chooser=chooser, disaster=plan, trace=trace)
    oracle = Oracle(world)
    if watcher is not None:
        world.watchers.append(watcher)
    stage = Stage(world, plan, oracle, scenario.seed)
    result = Result(scenario, None, chooser, plan.struck, trace)
    with _simulating(oracle, quiet=not wanted):
        try:
            _perform(scenario, world, stage, result)
        except rules.Violation as violation:
            result.violation = violation
        except EndlessProcessError as error:
            result.violation = rules.Violation("39", str(error))
    database.cut()
    _count(result, world, stage)
    if digested:
        result.digest = zlib.crc32(database.digest().encode(), trace.digest)
    world.bury()
    return result


@contextmanager
def _simulating(oracle: Oracle, *, quiet: bool) -> Generator[None, None, None]:
    """Listen to the engine, keep the real world and the collector out, and its log lines if nobody reads them."""
    log = logging.getLogger("keepstep")
    level, propagate, alarm = log.level, log.propagate, Alarm(oracle)
    log.addHandler(alarm)
    oracle.install()
    gc.disable()
    if quiet:
        log.setLevel(logging.ERROR)
        log.propagate = False
    try:
        with no_real_world():
            yield
    finally:
        log.setLevel(level)
        log.propagate = propagate
        log.removeHandler(alarm)
        gc.enable()
        oracle.uninstall()


def _perform(scenario: Scenario, world: World, stage: Stage, result: Result) -> None:
    ghost = stage.oracle.ghost

    def broken() -> bool:
        return stage.oracle.violation is not None

    def done() -> bool:
        return broken() or (not stage.clients_busy and not ghost.live() and not ghost.undelivered())

    stage.outside.hook_trouble = scenario.hook_fails
    for number, machine in enumerate(scenario.machines, 1):
        stage.start(f"{machine.kind[0]}{number}", machine)
    if scenario.warm:
        world.settle()
    for number, commands in enumerate(scenario.clients, 1):
        stage.client(number, commands)
    world.run(done, FAIR_PICKS if scenario.calm else scenario.chaos_picks, fair=scenario.calm)
    result.chaos_picks = world.picks
    _check(stage)

    stage.plan.heal()
    stage.make_fair()
    world.passing = True
    ghost.moved_at_ms = world.clock.now_ms()
    world.run_for(
        FAIR_S, FAIR_PICKS, lambda: done() or world.clock.now_ms() > ghost.moved_at_ms + PATIENCE_MS
    )
    _check(stage)
    rules.at("L", ghost, stage)
    stage.stop_all()
    world.run_for(STOP_S, FAIR_PICKS, lambda: broken() or not stage.servers())
    _check(stage)
    rules.at("F", ghost, stage)
    if scenario.calm:
        rules.at("Q", ghost, stage)


def _check(stage: Stage) -> None:
    if stage.oracle.violation is not None:
        raise stage.oracle.violation


def _count(result: Result, world: World, stage: Stage) -> None:
    ghost = stage.oracle.ghost
    result.violation = stage.oracle.violation or result.violation
    result.fired = stage.plan.fired + world.reached + _of_workload(result.scenario, stage)
    result.pairs, result.gates = stage.plan.pairs, world.labels
    result.transitions, result.labels = ghost.transitions, ghost.commits_by_label
    result.sometimes = stage.oracle.sometimes
    result.history = histories(ghost)
    result.answers = [
        (each.command.verb, each.command.instance, each.outcome, repr(each.answer))
        for each in stage.operations
    ]
    result.picks = world.picks


def _of_workload(scenario: Scenario, stage: Stage) -> Counter[str]:
    fired: Counter[str] = Counter()
    for machine in scenario.machines:
        fired.update(_of_machine(machine))
    created: set[str] = set()
    for operation in stage.operations:
        fired.update(_of_operation(operation.command, operation.outcome, operation.answer, created))
    if len(created) >= 6:
        fired["burst"] += 1
    text = str(
        [operation.command.args for operation in stage.operations if operation.command.verb == "create"]
    )
    fired["contradicting code"] += COINS.flips
    fired["receiver fails"] += bool(scenario.hook_fails and stage.outside.hook_calls)
    for word, kind in (("fails", "failing step"), ("hangs", "hanging step"), ("poison", "poison step")):
        fired[kind] += word in text
    return +fired


def _of_machine(machine: Machine) -> Counter[str]:
    return Counter(
        {
            "skew": machine.skew_ms != 0,
            "drift": machine.drift_ppm != 0,
            "no cache": machine.cache == 0,
            "optimistic ticks": machine.kind == "ticker",
        }
    )


def _of_operation(command: Command, outcome: str | None, answer: object, created: set[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    match command.verb:
        case "create":
            found["duplicate create"] += command.instance in created
            created.add(command.instance)
        case "event":
            found["duplicate event"] += answer is True
            found["event early"] += outcome == "ok"
            found["event late"] += outcome == "INSTANCE_TERMINAL"
        case "oversize":
            found["oversize"] += outcome == "PAYLOAD_TOO_LARGE"
        case "cancel" | "terminate" | "pause" | "resume" | "restart":
            found[command.verb] += outcome == "ok"
        case _:
            pass
    return found
