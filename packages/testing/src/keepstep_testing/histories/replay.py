"""Replaying a recorded run with today's code: the engine's own body, loop and journal, no database, nothing written.

A deploy gate is stricter than the engine. The engine takes a renamed step for one that was dropped and a new one, and
runs the new one (E10). Here a body that has left recorded results unused and waits for something that the history does
not have is a misfit: nobody renames a step in order to have it done twice.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_never

import keepstep
from keepstep import App, Limits
from keepstep.authoring.registry import AnyWorkflow, Bindings, Registry
from keepstep.loop.body import Body
from keepstep.model.commands import BodyOutcome, Cancelled, Continued, Contradicted, Place, Raised, Returned
from keepstep.model.recorded import read_error
from keepstep.model.status import Status, StepStatus
from keepstep_testing.histories.file import HistoryRecord, read_histories
from keepstep_testing.histories.report import ReplayReport, Verdict

Workflows = App[Any] | Mapping[str, AnyWorkflow] | type[Bindings] | Bindings
"""An app, or what an app takes as its workflows."""

_OWN = str(Path(keepstep.__file__).parent)


def replay_histories(path: str | Path, workflows: Workflows, *, limits: Limits | None = None) -> ReplayReport:
    """Replay every history of a file with today's code. No callback of a step is called, nothing is written.

    Args:
        path: what :func:`~keepstep_testing.histories.export_histories` wrote.
        workflows: the code to try.
        limits: in force (C10); None = the app's, else the defaults.

    Raises:
        UsageError: the file cannot be read, or is none of histories.
    """
    if isinstance(workflows, App):
        engine = workflows._engine  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        registry, own = engine.registry, engine.limits
    else:
        registry, own = Registry(workflows), Limits()
    chosen = limits or own
    return ReplayReport(tuple(_replayed(each, registry, chosen) for each in read_histories(path)))


def _replayed(history: HistoryRecord, registry: Registry, limits: Limits) -> Verdict:
    name = history.run.workflow
    if name not in registry:
        known = ", ".join(registry.names) or "none"
        return Verdict(history, f"the code has no workflow of the name {name!r}; it has {known}")
    body = Body(registry.by_name(name), history.run, history.steps, limits)
    try:
        return _judged(history, body, body.start().outcome)
    finally:
        body.close()


def _judged(history: HistoryRecord, body: Body, outcome: BodyOutcome | None) -> Verdict:
    asked = tuple(body.asked or body.commands)
    warnings = tuple(body.warnings)
    match outcome:
        case Contradicted(difference, place):
            return Verdict(history, difference, asked, place)
        case None:
            found = _waits(history, body)
            if found is None:
                return Verdict(history, None, asked, None, (*warnings, *_goes_on(history, body)))
            return Verdict(history, found[0], asked, body.place_of(found[1]), warnings)
        case Raised(error):
            told = f"the body raises {error.name}: {error.message}"
            recorded = history.run.error
            if history.run.status != Status.ERRORED or recorded is None:
                state = f"where the recorded run is {history.run.status}"
                return Verdict(history, f"{told}, {state}", asked, _raised_at(body.failure), warnings)
            was = read_error(recorded)
            other = () if was.name == error.name else (f"{told}; the recorded run ended with {was.name}",)
            return Verdict(history, None, asked, None, (*warnings, *other))
        case Returned() | Continued() | Cancelled():
            return Verdict(history, None, asked, None, (*warnings, *_ends(history, outcome)))
        case _:
            assert_never(outcome)


def _waits(history: HistoryRecord, body: Body) -> tuple[str, str] | None:
    """How a body that waits has left the history, and for what it waits; None when it has not."""
    unused = [each for each in body.skipped if each.status != StepStatus.ABANDONED]
    recorded = {step.key for step in history.steps}
    new = next((key for key in body.commands if key not in recorded), None)
    if not unused or new is None:
        return None
    first = unused[0]
    difference = (
        f"the code asks for {new!r}, which the history does not have, and not for {first.key!r}, which is recorded as"
        f" resolution {first.seq} ({first.status}): a renamed step would be done again"
    )
    return difference, new


def _goes_on(history: HistoryRecord, body: Body) -> list[str]:
    """The body waits: worth a word where the recorded run had ended by itself."""
    ended = {Status.COMPLETE, Status.ERRORED, Status.CANCELLED}
    if history.run.status not in ended:
        return []
    keys = ", ".join(map(repr, body.commands)) or "nothing"
    place = body.place_of(next(iter(body.commands), None))
    return [f"the recorded run is {history.run.status}; the code goes on and waits for {keys}, at {place}"]


def _ends(history: HistoryRecord, outcome: Returned | Continued | Cancelled) -> list[str]:
    """The body ends: worth a word where the recorded run did otherwise."""
    run = history.run
    match outcome:
        case Returned(output):
            if run.status != Status.COMPLETE:
                return [f"the body completes, where the recorded run is {run.status}"]
            if run.output is not None and json.loads(run.output) != json.loads(output):
                return [f"the body returns {output}, the recorded run {run.output}"]
        case Continued():
            return [f"the body continues as new, where the recorded run is {run.status}"]
        case Cancelled():
            if run.status != Status.CANCELLED:
                return [f"the body ends cancelled, where the recorded run is {run.status}"]
    return []


def _raised_at(error: BaseException | None) -> Place | None:
    """The innermost line of the user's."""
    found = None
    for frame in traceback.extract_tb(None if error is None else error.__traceback__):
        if not frame.filename.startswith(_OWN) and frame.lineno is not None:
            found = Place(frame.filename, frame.lineno, frame.name)
    return found
