"""Answers that refuse, as the errors that the same verbs raise in an app: by their code (H)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from keepstep import errors
from keepstep.client.wire import Problem
from keepstep.errors import (
    ForbiddenError,
    KeepstepError,
    PayloadTooLargeError,
    RemoteAnswerError,
    RemoteUnavailableError,
    SerializationError,
    UnauthenticatedError,
    ValidationIssuesError,
)

UNAVAILABLE = frozenset({429, 502, 503, 504})
"""Statuses that say: not now."""

_SHOWN_MAX = 200
_BY_STATUS: Mapping[int, type[KeepstepError]] = {
    401: UnauthenticatedError,
    403: ForbiddenError,
    413: PayloadTooLargeError,
    **dict.fromkeys(UNAVAILABLE, RemoteUnavailableError),
}


def error_of(asked: str, status: int, body: bytes) -> KeepstepError:
    """Build the error for an answer that is no success.

    Args:
        asked: names the request, like ``"GET /workflows"``.
        status: of the answer.
        body: of the answer.
    """
    problem = _problem(body)
    if problem is not None and problem.code in _BY_CODE:
        return _BY_CODE[problem.code](problem)
    said = problem.detail if problem is not None else body[:_SHOWN_MAX].decode("utf-8", "replace").strip()
    error = _BY_STATUS.get(status, RemoteAnswerError)
    return error(f"{asked} was answered with {status}{f': {said}' if said else ''}")


def _problem(body: bytes) -> Problem | None:
    try:
        return Problem.model_validate(json.loads(body))
    except (ValueError, RecursionError, ValidationError):
        return None


def _builders() -> Mapping[str, Callable[[Problem], KeepstepError]]:
    """How to build each error that a server may tell: those that are made of a message, or of a message and issues."""

    def build(error: type[KeepstepError]) -> Callable[[Problem], KeepstepError]:
        if issubclass(error, ValidationIssuesError):
            return lambda problem: error(
                problem.detail, [issue.model_dump() for issue in problem.issues or ()]
            )
        if issubclass(error, SerializationError):
            return lambda problem: error(problem.detail, problem.issues[0].path if problem.issues else "$")
        return lambda problem: error(problem.detail)

    def told(each: Any) -> bool:
        if not (inspect.isclass(each) and issubclass(each, KeepstepError)):
            return False
        plain = each.__init__ is Exception.__init__
        return plain or issubclass(each, (ValidationIssuesError, SerializationError))

    return {each.code: build(each) for each in vars(errors).values() if told(each)}


_BY_CODE = _builders()
