"""W3C trace context: carried with what is stored now and done later, so that a trace goes on across it (F2)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

NO_TRACE: Mapping[str, str] = MappingProxyType({})
_CURRENT: ContextVar[Mapping[str, str]] = ContextVar("keepstep_trace", default=NO_TRACE)


@contextmanager
def traced(headers: Mapping[str, str]) -> Generator[None, None, None]:
    """Have hooks that are triggered in the block carry these headers.

    Args:
        headers: a request's headers, or what a tracer injects; ``traceparent`` and ``tracestate`` are kept.
    """
    token = _CURRENT.set(trace_of(headers))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_trace() -> Mapping[str, str]:
    """The trace context of the code that is running, empty without one."""
    return _CURRENT.get()


def trace_of(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Take the trace context out of headers, whatever their case."""
    found = {name.lower(): value for name, value in headers.items()}
    return {name: found[name] for name in ("traceparent", "tracestate") if name in found}
