"""``app.sync``: the app for Flask, Django and scripts, with plain functions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from typing import Protocol, Self, TypeVar

from keepstep.authoring.registry import Registry
from keepstep.client.bound import Workflow
from keepstep.client.mint import Mint
from keepstep.client.ports import DatabasePort
from keepstep.fragment.composition import Composition
from keepstep.model.outcome import TickResult
from keepstep.sync.binding import SyncBinding
from keepstep.sync.bindings import SyncBindings, sync_binding_of
from keepstep.sync.changes import SyncChanges
from keepstep.sync.hooks import SyncHooks
from keepstep.sync.mounted import SyncFragmentAttributes
from keepstep.sync.portal import Portal
from keepstep.sync.ports import PortalPort

P = TypeVar("P")
R = TypeVar("R")


class AsyncApp(Protocol):
    """What is called on the app's loop."""

    @property
    def home(self) -> asyncio.AbstractEventLoop | None:
        """The loop on which the app is open."""
        ...

    async def start(self, *, migrate: bool = True) -> None:
        """Start."""
        ...

    async def stop(self) -> None:
        """Stop."""
        ...

    async def migrate(self) -> None:
        """Migrate."""
        ...

    async def tick(self, max_instances: int | None = None) -> TickResult:
        """Tick."""
        ...

    async def run_until_idle(self) -> int:
        """Tick until nothing is due."""
        ...


class SyncClient(SyncFragmentAttributes):
    """An app's verbs as plain functions, callable from any thread.

    They run on the loop on which the app runs already; if it runs nowhere, on a thread of their own that begins with
    the first call and ends with :meth:`stop` or with the process.

    Attributes:
        workflows: the app's bindings by key.
        hooks: the outbox.
        changes: the change feed.
    """

    def __init__(
        self,
        app: AsyncApp,
        registry: Registry,
        port: DatabasePort,
        mint: Mint,
        composition: Composition,
    ) -> None:
        self._app = app
        self._registry = registry
        self._mint = mint
        self._composition = composition
        self._portal = Portal(lambda: app.home, self.stop)
        self._port = PortalPort(self._portal, port)
        self.workflows = SyncBindings(registry, self._port, mint)
        self.hooks = SyncHooks(self._port)
        self.changes = SyncChanges(self._port)

    def binding(self, definition: Workflow[P, R]) -> SyncBinding[P, R]:
        """The binding of a workflow, typed by it.

        Raises:
            WorkflowNotFoundError: the app does not have it.
        """
        return sync_binding_of(self._registry, definition, self._port, self._mint)

    def start(self, *, migrate: bool = True) -> Self:
        """Start the app, as :meth:`keepstep.App.start`. One that a host has started on its own loop stays as it is."""
        self._portal.call(self._app.start, migrate=migrate)
        return self

    def stop(self) -> None:
        """Stop the app and end its thread. One that runs on a host's loop is left to its host. Idempotent."""
        if self._portal.has_thread:
            try:
                self._portal.call(self._app.stop)
            finally:
                self._portal.close()

    @contextlib.contextmanager
    def running(self, *, migrate: bool = True) -> Generator[Self]:
        """Start the app, and stop it at the end of the block."""
        try:
            yield self.start(migrate=migrate)
        finally:
            self.stop()

    def migrate(self) -> None:
        """Bring the database's schema up to date, as :meth:`keepstep.App.migrate`."""
        self._portal.call(self._app.migrate)

    def tick(self, max_instances: int | None = None) -> TickResult:
        """Advance what is due, as :meth:`keepstep.App.tick`."""
        return self._portal.call(self._app.tick, max_instances)

    def run_until_idle(self) -> int:
        """Advance until nothing is due now, as :meth:`keepstep.App.run_until_idle`."""
        return self._portal.call(self._app.run_until_idle)
