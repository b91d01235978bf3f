"""What is to be done once a host's transaction has committed: hints, never anything that must happen (G1).

A session says when it has committed. A bare connection only says when it is about to, so its callbacks wait for the
next thing that proves the commit: the connection goes back to its pool, or begins again. What was asked for within a
savepoint goes with the savepoint. A callback that never comes costs time (polls find the work), one that comes before
the commit would look for rows that are not there yet; so in doubt they are not called.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, ExceptionContext, event
from sqlalchemy.sql.elements import SavepointClause

from keepstep.store.host import SyncTarget, sync_target

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, SessionTransaction

log = logging.getLogger(__name__)

Callback = Callable[[], None]


def after_commit(target: object, callback: Callback) -> None:
    """Call ``callback`` once after the outermost transaction under way on ``target`` has committed.

    Args:
        target: the host's connection or session, sync or async.
        callback: quick, and without use of ``target``; called in the thread, and on an async target on the loop,
            of the commit. Not called after a rollback.

    Raises:
        UsageError: ``target`` is no SQLAlchemy connection or session.
    """
    found: SyncTarget = sync_target(target)
    if not isinstance(found, Connection) and isinstance(found.bind, Connection):
        found = found.bind  # the session has joined a transaction that others end
    hook = _HOOKS.get(found)
    if hook is None:
        hook = _HOOKS[found] = (
            _ConnectionHook(found) if isinstance(found, Connection) else _SessionHook(found)
        )
    hook.add(callback)


def ends_elsewhere(target: object, on_commit: Callable[[Callback], object]) -> None:
    """Have others say when the transaction on ``target`` has committed, because SQLAlchemy does not end it.

    Args:
        target: the host's connection or session, sync or async.
        on_commit: takes a callback, and calls it after the commit; never after a rollback.

    Raises:
        UsageError: ``target`` is no SQLAlchemy connection or session.
    """
    _HOOKS[sync_target(target)] = _ForeignHook(on_commit)


class _ForeignHook:
    def __init__(self, on_commit: Callable[[Callback], object]) -> None:
        self._on_commit = on_commit

    def add(self, callback: Callback) -> None:
        self._on_commit(callback)


class _Pending:
    """Callbacks of one transaction, and how many there were when each open savepoint began."""

    def __init__(self) -> None:
        self.callbacks: list[Callback] = []
        self._marks: list[tuple[object, int]] = []

    def begin(self, savepoint: object) -> None:
        self._marks.append((savepoint, len(self.callbacks)))

    def release(self, savepoint: object) -> None:
        self._leave(savepoint)

    def roll_back(self, savepoint: object) -> None:
        del self.callbacks[self._leave(savepoint) :]

    def _leave(self, savepoint: object) -> int:
        """Forget the savepoint and those within it; one that is older than all of this began with nothing."""
        while self._marks:
            found, mark = self._marks.pop()
            if found == savepoint:
                return mark
        return 0

    def take(self) -> list[Callback]:
        taken, self.callbacks = self.callbacks, []
        self._marks.clear()
        return taken


class _SessionHook:
    def __init__(self, session: Session) -> None:
        self._pending = _Pending()
        event.listen(session, "after_transaction_create", self._created)
        event.listen(session, "after_commit", self._committed)
        event.listen(session, "after_rollback", self._rolled_back)
        event.listen(session, "after_transaction_end", self._ended)

    def add(self, callback: Callback) -> None:
        self._pending.callbacks.append(callback)

    def _created(self, _session: Session, transaction: SessionTransaction) -> None:
        if transaction.nested:
            self._pending.begin(transaction)

    def _committed(self, session: Session) -> None:
        if not session.in_nested_transaction():
            _call(self._pending.take())

    def _rolled_back(self, session: Session) -> None:
        savepoint = session.get_nested_transaction()
        if savepoint is not None:
            self._pending.roll_back(savepoint)

    def _ended(self, _session: Session, transaction: SessionTransaction) -> None:
        if transaction.nested:
            self._pending.release(transaction)
        elif transaction.parent is None:
            self._pending.take()


class _ConnectionHook:
    def __init__(self, connection: Connection) -> None:
        self._pending = _Pending()
        self._armed: list[Callback] = []
        event.listen(connection, "begin", self._begun)
        event.listen(connection, "commit", self._committing)
        event.listen(connection, "rollback", self._rolled_back)
        event.listen(connection, "before_execute", self._executing)
        event.listen(connection, "release_savepoint", self._released)
        event.listen(connection, "rollback_savepoint", self._savepoint_rolled_back)
        _watch(connection.engine)

    def add(self, callback: Callback) -> None:
        self._pending.callbacks.append(callback)

    def _committing(self, connection: Connection) -> None:
        self._armed += self._pending.take()
        driver = connection.connection.dbapi_connection
        if self._armed and driver is not None:
            _ARMED[id(driver)] = self.fire

    def _begun(self, _connection: Connection) -> None:
        self.fire()

    def fire(self) -> None:
        armed, self._armed = self._armed, []
        _call(armed)

    def disarm(self) -> None:
        self._armed.clear()

    def _rolled_back(self, _connection: Connection) -> None:
        self.disarm()
        self._pending.take()

    def _executing(self, _connection: Connection, clause: Any, *_: Any) -> None:
        if isinstance(clause, SavepointClause):  # the event "savepoint" does not know the name yet
            self._pending.begin(cast("Any", clause).ident)

    def _released(self, _connection: Connection, name: str, _context: Any) -> None:
        self._pending.release(name)

    def _savepoint_rolled_back(self, _connection: Connection, name: str, _context: Any) -> None:
        self._pending.roll_back(name)


_HOOKS: WeakKeyDictionary[SyncTarget, _SessionHook | _ConnectionHook | _ForeignHook] = WeakKeyDictionary()
_WATCHED: WeakKeyDictionary[Engine, bool] = WeakKeyDictionary()
_ARMED: dict[int, Callback] = {}
"""By the driver's connection: what to call when that goes back to its pool."""


def _watch(engine: Engine) -> None:
    if engine not in _WATCHED:
        _WATCHED[engine] = True
        event.listen(engine.pool, "checkin", _checked_in)
        event.listen(engine, "handle_error", _failed)


def _failed(context: ExceptionContext) -> None:
    """A COMMIT that fails is followed by no rollback; between it and its proof nothing else is executed."""
    hook = _HOOKS.get(context.connection) if context.connection is not None else None
    if isinstance(hook, _ConnectionHook):
        hook.disarm()


def _checked_in(driver: Any, _record: Any) -> None:
    fire = _ARMED.pop(id(driver), None)
    if fire is not None:
        fire()


def _call(callbacks: list[Callback]) -> None:
    for callback in callbacks:
        try:
            callback()
        except Exception:
            log.exception("what follows a commit failed; the commit stands")
