"""How errors stand in rows (``run.error``, ``run_step.error``): JSON of :class:`ErrorInfo`, and back; and any text."""

from __future__ import annotations

import json

from keepstep.model.outcome import ErrorInfo


def error_text(info: ErrorInfo) -> str:
    """Encode an error for a row. Lone surrogates, which no UTF-8 database takes, become ``?``."""
    fields = {
        "name": _clean(info.name),
        "message": _clean(info.message),
        "code": info.code,
        "step_key": info.step_key,
        "attempts": info.attempts,
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def read_error(text: str) -> ErrorInfo:
    """Decode what :func:`error_text` wrote."""
    return ErrorInfo(**json.loads(text))


def storable(text: str) -> str:
    """The text as any database takes it: a lone surrogate becomes ``?``, a NUL the replacement character."""
    return _clean(text).replace("\x00", "\ufffd")


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
