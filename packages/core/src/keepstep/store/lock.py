"""Taking SQLite's write lock in a host's transaction, which began without it (G1).

A script that steers reads a row, decides, and writes the row as a whole. PostgreSQL locks what is read for that; on
SQLite only the database's one write lock does. The engine's own transactions begin with it, a host's usually do not.
"""

from __future__ import annotations

from sqlalchemy import false

from keepstep.store.script import Call, Script
from keepstep.store.statement import DialectName, Statement
from keepstep.store.tables import runner

WRITE_NOTHING = Statement(runner.update().where(false()).values(pid=runner.c.pid), "take the write lock")


def take_write_lock(dialect: DialectName) -> Script[None]:
    """Become the writer before the first read.

    Raises:
        StoreConflictError: others wrote since this transaction read first, or they hold the lock too long.
    """
    if dialect == "sqlite":
        yield Call(WRITE_NOTHING)
