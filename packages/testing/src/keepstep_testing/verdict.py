"""The verdict on a finished run: what needs no assertion, then the user's own check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keepstep.model.recorded import read_error
from keepstep_testing import lessons
from keepstep_testing.lessons import Lesson
from keepstep_testing.sim.oracle.ghost import TERMINAL
from keepstep_testing.sim.oracle.rules import Violation
from keepstep_testing.sources import place_of

if TYPE_CHECKING:
    from keepstep_testing.effects import Call, Effect
    from keepstep_testing.simulation import Simulation


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run went; what ``check`` is given.

    Attributes:
        instance_id: of the instance that the test started.
        status: its status.
        result: what its body returned; None unless it is complete.
        error: its error as text; None unless it has one.
        steps: the keys of its recorded steps, in order.
        sim: the whole simulation.
    """

    instance_id: str
    status: str
    result: Any
    error: str | None
    steps: tuple[str, ...]
    sim: Simulation

    def effect(self, name: str) -> Effect:
        """What was done outside, by the function's name, or what a step was called for, by its name."""
        return self.sim.effect(name)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query of the database finds."""
        return self.sim.rows(sql)


@dataclass(frozen=True, slots=True)
class Offence:
    """What is wrong with a run.

    Attributes:
        text: what, in one paragraph.
        lesson: what it teaches, if there is something.
        step_key: where in the body, if that is known.
    """

    text: str
    lesson: Lesson | None = None
    step_key: str | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run without mishaps came to: what any other is compared with."""

    status: str
    steps: tuple[str, ...]
    events: tuple[tuple[str, bool], ...]


async def ended(sim: Simulation, instance: Any) -> Ended:
    """Look at a finished run."""
    found = await instance.status()
    result = await instance.result() if found.status.value == "complete" else None
    recorded, _ = sim.standing()
    error = None if found.error is None else f"{found.error.name}: {found.error.message}"
    return Ended(instance.id, found.status.value, result, error, tuple(recorded), sim)


def expected_of(end: Ended) -> Expected:
    """What others are compared with."""
    return Expected(end.status, end.steps, _events(end.sim))


async def offence_of(
    end: Ended, instance: Any, expected: Expected | None, *, same_path: bool = True
) -> Offence | None:
    """What needs no assertion: the first that is wrong.

    Args:
        end: the run.
        instance: its instance.
        expected: what it is compared with; None = it is the one without mishaps.
        same_path: it must have recorded the same steps.
    """
    found = _nondeterminism(await instance.details()) or doubled_effect(end.sim)
    if expected is None or found is not None:
        return found
    if end.status != expected.status:
        return _another_end(end, expected, await instance.why())
    if same_path and set(end.steps) != set(expected.steps):
        return _another_path(end, expected)
    return _events_differ(_events(end.sim), expected.events)


def doubled_effect(sim: Simulation) -> Offence | None:
    """A declared effect that a step had done twice."""
    for effect in sim.stand_ins.effects.values():
        for calls in effect.repeated():
            return Offence(
                f"{effect.name} was done {len(calls)} times for one step:\n" + _listed(calls),
                lessons.AT_LEAST_ONCE,
                calls[0].step_key,
            )
    return None


class DurabilityError(AssertionError):
    """A workflow does not survive something that happens to processes.

    Attributes:
        case: what to give ``only=`` to play it again; None when there is none.
    """

    def __init__(self, text: str, case: str | None = None) -> None:
        super().__init__(text)
        self.case = case


async def verify(sim: Simulation) -> None:
    """What needs no assertion of a test's own: declared effects were not doubled, and no body is at odds with its records.

    Raises:
        DurabilityError: it is not so.
    """
    offence = doubled_effect(sim)
    for definition, instance_id in sim.instances:
        if offence is None:
            instance = sim.client_app.binding(definition).instance(instance_id)
            offence = _nondeterminism(await instance.details())
    offence = offence or _resting(sim)
    if offence is not None:
        lesson = "" if offence.lesson is None else f"\n\n{offence.lesson.text()}"
        raise DurabilityError(f"{offence.text}\n    {where(sim, offence.step_key)}{lesson}")


def of_check(end: Ended, check: Callable[[Ended], object]) -> Offence | None:
    """What the user's own check says: it returns something false, or raises an ``AssertionError``."""
    try:
        answer = check(end)
    except AssertionError as error:
        said = f"the check failed: {str(error) or 'assertion'}"
    else:
        if answer is None or answer:
            return None
        said = f"the check returned {answer!r}"
    again = repeated_steps(end.sim)
    if not again:
        return Offence(said)
    calls = [each for one in again for each in one]
    return Offence(f"{said}. What ran twice:\n{_listed(calls)}", lessons.AT_LEAST_ONCE, calls[0].step_key)


def of_violation(violation: BaseException) -> Offence:
    """A rule of the engine did not hold, or a step left the simulation."""
    if isinstance(violation, Violation):
        return Offence(str(violation), lessons.OF_RULE.get(violation.rule, lessons.OWN_DEFECT))
    return Offence(str(violation))


def repeated_steps(sim: Simulation) -> list[list[Call]]:
    """Calls of steps that were made more than once for one attempt."""
    found: dict[Any, list[Call]] = {}
    for effect in sim.stand_ins.steps.values():
        for each in effect.calls:
            found.setdefault((each.instance_id, each.step_key, each.attempt), []).append(each)
    return [calls for calls in found.values() if len(calls) > 1]


def where(sim: Simulation, key: str | None) -> str:
    """The line of the user's code."""
    if sim.instances:
        return place_of(sim.instances[0][0], key)
    run = next(iter(sim.ghost.runs.values()), None)
    return "" if run is None else place_of(sim.definition(run.workflow), key)


def _resting(sim: Simulation) -> Offence | None:
    """A run that the test did not start itself, and whose body is at odds with its records."""
    for run in sim.ghost.runs.values():
        if run.error is not None and run.status not in TERMINAL:
            return Offence(
                f"the body of {run.workflow!r} is not deterministic: {read_error(run.error).message}",
                lessons.NONDETERMINISM,
            )
    return None


def _nondeterminism(details: Any) -> Offence | None:
    odd = details.parked or "; ".join(details.warnings)
    return Offence(f"the body is not deterministic: {odd}", lessons.NONDETERMINISM) if odd else None


def _another_end(end: Ended, expected: Expected, why: str) -> Offence:
    if expected.status in TERMINAL and end.status not in TERMINAL:
        return Offence(
            f"the instance is stranded: it is {end.status}, and ends without a mishap. {why}",
            lessons.STRANDED,
        )
    error = "" if end.error is None else f" ({end.error})"
    return Offence(
        f"the instance is {end.status}{error}; without a mishap it is {expected.status}", lessons.ANOTHER_END
    )


def _another_path(end: Ended, expected: Expected) -> Offence:
    more = [each for each in end.steps if each not in expected.steps]
    less = [each for each in expected.steps if each not in end.steps]
    differs = [f"it did {', '.join(map(repr, more))}"] if more else []
    differs += [f"it left out {', '.join(map(repr, less))}"] if less else []
    text = (
        f"the body is not deterministic: it took another path than without a mishap: {' and '.join(differs)}"
    )
    return Offence(text, lessons.NONDETERMINISM, less[0] if less else more[0])


def _events(sim: Simulation) -> tuple[tuple[str, bool], ...]:
    return tuple(sorted((each.type, each.consumed_by is not None) for each in sim.ghost.events.values()))


def _events_differ(
    found: tuple[tuple[str, bool], ...], wanted: tuple[tuple[str, bool], ...]
) -> Offence | None:
    if found == wanted:
        return None
    kinds = sorted({kind for kind, _ in (*found, *wanted)})
    for kind in kinds:
        now, before = (
            [each for each in found if each[0] == kind],
            [each for each in wanted if each[0] == kind],
        )
        if len(now) > len(before):
            return Offence(
                f"event {kind!r} is there {len(now)} times, it was sent {len(before)} times",
                lessons.DOUBLED_EVENT,
            )
        if sum(taken for _, taken in now) < sum(taken for _, taken in before):
            return Offence(
                f"event {kind!r} was lost: no wait took it, and without a mishap one does", lessons.LOST_EVENT
            )
    return None


def _listed(calls: list[Call]) -> str:
    return "\n".join(f"    {each}" for each in calls)
