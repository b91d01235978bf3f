r"""Transaction scripts: store work as generators, so that one text runs on every driver and colour.

A script yields :class:`Call`\ s and is sent their rows. The executors (``sqlite.py``, ``postgres.py``, ``host.py``)
drive it: raw ``sqlite3``, raw ``asyncpg``, the host's sync or async SQLAlchemy connection. There are no twins.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from keepstep.store.statement import Statement

T = TypeVar("T")

Row = Sequence[Any]
"""One row of any driver: read by position, or through ``SomeRecord._make(row)``."""

Params = Mapping[str, Any] | Sequence[tuple[Any, ...]]
"""A mapping: one execution, by name. A list or tuple of tuples: ``executemany``, each in ``statement.order``."""

NO_PARAMS: Mapping[str, Any] = {}


class Call(NamedTuple):
    """One statement with its parameters.

    A mapping executes the statement once and its rows come back; executors add ``now`` where it is not given.
    A sequence of tuples (records are tuples) executes it once for each, in the order of ``statement.order``, and no rows
    come back. An executor that binds by name makes ``dict(zip(statement.order, row))`` of each.

    Attributes:
        statement: what to execute.
        params: see above; lists for :func:`~keepstep.store.statement.ids` are given as lists.
    """

    statement: Statement
    params: Params = NO_PARAMS


Script = Generator[Call, Sequence[Row], T]
"""A transaction's work. The driver commits when it returns and rolls back when it raises."""

ScriptSource = Callable[[], Script[T]]
"""Makes a fresh script for each try of a transaction."""
