"""The transactions of a process's user: SQLAlchemy sessions on the world's database (C8)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.orm import Session

from keepstep.errors import StoreUnavailableError
from keepstep.store.sessions import Sessions
from keepstep_testing.sim.database import Database
from keepstep_testing.sim.store import Transaction

if TYPE_CHECKING:
    from keepstep_testing.sim.process import Process

T = TypeVar("T")


def user_engine(database: Database) -> Engine:
    """A SQLAlchemy engine on the world's database; its connections are the world's."""
    engine = create_engine("sqlite://", creator=database.connect, poolclass=NullPool)

    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "begin", begun)
    return engine


class SimSessions(Sessions):
    """See the module's head. A sync transaction is one event of the world: a thread's, between two gates."""

    def __init__(self, process: Process, engine: Engine) -> None:
        self.clock = process.world.clock
        self._process = process
        self._engine = engine

    def run_sync(self, work: Callable[[Session], T]) -> T:
        """Call ``work`` with a session, and commit."""
        process = self._process
        transaction = Transaction(process, "user", "write")
        trouble = process.world.trouble_of_user(process)
        if trouble == "before":
            raise StoreUnavailableError("user: the simulation refused the connection")
        with Session(self._engine) as session, session.begin():
            done = work(session)
        transaction.boundaries = process.take_user_boundary()
        process.world.committed(transaction)
        if trouble == "after":
            raise StoreUnavailableError("user: the simulation lost the answer of COMMIT")
        return done

    async def run_async(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Await ``work`` with a session whose every call may be interrupted before it, and commit."""
        process = self._process
        await process.gate("user:begin")
        process.world.lock(process)
        try:
            transaction = Transaction(process, "user", "write")
            with Session(self._engine) as session, session.begin():
                done = await work(_AsyncSession(session))
            transaction.boundaries = process.take_user_boundary()
        finally:
            process.world.unlocked(process)
        process.world.committed(transaction)
        await process.gate("user:committed")
        return done

    @property
    def prefers_loop(self) -> bool:
        """Work of threads stays in threads."""
        return False

    async def close(self) -> None:
        """Nothing is its own."""


class _AsyncSession:
    """What a step sees of an async session."""

    def __init__(self, session: Session) -> None:
        self.sync_session = session

    async def connection(self) -> Any:
        """Connect."""
        return self.sync_session.connection()

    async def run_sync(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call sync code with the session."""
        return fn(self.sync_session, *args, **kwargs)

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        """Execute a statement."""
        await asyncio.sleep(0)
        return self.sync_session.execute(statement, parameters)
