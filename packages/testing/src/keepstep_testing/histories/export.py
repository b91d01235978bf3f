"""Taking histories out of a database: reads only, in pages."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from sqlalchemy import select

from keepstep import App
from keepstep.errors import UsageError
from keepstep.model.facts import CANCEL_KEY
from keepstep.model.records import RunRecord, StepRecord
from keepstep.store.address import Database, url_of
from keepstep.store.api import Store
from keepstep.store.listings import list_runs
from keepstep.store.runs import load_steps
from keepstep.store.script import Call, Script
from keepstep.store.sqlite import SqliteStore
from keepstep.store.statement import DialectName, Statement
from keepstep.store.tables import IS_LATEST, run
from keepstep_testing.histories.file import HistoryRecord, header, line_of

_PAGE = 100
_WORKFLOWS = Statement(select(run.c.workflow).where(IS_LATEST).distinct(), "names of workflows")


class Payload(NamedTuple):
    """A payload on its way into the file.

    Attributes:
        workflow: whose run it is of.
        instance_id: which instance.
        what: the run's params, its output, the reason of its cancellation, a step's result, an event's payload, or the
            message of an error, the run's or a step's.
        key: the step's key; None for the run's own.
        value: plain JSON data.
    """

    workflow: str
    instance_id: str
    what: Literal["params", "output", "reason", "result", "event", "error"]
    key: str | None
    value: Any


Redact = Callable[[Payload], Any]
"""Gives what stands in the file in a payload's place: of the same shape, or the code cannot read it in a replay."""


async def export_histories(
    source: App[Any] | Store | Database,
    path: str | Path,
    workflow: str | Sequence[str] | None = None,
    *,
    limit: int = 1_000,
    redact: Redact | None = None,
) -> int:
    """Write the newest instances' newest runs, whatever their status, to a file of histories.

    A run that is moving while it is read is left out. The file appears as a whole or not at all.

    Args:
        source: an app, a database as an app takes it, or a store that is open.
        path: the file; one that is there is replaced.
        workflow: the stored names of the workflows; None = all of the app, or of the database.
        limit: most runs of each workflow.
        redact: see :data:`Redact`; None = payloads as they are.

    Returns:
        How many were written.

    Raises:
        UsageError: no such database; ``limit`` is not positive; ``redact`` gave something that JSON cannot hold.
        StoreError: the database cannot be read.
    """
    if limit < 1:
        raise UsageError(f"limit is how many runs to export at most, 1 or more, not {limit!r}")
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    written = 0
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(f"{header()}\n")
            async with _opened(source) as store:
                for name in await _names(source, store, workflow):
                    async for history in _histories(store, name, limit):
                        file.write(f"{line_of(history if redact is None else _redacted(history, redact))}\n")
                        written += 1
        part.replace(path)
    except OSError as error:
        raise UsageError(f"the histories cannot be written to {path}: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return written


@asynccontextmanager
async def _opened(source: App[Any] | Store | Database) -> AsyncGenerator[Store]:
    if hasattr(source, "transaction"):
        yield cast("Store", source)
        return
    database = source._database if isinstance(source, App) else source  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    store = _store_of(database)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def _store_of(database: object) -> Store:
    address = url_of(database)
    if address.dialect == "sqlite":
        if not Path(address.location).is_file():
            raise UsageError(f"there is no SQLite database {address.location!r}")
        return SqliteStore(address.location, clock=_Clock())
    from keepstep.store.postgres import PostgresStore  # noqa: PLC0415  # it needs asyncpg, SQLite does not

    return PostgresStore(address.location)


class _Clock:
    """This machine's clock, which is a SQLite database's."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


async def _names(
    source: App[Any] | Store | Database, store: Store, workflow: str | Sequence[str] | None
) -> Sequence[str]:
    if isinstance(workflow, str):
        return [workflow]
    if workflow is not None:
        return workflow
    if isinstance(source, App):
        return source._engine.registry.names  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return await store.transaction("export", _stored_names(), "read")


def _stored_names() -> Script[list[str]]:
    return sorted(row[0] for row in (yield Call(_WORKFLOWS)))


async def _histories(store: Store, workflow: str, limit: int) -> AsyncIterator[HistoryRecord]:
    after: tuple[int, int] | None = None
    left = limit
    while left > 0:
        page = _page(store.dialect, workflow, min(_PAGE, left), after)
        runs, histories = await store.transaction("export", page, "read")
        for history in histories:
            yield history
        if not runs:
            return
        left -= len(runs)
        after = (runs[-1].created_at, runs[-1].id)


def _page(
    dialect: DialectName, workflow: str, size: int, after: tuple[int, int] | None
) -> Script[tuple[list[RunRecord], list[HistoryRecord]]]:
    """Runs, then their steps, then the runs again: one that ended in between would have rows of two moments."""
    runs = yield from list_runs(workflow, None, size, after)
    steps = yield from load_steps(dialect, [each.id for each in runs])
    again = {(each.id, each.version) for each in (yield from list_runs(workflow, None, size, after))}
    still = [each for each in runs if (each.id, each.version) in again]
    return runs, [HistoryRecord(each, tuple(steps[each.id])) for each in still]


def _redacted(history: HistoryRecord, redact: Redact) -> HistoryRecord:
    run_ = history.run

    def changed(what: Any, key: str | None, value: Any) -> Any:
        return redact(Payload(run_.workflow, run_.instance_id, what, key, value))

    def text(what: str, value: str | None, key: str | None = None) -> str | None:
        if value is None:
            return None
        found = json.loads(value)
        try:
            if what == "error":
                return json.dumps({**found, "message": changed(what, key, found["message"])})
            if what == "event":
                return json.dumps({**found, "payload": changed(what, key, found["payload"])})
            return json.dumps(changed(what, key, found))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"redact must give JSON data for {what} of {key or 'the run'}: {error}"
            ) from error

    def step(row: StepRecord) -> StepRecord:
        what = "event" if row.event_type is not None else "reason" if row.key == CANCEL_KEY else "result"
        return row._replace(result=text(what, row.result, row.key), error=text("error", row.error, row.key))

    reason = run_.cancel_reason
    run_ = run_._replace(
        params=text("params", run_.params),
        output=text("output", run_.output),
        error=text("error", run_.error),
        cancel_reason=None if reason is None else str(changed("reason", None, reason)),
    )
    return HistoryRecord(run_, tuple(map(step, history.steps)))
