"""Reading one instance: its status, its details, its history, why it stands where it stands (E1). Writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from keepstep.kernel.why import explain
from keepstep.model.duration import to_datetime
from keepstep.model.outcome import History, InstanceDetails, InstanceStatus, Standing
from keepstep.services.pages import find_run
from keepstep.services.target import Done, Target, not_found
from keepstep.services.views import (
    details_view,
    event_view,
    log_view,
    standing_view,
    status_view,
    step_view,
)
from keepstep.store.histories import history_events, history_logs, history_steps
from keepstep.store.runs import (
    Snapshot,
    holder,
    load_events,
    open_steps,
    read_instance,
)
from keepstep.store.script import Script
from keepstep.store.statement import DialectName

R = TypeVar("R")

PAGE = 500
"""Rows of a history that are read at a time."""


def standing(target: Target) -> Script[Done[Standing]]:
    """Read how an instance's newest run stands.

    Raises:
        InstanceNotFoundError: there is no such instance.
    """
    return Done(standing_view((yield from _found(target)).run))


def status(target: Target) -> Script[Done[InstanceStatus]]:
    """Read the status in short.

    Raises:
        InstanceNotFoundError: there is no such instance.
    """
    return Done(status_view((yield from _found(target)).run))


def details(dialect: DialectName, target: Target) -> Script[Done[InstanceDetails]]:
    """Read all that is known of the newest run.

    Raises:
        InstanceNotFoundError: there is no such instance.
    """
    return Done((yield from _details(dialect, (yield from _found(target)))))


def why(dialect: DialectName, target: Target) -> Script[Done[str]]:
    """Say in words why the instance stands where it stands.

    Raises:
        InstanceNotFoundError: there is no such instance.
    """
    return Done((yield from described(dialect, target)).answer[1])


def described(dialect: DialectName, target: Target) -> Script[Done[tuple[InstanceDetails, str]]]:
    """Read all that is known of the newest run, as values and in words.

    Raises:
        InstanceNotFoundError: there is no such instance.
    """
    now = yield from _found(target)
    read = yield from _details(dialect, now)
    return Done((read, explain(read, to_datetime(now.now))))


def history(target: Target, run_number: int | None) -> Script[Done[History]]:
    """Read a run's steps, events and log lines, complete however many there are.

    Args:
        target: the instance.
        run_number: which run; None = the newest.

    Raises:
        InstanceNotFoundError: there is no such instance.
        InvalidInputError: it has no such run.
    """
    run = yield from find_run(target, run_number)
    resolved = yield from _all(history_steps, run.id, lambda row: row.seq)
    waiting = yield from open_steps(run.id)
    events = yield from _all(history_events, run.id, lambda row: row.id)
    logs = yield from _all(history_logs, run.id, lambda row: row.number)
    return Done(
        History(
            run.run_number,
            tuple(map(step_view, [*resolved, *waiting])),
            tuple(map(event_view, events)),
            tuple(map(log_view, logs)),
        )
    )


def _found(target: Target) -> Script[Snapshot]:
    now = yield from read_instance(*target)
    if now is None:
        raise not_found(target, "there is nothing to read")
    return now


def _details(dialect: DialectName, now: Snapshot) -> Script[InstanceDetails]:
    run_id = now.run.id
    waiting = yield from open_steps(run_id)
    events = yield from load_events(dialect, [run_id])
    held_by = None
    if now.task is not None and now.task.owner is not None:
        held_by = yield from holder(run_id)
    return details_view(
        now.run, now.task, open_steps=waiting, holder=held_by, buffered_events=len(events[run_id])
    )


def _all(
    page: Callable[[int, int, int], Script[list[R]]], run_id: int, place: Callable[[R], Any]
) -> Script[list[R]]:
    rows = yield from page(run_id, -1, PAGE)
    full = len(rows) == PAGE
    while full:
        more = yield from page(run_id, place(rows[-1]), PAGE)
        rows += more
        full = len(more) == PAGE
    return rows
