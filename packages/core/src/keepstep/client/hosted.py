"""Verbs in a host's own async transaction: ``app.using(session)`` (G1).

What they write commits or rolls back with the host's own rows; runners are woken after the commit. A refusal by a
verb leaves the transaction usable; an error of the database does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from keepstep.authoring.registry import Bindings, Registry
from keepstep.client.binding import Binding
from keepstep.client.bound import Workflow, binding_of, bindings_of
from keepstep.client.mint import Mint
from keepstep.client.mounted import FragmentAttributes
from keepstep.client.outcome import cannot_wait
from keepstep.client.verbs import Create, Transact
from keepstep.errors import UsageError
from keepstep.fragment.composition import Composition
from keepstep.model.outcome import Standing
from keepstep.model.status import TERMINAL
from keepstep.services.target import Done
from keepstep.store.aftermath import after_commit
from keepstep.store.clock import Clock
from keepstep.store.host import SyncTarget, connection_of, dialect_of, run_sync
from keepstep.store.lock import take_write_lock
from keepstep.store.script import Script
from keepstep.store.statement import DialectName

if TYPE_CHECKING:  # it needs greenlet, which a sync host on SQLite does not install
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

P = TypeVar("P")
R = TypeVar("R")
T = TypeVar("T")
W = TypeVar("W", bound=Bindings)


class HostTransaction:
    """What every verb in a host's transaction does, in either colour.

    Args:
        dialect: the app's database: the host's transaction must be on the same.
        clock: database time where that is not the database's own (B5).
        touched: called with a run's id, or None for other work, after the host's commit, in whichever thread that
            happens.
    """

    def __init__(
        self, dialect: DialectName, clock: Clock | None, touched: Callable[[int | None], None]
    ) -> None:
        self._dialect: DialectName = dialect
        self._clock = clock
        self._touched = touched

    def run(self, target: SyncTarget, verb: Transact[T] | Create) -> Done[Any]:
        """Run a verb's script, and have runners woken after the host's commit."""
        self._check(target)
        script = verb.script(self._dialect)
        writes = isinstance(verb, Create) or verb.mode == "write"
        done = run_sync(target, _locked(self._dialect, script) if writes else script, self._clock)
        for run_id in done.touched:
            after_commit(target, lambda run_id=run_id: self._touched(run_id))
        return done

    def wake_after(self, target: SyncTarget) -> None:
        """Have runners woken after the host's commit."""
        after_commit(target, lambda: self._touched(None))

    def _check(self, target: SyncTarget) -> None:
        found = dialect_of(target)
        if found != self._dialect:
            raise UsageError(
                f"app.using(…) got a transaction on {found}, but the app's database is {self._dialect}: "
                "give a connection or session on the app's database"
            )
        connection = connection_of(target)
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            raise UsageError(
                "app.using(…) got a connection in AUTOCOMMIT: it has no transaction to join; "
                "give one with a transaction, or use app.workflows"
            )


def _locked(dialect: DialectName, script: Script[Done[Any]]) -> Script[Done[Any]]:
    yield from take_write_lock(dialect)
    return (yield from script)


def must_have_ended(run: Standing) -> Standing:
    """Refuse to wait inside a host's transaction."""
    if run.status not in TERMINAL:
        raise cannot_wait(run)
    return run


class HostPort:
    """Each verb in the transaction of an async session or connection."""

    def __init__(self, target: AsyncSession | AsyncConnection, transaction: HostTransaction) -> None:
        self._target = target
        self._transaction = transaction

    async def run(self, verb: Transact[T]) -> T:
        """Run a script in the host's transaction."""
        return (await self._run(verb)).answer

    async def create(self, verb: Create) -> list[str]:
        """Begin instances with the host's commit."""
        return verb.judge((await self._run(verb)).answer)

    async def ended(self, look: Transact[Standing], timeout_ms: int | None) -> Standing:  # noqa: ARG002  # nothing waits here
        """Give a run that has ended; one that has not is refused, because waiting would hold the transaction."""
        return must_have_ended(await self.run(look))

    async def work(self, work: Callable[[SyncTarget], T]) -> T:
        """Call sync work on the host's transaction."""
        return await self._target.run_sync(cast("Any", work))

    async def _run(self, verb: Transact[T] | Create) -> Done[Any]:
        def work(target: Any) -> Done[Any]:
            return self._transaction.run(target, verb)

        return await self._target.run_sync(work)


class Hosted(FragmentAttributes, Generic[W]):
    """The app in a host's async transaction.

    Attributes:
        workflows: the app's bindings; their verbs write in the host's transaction.
    """

    def __init__(self, port: HostPort, registry: Registry, mint: Mint, composition: Composition) -> None:
        self._port = port
        self._registry = registry
        self._mint = mint
        self._composition = composition
        self.workflows: W = bindings_of(registry, port, mint)

    def binding(self, definition: Workflow[P, R]) -> Binding[P, R]:
        """The binding of a workflow, typed by it.

        Raises:
            WorkflowNotFoundError: the app does not have it.
        """
        return binding_of(self._registry, definition, self._port, self._mint)
