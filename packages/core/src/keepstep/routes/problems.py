"""Errors as answers: ``application/problem+json`` (RFC 9457) with the code that the error has in Python (H).

What the caller did wrong is told in full. What went wrong here is logged, and told by its code only: a message of the
database or of a host's own code may say more than a stranger should read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from keepstep.client.wire import Issue, Problem
from keepstep.errors import (
    ForbiddenError,
    InstanceNotFoundError,
    InvalidInputError,
    KeepstepError,
    PayloadTooLargeError,
    RefusedError,
    SerializationError,
    StateError,
    StoreConflictError,
    StoreUnavailableError,
    UnauthenticatedError,
    ValidationIssuesError,
    WorkflowNotFoundError,
)
from keepstep.routes.incoming import UnsupportedMediaTypeError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUSES: Mapping[type[KeepstepError], int] = {
    UnsupportedMediaTypeError: 415,
    PayloadTooLargeError: 413,
    ValidationIssuesError: 422,
    SerializationError: 422,
    InvalidInputError: 400,
    WorkflowNotFoundError: 404,
    InstanceNotFoundError: 404,
    StateError: 409,
    UnauthenticatedError: 401,
    ForbiddenError: 403,
    StoreUnavailableError: 503,
    StoreConflictError: 503,
}
"""The status of each class of errors, a class before those that it is one of. All others are failures of the server."""

_SAYS_LITTLE = {
    503: "the database cannot answer now; try again",
    500: "the server failed; its log says why",
}
_CODES = {401: "UNAUTHENTICATED", 403: "FORBIDDEN", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}


def answer_error(request: Request, error: Exception) -> Response:
    """Make the answer for an error that an operation, or the host's check, raised."""
    if isinstance(error, HTTPException):
        code = _CODES.get(error.status_code, "HTTP_ERROR")
        return problem(error.status_code, code, error.detail, error.headers)
    if isinstance(error, RefusedError):
        return problem(error.status, error.refusal, str(error))
    status = next((STATUSES[each] for each in STATUSES if isinstance(error, each)), 500)
    if status < 500:
        assert isinstance(error, KeepstepError)
        headers = {"www-authenticate": "Bearer"} if status == 401 else None
        return problem(status, error.code, str(error) or error.code, headers, _issues(error))
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    code = error.code if isinstance(error, KeepstepError) else "INTERNAL"
    return problem(status, code, _SAYS_LITTLE[status], {"retry-after": "1"} if status == 503 else None)


def problem(
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    issues: list[Issue] | None = None,
) -> Response:
    """Make an answer that refuses."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    clean = detail.encode("utf-8", "replace").decode()
    body = Problem(type="about:blank", title=title, status=status, detail=clean, code=code, issues=issues)
    return Response(body.model_dump_json(exclude_none=True), status, headers, MEDIA_TYPE)


def _issues(error: KeepstepError) -> list[Issue] | None:
    if isinstance(error, ValidationIssuesError):
        return [Issue(**{name: _clean(text) for name, text in issue.items()}) for issue in error.issues]
    if isinstance(error, SerializationError):
        return [Issue(path=_clean(error.path), message=_clean(str(error)), type="serialization")]
    return None


def _clean(text: Any) -> str:
    return str(text).encode("utf-8", "replace").decode()
