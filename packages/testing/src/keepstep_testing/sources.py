"""Where in the user's code a step stands: the line on which its workflow asks for it, by its name."""

from __future__ import annotations

import ast
import inspect
from functools import lru_cache
from pathlib import Path
from typing import Any

from keepstep.authoring.definition import WorkflowDefinition
from keepstep.model.ids import parse_key

VERBS = {
    "do": ("do",),
    "transaction": ("transaction",),
    "sleep": ("sleep", "sleep_until"),
    "wait": ("wait_for_event",),
}


def place_of(definition: WorkflowDefinition[Any, Any], key: str | None) -> str:
    """``file:line  the line's text`` of a step, or of the body when its name is computed."""
    fn: Any = inspect.unwrap(definition.fn)
    code = getattr(fn, "__code__", None)
    if code is None:
        return definition.name
    path: str = code.co_filename
    line: int = code.co_firstlineno
    if key is not None:
        parts = parse_key(key)
        sites = _sites(path).get((parts.kind, parts.name), [])
        end = max((each for _, _, each in code.co_lines() if each is not None), default=line)
        inside = [each for each in sites if line <= each <= end]
        line = next(iter(inside or sites), line)
    lines = _lines(path)
    text = lines[line - 1].strip() if line <= len(lines) else ""
    return f"{_short(path)}:{line}  {text}"


@lru_cache(maxsize=64)
def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


@lru_cache(maxsize=64)
def _sites(path: str) -> dict[tuple[str, str], list[int]]:
    try:
        tree = ast.parse("\n".join(_lines(path)))
    except SyntaxError:
        return {}
    kinds = {verb: kind for kind, verbs in VERBS.items() for verb in verbs}
    found: dict[tuple[str, str], list[int]] = {}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in kinds
            and node.args
        ):
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                found.setdefault((kinds[node.func.attr], name.value), []).append(node.lineno)
    return found


def _short(path: str) -> str:
    try:
        return Path(path).relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path
