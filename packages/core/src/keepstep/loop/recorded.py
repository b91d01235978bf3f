"""Between recorded errors and exceptions: what a failed step raises in the body, and what a body's exception records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from keepstep.errors import (
    EventTimeoutError,
    KeepstepError,
    NonRetryableError,
    PayloadTooLargeError,
    SerializationError,
    StepFailedError,
)
from keepstep.model.outcome import ErrorInfo
from keepstep.model.recorded import read_error
from keepstep.model.records import StepRecord

_MESSAGE_MAX = 8_192
_UNKNOWN = '{"name":"Exception","message":"no error was recorded"}'
_RAISED_AS_IS: dict[str, type[Exception]] = {
    SerializationError.code: SerializationError,
    PayloadTooLargeError.code: PayloadTooLargeError,
    EventTimeoutError.code: EventTimeoutError,
}


def recorded_failure(record: StepRecord) -> Exception:
    """What the body's await raises for a failed step, on the first pass and on every replay (C2)."""
    info = read_error(record.error or _UNKNOWN)
    own = _RAISED_AS_IS.get(info.code or "")
    if own is not None:
        return own(info.message)
    return StepFailedError(record.key, info.name, info.message, info.attempts or record.attempt)


def error_info(error: BaseException) -> ErrorInfo:
    """What is recorded of an exception that ended the body (C5).

    A step's failure is recorded as the original error. A group, as ``TaskGroup`` raises it, tells what is in it, and
    the first failed step of it is the one that can be tried again.
    """
    if isinstance(error, StepFailedError):
        return ErrorInfo(
            error.name, _cut(error.message), StepFailedError.code, error.step_key, error.attempts
        )
    if isinstance(error, BaseExceptionGroup):
        return _group_info(cast("BaseExceptionGroup[BaseException]", error))
    code = error.code if isinstance(error, KeepstepError) else None
    name = error.name if isinstance(error, NonRetryableError) else type(error).__name__
    return ErrorInfo(name, _cut(_text(error)), code)


def _group_info(group: BaseExceptionGroup[BaseException]) -> ErrorInfo:
    infos = [error_info(leaf) for leaf in _leaves(group)]
    listed = "; ".join(f"{info.name}: {info.message}" for info in infos)
    failed = next((info for info in infos if info.step_key), None)
    return ErrorInfo(
        type(group).__name__,
        _cut(f"{group.message}: {listed}"),
        None,
        failed.step_key if failed else None,
        failed.attempts if failed else None,
    )


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(cast("BaseExceptionGroup[BaseException]", error))
        else:
            yield error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as raised:  # noqa: BLE001 - the user's __str__ may raise anything
        return f"<its text raised {type(raised).__name__}>"


def _cut(text: str) -> str:
    return text if len(text) <= _MESSAGE_MAX else f"{text[:_MESSAGE_MAX]}… ({len(text):,} characters)"
