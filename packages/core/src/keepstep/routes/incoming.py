"""What comes in: bodies within their limit, JSON in the strict sense, models for both bodies and queries."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Never, TypeVar

from pydantic import RootModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.types import Message, Receive

from keepstep.client.wire import Body, Query
from keepstep.errors import InvalidInputError, PayloadTooLargeError, ValidationIssuesError
from keepstep.model.codec import JsonText

B = TypeVar("B", bound=Body)
Q = TypeVar("Q", bound=Query)


class UnsupportedMediaTypeError(InvalidInputError):
    """The body is not said to be JSON."""

    code = "UNSUPPORTED_MEDIA_TYPE"


class Bounded:
    """A request's body, refused as soon as it is known to be too large, whoever reads it.

    Args:
        receive: the server's.
        most: bytes.
    """

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._seen = 0

    async def __call__(self) -> Message:
        """Receive; raises ``PayloadTooLargeError`` once there is more than allowed."""
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self._most:
            raise too_large(self._most)
        return message


def check_length(request: Request, most: int) -> None:
    """Refuse a body that is said to be too large, before any of it is read.

    Raises:
        PayloadTooLargeError: it is.
    """
    said = request.headers.get("content-length", "")
    if said.isascii() and said.isdigit() and (len(said) > 18 or int(said) > most):
        raise too_large(most)


def too_large(most: int) -> PayloadTooLargeError:
    """Build the error for a body over the limit."""
    return PayloadTooLargeError(
        f"the request's body has more than {most:,} bytes. Store what is large elsewhere and pass a reference to it"
    )


async def read_body(request: Request, model: type[B]) -> B:
    """Read a body as a model; no body at all is an empty object.

    Raises:
        UnsupportedMediaTypeError: it is not said to be JSON.
        InvalidInputError: it is not JSON.
        ValidationIssuesError: it does not fit; ``issues`` lists why.
        PayloadTooLargeError: it is larger than this server takes.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    raw = await request.body()
    if media != "application/json" and (raw or media):  # a form of a foreign page always says what it sends
        raise UnsupportedMediaTypeError(
            f"the body must be application/json, not {media[:60] or 'of an unsaid type'}"
        )
    try:
        given = read_json(raw or b"{}")
        if issubclass(
            model, RootModel
        ):  # a fragment's own type: JSON's text for what JSON has not, and no other
            whole = json.loads(json.dumps(given), parse_float=_number)
            return model.model_validate_json(json.dumps(whole), strict=True)
        return model.model_validate(given)
    except ValidationError as error:
        raise unfit(error, "the request's body") from None


def read_query(params: QueryParams, model: type[Q]) -> Q:
    """Read a query as a model.

    Raises:
        ValidationIssuesError: it does not fit, or says one thing twice.
    """
    twice = [name for name in model.model_fields if len(params.getlist(name)) > 1]
    if twice:
        listed = [{"path": name, "message": "given more than once", "type": "repeated"} for name in twice]
        raise ValidationIssuesError(f"the query gives {', '.join(twice)} more than once", listed)
    try:
        return model.model_validate(dict(params))
    except ValidationError as error:
        raise unfit(error, "the query") from None


def read_json(raw: bytes) -> Any:
    """Read JSON text: UTF-8, no key twice in one object, no NaN and no infinity, no half characters.

    Raises:
        InvalidInputError: it is something else.
    """
    try:
        read = json.loads(
            raw.decode(), object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
        )
        as_text(read).encode()  # an escaped half of a character is no text
    except UnicodeError:
        raise InvalidInputError("the body is not JSON in UTF-8") from None
    except RecursionError:
        raise InvalidInputError("the body is nested too deep") from None
    except ValueError as error:
        raise InvalidInputError(f"the body is not JSON: {error}") from None
    return read


def as_text(value: Any) -> JsonText:
    """Write what :func:`read_json` read, for a codec."""
    return JsonText(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has one key twice")
    return found


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def unfit(error: ValidationError, what: str) -> ValidationIssuesError:
    """Build the error for what does not fit a model, without what was given."""
    issues = [
        {"path": ".".join(map(str, issue["loc"])), "message": issue["msg"], "type": issue["type"]}
        for issue in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    listed = "; ".join(f"{issue['path'] or 'value'}: {issue['message']}" for issue in issues[:10])
    return ValidationIssuesError(f"{what} does not fit: {listed}", issues)


def _number(text: str) -> float:
    """Read a number; 2.0 is an integer in JSON Schema, which strict models tell apart."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
