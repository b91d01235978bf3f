"""``crash_everywhere``: a workflow meets each mishap at each place where it makes a difference, one at a time.

A first run without mishaps shows the places and what the workflow comes to. Then each case is a run of its own, from the
start, on the same seed: it is the same run up to the place where the mishap strikes.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import MetaData

from keepstep import EventModel, Instance
from keepstep.authoring.step import UNSET, Unset
from keepstep.client.bound import Workflow
from keepstep.errors import InstanceTerminalError, UsageError
from keepstep.model.duration import duration_ms
from keepstep_testing import settings
from keepstep_testing.enactment import StuckError
from keepstep_testing.mishaps import MISHAPS, SKEW_MS, Case, Strike, Watch
from keepstep_testing.outside import Effects, Stubs, put_outside
from keepstep_testing.simulation import Simulation
from keepstep_testing.tracepage import show
from keepstep_testing.verdict import (
    DurabilityError,
    Ended,
    Expected,
    Offence,
    ended,
    expected_of,
    of_check,
    of_violation,
    offence_of,
    where,
)

Act = EventModel | tuple[str, Any] | Callable[[Any], Any]
"""An event, a type and a payload, or what is done with the instance: ``lambda order: order.cancel()``."""


@dataclass(frozen=True, slots=True)
class At:
    """One thing that a client does at a time; made by :func:`at`."""

    after_ms: int
    act: Act
    id: str | Unset | None


def at(after: str | timedelta, act: Act, *, id: str | Unset | None = UNSET) -> At:  # noqa: A002  # of the event, as send_event has it
    """Have a client do something so long after the start.

    Args:
        after: like ``"2 days"``.
        act: an event; a tuple of an event's type and payload; or a function of the instance, like
            ``lambda order: order.cancel()``.
        id: of the event; left out = one is made up. A client that gets no answer sends again: with ``None``, that is
            another event (D7).
    """
    return At(duration_ms(after), act, id)


@dataclass(slots=True)
class Report:
    """What ``crash_everywhere`` tried.

    Attributes:
        cases: each case that was survived.
        steps: the recorded steps of the run without mishaps.
        end: of the run without mishaps.
    """

    cases: list[str] = field(default_factory=list)
    steps: tuple[str, ...] = ()
    end: Ended | None = None

    def __str__(self) -> str:
        kinds = {name: sum(1 for case in self.cases if Case.of(case).mishap == name) for name in MISHAPS}
        tried = ", ".join(f"{name} {count}" for name, count in kinds.items() if count)
        return f"{len(self.steps)} steps, {len(self.cases)} cases survived: {tried}"


@dataclass(frozen=True, slots=True)
class Play:
    """What is played, again and again: a workflow, its params, its client and its outside."""

    workflow: Workflow[Any, Any]
    params: Any
    id: str
    events: Sequence[At]
    setup: Callable[[Simulation], object] | None
    effects: Effects
    stubs: Stubs
    workflows: Sequence[Workflow[Any, Any]]
    tables: Sequence[MetaData]
    check: Callable[[Ended], object] | None
    same_path: bool

    def prepare(self, sim: Simulation) -> None:
        """Tell a simulation what is known beforehand."""
        sim.tables(*self.tables)
        sim.register(self.workflow, *self.workflows)
        put_outside(sim, self.stubs, self.effects)
        if self.setup is not None:
            self.setup(sim)

    async def perform(self, sim: Simulation, *, again: bool = False) -> Instance[Any]:
        """Start it, have the client act, and see it end."""
        instance = await sim.start(self.workflow, self.params, id=self.id)
        for number, each in enumerate(self.events, 1):
            sim.client(_act, instance, each, number, again)
        await sim.settle()
        return instance

    async def judge(self, end: Ended, instance: Any, expected: Expected | None) -> Offence | None:
        """What is wrong with a run."""
        offence = await offence_of(end, instance, expected, same_path=self.same_path)
        return of_check(end, self.check) if offence is None and self.check is not None else offence


async def _act(instance: Any, each: At, number: int, again: bool) -> None:  # sim.client passes it on
    """Do it at its time; ``again``: a client that gets no answer does it once more."""
    await asyncio.sleep(each.after_ms / 1000)
    event_id = f"at-{number}" if isinstance(each.id, Unset) else each.id
    for _ in range(2 if again and not callable(each.act) else 1):
        with suppress(InstanceTerminalError):
            match each.act:
                case EventModel() as event:
                    await instance.send_event(event, id=event_id)
                case (kind, payload):
                    await instance.send_event(kind, payload, id=event_id)
                case act:
                    await act(instance)


def crash_everywhere(
    workflow: Workflow[Any, Any],
    params: Any = None,
    *,
    events: Sequence[At] = (),
    check: Callable[[Ended], object] | None = None,
    effects: Mapping[Callable[..., Any], Any] | Iterable[Callable[..., Any]] = (),
    stubs: Stubs | None = None,
    setup: Callable[[Simulation], object] | None = None,
    workflows: Sequence[Workflow[Any, Any]] = (),
    tables: MetaData | Sequence[MetaData] = (),
    id: str = "sim-1",  # noqa: A002  # of the instance
    same_path: bool = True,
    only: str | None = None,
) -> Report:
    """Try every mishap at every durable boundary of a workflow, without preemption; say what it does not survive.

    Without any assertion it fails when the instance ends otherwise than without a mishap, a declared effect is done twice
    for one step, an event is lost or doubled, or the body is not deterministic.

    Args:
        workflow: which.
        params: of its params type.
        events: what clients do, each made by :func:`at`.
        check: called with the end of each run; it fails by returning something false or by an ``assert``.
        effects: functions of the outside: a dict of what they answer, or a list of functions to be really called.
        stubs: what steps return without their functions being called, by name, key or function.
        setup: called with each simulation before its start: ``lambda sim: sim.fail_times("charge", 2, ConnectionError)``.
        workflows: others that this one creates.
        tables: of the user's own, for ``step.transaction``.
        id: of the instance.
        same_path: every run records the same steps; False for a workflow whose steps race, and may end otherwise.
        only: one case, as a failure prints it.

    Raises:
        DurabilityError: the first case that is not survived: where, why, and how to play it again.
    """
    __tracebackhide__ = True
    own = (tables,) if isinstance(tables, MetaData) else tuple(tables)
    also = tuple(workflows)
    play = Play(workflow, params, id, tuple(events), setup, effects, stubs or {}, also, own, check, same_path)
    return _played(play, only or settings.current().replay)


def _played(play: Play, only: str | None) -> Report:
    __tracebackhide__ = True
    gc.freeze()  # the collector need not look through everything that is imported after each run
    try:
        return _survived(play, only)
    finally:
        gc.unfreeze()


def _survived(play: Play, only: str | None) -> Report:
    __tracebackhide__ = True
    watch, report = Watch(), Report()
    expected, offence, sim = _calm(play, watch, report)
    if offence is not None:
        raise DurabilityError(_told(offence, sim))
    cases = [Case.of(only)] if only else [each for each in watch.cases() if settings.wants(each.mishap)]
    for case in cases:
        strike = Strike(case)
        found, sim = _try(play, strike, expected)
        if case.gate is not None and not strike.struck:
            if only:
                raise UsageError(f"the case {only!r} does not occur: the run never comes to that place")
            continue
        if found is not None:
            before = f"it survived {len(report.cases)} of {len(cases)} cases before it"
            raise DurabilityError(_told(found, sim, strike, before), str(case))
        report.cases.append(str(case))
    return report


def _calm(play: Play, watch: Watch, report: Report) -> tuple[Expected, Offence | None, Simulation]:
    """The run without mishaps."""
    with Simulation(disaster=watch, traced=settings.current().trace is not None) as sim:
        watch.simulation = sim
        sim.judged = False
        play.prepare(sim)

        async def work() -> tuple[Expected, Offence | None]:
            instance = await play.perform(sim)
            end = await ended(sim, instance)
            report.steps, report.end = end.steps, end
            return expected_of(end), await play.judge(end, instance, None)

        expected, offence = sim.run(work)
        return expected, offence, sim


def _try(play: Play, strike: Strike, expected: Expected) -> tuple[Offence | None, Simulation]:
    """One case."""
    name = strike.case.mishap
    cache = 0 if name == "no-memory" else 100
    skew_ms, traced = SKEW_MS.get(name, 0), settings.current().trace is not None
    with Simulation(disaster=strike, cache=cache, skew_ms=skew_ms, traced=traced) as sim:
        strike.simulation = sim
        sim.judged = False
        play.prepare(sim)

        async def work() -> Offence | None:
            instance = await play.perform(sim, again=name == "sent-twice")
            return await play.judge(await ended(sim, instance), instance, expected)

        try:
            return sim.run(work), sim
        except StuckError as error:
            return Offence(str(error)), sim
        except AssertionError as error:
            if error is not sim.enactment.broken:
                raise
            return of_violation(error), sim


def _told(offence: Offence, sim: Simulation, strike: Strike | None = None, before: str = "") -> str:
    lines: list[str] = []
    case = None if strike is None else strike.case
    if strike is None or case is None:
        lines += ["it fails without any mishap:", ""]
    else:
        lines += [
            f"{sim.instances[0][0].name!r} does not survive this ({before}):",
            "",
            f"  {MISHAPS[case.mishap].title} {_moment(strike)}".rstrip(),
        ]
    lines.append(f"    {where(sim, offence.step_key or _key(strike))}")
    lines += ["", f"  {offence.text}", ""]
    if offence.lesson is not None:
        lines += [offence.lesson.text(), ""]
    if settings.current().trace is not None:
        name = f"{sim.instances[0][0].name} {'calm' if case is None else case}"
        lines += [show(name, "\n".join(lines), sim.lines), ""]
    if case is not None:
        lines += ["  To play this case again:", f"    {settings.again(str(case))}"]
    return "\n".join(lines)


def _key(strike: Strike | None) -> str | None:
    if strike is None:
        return None
    return next(iter([*strike.open_steps, *reversed(strike.recorded)]), None)


def _moment(strike: Strike) -> str:
    if strike.case.gate is None:
        return ""
    if strike.open_steps:
        steps = ", ".join(map(repr, strike.open_steps))
        return f"after {steps} was called and before its result is committed"
    if strike.recorded:
        return f"when {strike.recorded[-1]!r} is committed and nothing after it ({strike.label})"
    return f"before anything is recorded ({strike.label})"
