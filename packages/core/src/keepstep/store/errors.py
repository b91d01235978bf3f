r"""Drivers' exceptions as ``StoreError``\ s (semantics H): callers see one tree, the driver's error as its cause.

Exceptions are told apart by what the drivers have in common (SQLSTATE, SQLite's result code), so that no driver is
imported here and an absent one costs nothing. What a caller should *do* about an error is not decided here.
"""

from __future__ import annotations

from types import TracebackType

from keepstep.errors import (
    IntegrityError,
    SchemaVersionError,
    StoreConflictError,
    StoreError,
    StoreUnavailableError,
)

_SQLITE: dict[int, type[StoreError]] = {
    5: StoreConflictError,  # BUSY
    6: StoreConflictError,  # LOCKED
    8: StoreUnavailableError,  # READONLY
    10: StoreUnavailableError,  # IOERR
    11: StoreUnavailableError,  # CORRUPT
    13: StoreUnavailableError,  # FULL
    14: StoreUnavailableError,  # CANTOPEN
    17: StoreConflictError,  # SCHEMA: another process changed it meanwhile
    19: IntegrityError,  # CONSTRAINT
    26: StoreUnavailableError,  # NOTADB
}

_SQLSTATES: dict[str, type[StoreError]] = {
    "25006": StoreUnavailableError,  # read only: the server became a standby
    "3D000": StoreUnavailableError,  # no such database
    "40001": StoreConflictError,  # serialization failure
    "40003": StoreUnavailableError,  # statement completion unknown
    "40P01": StoreConflictError,  # deadlock
    "55P03": StoreConflictError,  # lock timeout, NOWAIT
    "57014": StoreConflictError,  # cancelled: statement timeout
    "42P01": SchemaVersionError,  # no such table
    "42703": SchemaVersionError,  # no such column
    "3F000": SchemaVersionError,  # no such schema
}

_SQLSTATE_CLASSES: dict[str, type[StoreError]] = {
    "08": StoreUnavailableError,  # connection exceptions
    "23": IntegrityError,
    "28": StoreUnavailableError,  # authorization refused
    "40": StoreConflictError,  # transaction rollback
    "53": StoreUnavailableError,  # out of disk, memory, connections
    "57": StoreUnavailableError,  # operator intervention: shutdown, crash, starting up
    "58": StoreUnavailableError,  # system errors
}

_ADVICE: dict[type[StoreError], str] = {
    StoreUnavailableError: "the database cannot be reached, or dropped the connection; try again",
    StoreConflictError: "another transaction was in the way and nothing was written; try again",
    IntegrityError: "a constraint of the database refused the write; nothing was written",
    SchemaVersionError: "keepstep's tables are missing or do not fit this version; run app.migrate()",
    StoreError: "the database refused",
}


def translate(error: BaseException, label: str) -> StoreError | None:
    """The ``StoreError`` that stands for a driver's exception, or None when it is not one.

    Args:
        error: what a driver or SQLAlchemy raised.
        label: what was being done, for the message.

    Returns:
        An error with ``error`` as its cause, ready to be raised. A ``StoreError`` is returned as it is.
    """
    if isinstance(error, StoreError):
        return error
    found = _classify(error)
    if found is None:
        return None
    translated = found(f"{label}: {_ADVICE[found]}: {_text(error)}")
    translated.__cause__ = error
    return translated


class translated:  # noqa: N801 - reads as a phrase: `with translated("claim"):`
    """Raise what :func:`translate` makes of a driver's exception in the block; let anything else pass.

    Args:
        label: what is being done, for the message.
    """

    __slots__ = ("_label",)

    def __init__(self, label: str) -> None:
        self._label = label

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, StoreError):
            return
        found = translate(error, self._label)
        if found is not None:
            raise found from error


def _classify(error: BaseException) -> type[StoreError] | None:
    for each in _chain(error):
        found = _by_code(each)
        if found is not None:
            return found
    for each in _chain(error):
        if isinstance(each, OSError) or _lost_connection(each):  # TimeoutError is an OSError
            return StoreUnavailableError
    return StoreError if _from_driver(error) else None


def _chain(error: BaseException) -> list[BaseException]:
    """The exception and what it wraps: SQLAlchemy keeps the driver's in ``orig``, its asyncpg adapter in the cause."""
    chain = [error]
    while len(chain) < 4:
        inner = getattr(chain[-1], "orig", None) or (chain[-1].__cause__ if _from_driver(chain[-1]) else None)
        if not isinstance(inner, BaseException):
            break
        chain.append(inner)
    return chain


def _by_code(error: BaseException) -> type[StoreError] | None:
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str) and len(sqlstate) == 5:
        return _SQLSTATES.get(sqlstate) or _SQLSTATE_CLASSES.get(sqlstate[:2])
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        if code & 0xFF == 1 and (
            "no such table" in str(error) or "no such column" in str(error) or "has no column" in str(error)
        ):
            return SchemaVersionError
        return _SQLITE.get(code & 0xFF)
    return None


def _lost_connection(error: BaseException) -> bool:
    """Whether a driver's error that carries no code says that the connection is gone."""
    if getattr(error, "connection_invalidated", False):
        return True
    if not _from_driver(error):
        return False
    name, text = type(error).__name__, str(error).lower()
    codeless = name == "OperationalError" and not _has_code(error)
    return codeless or name in _LOST or "closed" in text or "connection" in text


def _has_code(error: BaseException) -> bool:
    found = getattr(error, "orig", None) or error
    return getattr(found, "sqlstate", None) is not None or hasattr(found, "sqlite_errorcode")


def _from_driver(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in _DRIVERS


_LOST = frozenset({"TimeoutError", "InternalClientError", "ProtocolError"})
"""Asyncpg's last two: what the server sent does not fit what was asked. So reads a farewell that arrived before a
connection was used again."""

_DRIVERS = frozenset(
    {"aiosqlite", "asyncpg", "psycopg", "psycopg_pool", "pysqlite3", "sqlalchemy", "sqlite3"}
)


def _text(error: BaseException) -> str:
    """One line about the innermost error: class and message, without SQLAlchemy's statement and parameters."""
    inner = _chain(error)[-1]
    message = str(inner).strip().splitlines()
    return f"{type(inner).__name__}: {message[0]}" if message else type(inner).__name__
