"""The kinds of operations that a host allows or denies (G3)."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """The kinds of operations that a host may allow."""

    READ = "read"
    CREATE = "create"
    MANAGE = "manage"
    """Pause, resume, terminate, cancel, restart, retry."""
    SEND_EVENT = "send_event"
    TICK = "tick"
    STREAM = "stream"
