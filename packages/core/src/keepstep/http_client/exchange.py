"""One request and its answer: sent again only where sending twice does what sending once does. Sends nothing itself.

A request that has certainly not left may always be sent again. One that may have been done is sent again only if it
reads, or carries an id by which the server knows it (D7, E2).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, TypeVar

from keepstep.errors import RemoteUnavailableError
from keepstep.http_client.refusals import UNAVAILABLE, error_of
from keepstep.model.retry import Retry

T = TypeVar("T")

TOO_MANY = 429
"""The status of a server that has not looked at the request at all."""
RETRY_AFTER_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class Send:
    """A request.

    Attributes:
        method: GET or POST.
        path: below the server's address, quoted.
        query: its parameters.
        body: JSON, or None.
        safe: whether it may be sent again when nobody knows whether it was done.
        again: the body of a second sending, where that differs.
        waits_s: how long the server may hold it, besides the usual time.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = None
    safe: bool = False
    again: bytes | None = None
    waits_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Pause(NamedTuple):
    """A wait of so many seconds."""

    seconds: float


class Reply(NamedTuple):
    """An answer; ``retry_after`` is the header of that name."""

    status: int
    body: bytes
    retry_after: str = ""


class Unreached(NamedTuple):
    """No answer; ``left`` says whether the request may have arrived."""

    why: str
    left: bool
    cause: Exception


Talk: TypeAlias = Generator[Send | Pause, "Reply | Unreached | None", T]
"""Yields what is to be sent, and is sent what came back; a pause is answered with None."""


class Exchange:
    """Sends requests, again where that is safe.

    Args:
        retry: how often and when.
        draw: gives a number in [0, 1) for the jitter.
    """

    def __init__(self, retry: Retry, draw: Callable[[], float]) -> None:
        self._retry = retry
        self._draw = draw

    def answer(self, request: Send) -> Talk[bytes]:
        """Give the body of the answer.

        Raises:
            KeepstepError: what the server refused with; or it was not reached, or answered what keepstep does not.
        """
        attempt = 1
        while True:
            got = yield request
            assert got is not None
            if isinstance(got, Reply) and got.status < 300:
                return got.body
            if attempt >= self._retry.max_attempts or not _may_send_again(request, got):
                raise self._error(request, got, attempt)
            delay = self._retry.delay_ms(attempt, draw=self._draw()) / 1000
            yield Pause(max(delay, _asked_delay(got)))
            attempt += 1
            if request.again is not None:
                request = _second(request, request.again)

    def _error(self, request: Send, got: Reply | Unreached, attempt: int) -> Exception:
        if isinstance(got, Reply):
            return error_of(str(request), got.status, got.body)
        done = "it may have been done all the same" if got.left and not request.safe else "try again later"
        tries = "" if attempt == 1 else f" in {attempt} attempts"
        error = RemoteUnavailableError(f"{request} got no answer{tries}: {got.why}; {done}")
        error.__cause__ = got.cause
        return error


def _may_send_again(request: Send, got: Reply | Unreached) -> bool:
    if isinstance(got, Unreached):
        return request.safe or not got.left
    return got.status == TOO_MANY or (request.safe and got.status in UNAVAILABLE)


def _asked_delay(got: Reply | Unreached) -> float:
    text = got.retry_after if isinstance(got, Reply) else ""
    return min(float(text), RETRY_AFTER_MAX_S) if text.isascii() and text.isdigit() else 0.0


def _second(request: Send, body: bytes) -> Send:
    return Send(request.method, request.path, request.query, body, safe=request.safe, waits_s=request.waits_s)
