"""The file: JSON lines, a header and then one run each. Payloads stand in it as JSON, not as text within text.

The header is ``{"keepstep_histories": 1}``. A line has ``workflow``, ``instance_id``, ``run_number``, ``status``, the
instants ``created_at``, ``started_at`` (ms, UTC), ``params``, ``output``, ``error`` and ``steps``: the rows of
``run_step`` by the names of their columns, resolved ones in ``seq`` order. What is NULL in the database is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from keepstep.errors import UsageError
from keepstep.model.records import RunRecord, StepRecord

FORMAT_VERSION = 1
"""Raised when a reader of the version before would misread a file."""

_HEADER = "keepstep_histories"
_RUN_JSON = frozenset({"params", "output", "error"})
_STEP_JSON = frozenset({"result", "error"})
_RUN_KEPT = (
    "workflow", "instance_id", "run_number", "workflow_version", "status", "cancel_reason", "created_at",
    "started_at", "params", "output", "error",
)  # fmt: skip
_RUN_NEEDED = ("workflow", "instance_id", "run_number", "status", "created_at", "steps")
_STEP_NEEDED = ("key", "status", "attempt", "started_at")
_RUN_DEFAULTS: dict[str, Any] = {
    "id": 0,
    "latest": True,
    "workflow_version": 1,
    "version": 1,
    "pause_requested": False,
    "updated_at": 0,
    "completed_at": None,
}


class HistoryRecord(NamedTuple):
    """One run and what it has recorded."""

    run: RunRecord
    steps: tuple[StepRecord, ...]


def header() -> str:
    """The first line."""
    return json.dumps({_HEADER: FORMAT_VERSION})


def line_of(history: HistoryRecord) -> str:
    """A history as one line of JSON."""
    found = _fields(history.run, _RUN_KEPT, _RUN_JSON)
    columns = StepRecord._fields[1:]
    return json.dumps({**found, "steps": [_fields(step, columns, _STEP_JSON) for step in history.steps]})


def read_histories(path: str | Path) -> Iterator[HistoryRecord]:
    """The histories of a file, in its order.

    Raises:
        UsageError: the file is not there, is none of histories, or is of another version; a line cannot be read.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            _check_header(path, file.readline())
            for number, line in enumerate(file, start=2):
                if line.strip():
                    yield _history_of(line, f"{path}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the histories cannot be read: {error}") from error


def _check_header(path: Path, line: str) -> None:
    found = _object(line)
    version = None if found is None else found.get(_HEADER)
    if version is None:
        raise UsageError(f"{path} is no file of histories: its first line must be {header()}")
    if version != FORMAT_VERSION:
        raise UsageError(
            f"{path} has format {version!r}, this code reads {FORMAT_VERSION}: export the histories again, or use the"
            " keepstep-testing that wrote them"
        )


def _history_of(line: str, where: str) -> HistoryRecord:
    found = _object(line)
    if found is None:
        raise UsageError(f"{where}: not a JSON object")
    _check_names(found, _RUN_NEEDED, (*_RUN_KEPT, "steps"), where)
    steps = found.pop("steps")
    if not isinstance(steps, list):
        raise UsageError(f"{where}: 'steps' must be a list")
    run: dict[str, Any] = {**dict.fromkeys(RunRecord._fields), **_RUN_DEFAULTS, **_texts(found, _RUN_JSON)}
    return HistoryRecord(RunRecord(**run), tuple(_step_of(each, where) for each in cast("list[Any]", steps)))


def _step_of(found: Any, where: str) -> StepRecord:
    if not isinstance(found, dict):
        raise UsageError(f"{where}: a step must be an object, not {found!r}")
    step = cast("dict[str, Any]", found)
    _check_names(step, _STEP_NEEDED, StepRecord._fields[1:], f"{where}, step {step.get('key')!r}")
    row: dict[str, Any] = {**dict.fromkeys(StepRecord._fields), "run_id": 0, **_texts(step, _STEP_JSON)}
    return StepRecord(**row)


def _check_names(found: dict[str, Any], needed: tuple[str, ...], known: tuple[str, ...], where: str) -> None:
    missing = [name for name in needed if name not in found]
    unknown = [name for name in found if name not in known]
    if missing or unknown:
        told = [f"{name!r} is missing" for name in missing] + [f"{name!r} is not known" for name in unknown]
        raise UsageError(f"{where}: {', '.join(told)}")


def _fields(record: Any, names: tuple[str, ...], as_json: frozenset[str]) -> dict[str, Any]:
    """The fields that are not None, payloads decoded."""
    found = {name: getattr(record, name) for name in names}
    return {
        name: json.loads(value) if name in as_json else value
        for name, value in found.items()
        if value is not None
    }


def _texts(found: dict[str, Any], as_json: frozenset[str]) -> dict[str, Any]:
    return {name: json.dumps(value) if name in as_json else value for name, value in found.items()}


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None
