"""The database's time, for a script that reads nothing else first (B5)."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import select

from keepstep.store.script import Call, Script
from keepstep.store.statement import Statement, db_now


class Clock(Protocol):
    """Decides due, expired and deadline where it stands in for the database's own clock (B5)."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        ...


READ_NOW = Statement(select(db_now()), "read now")


def read_now() -> Script[int]:
    """Database time in milliseconds."""
    found = yield Call(READ_NOW)
    return found[0][0]
