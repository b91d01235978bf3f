"""The conformance suite of whole engines: what an app does as its users see it, in whatever way it is run (A, C, D, E).

    class TestMyHost(EngineConformance):
        @pytest.fixture
        def open_app(self, clock, tmp_path):
            @asynccontextmanager
            async def opened(workflows):
                app = App(f"sqlite:///{tmp_path}/my.db", workflows=workflows, clock=clock, dispatcher=None)
                await app.migrate()
                yield app
                await app.stop()

            return opened

Every test opens an app on an empty database. By default it is advanced by ``app.run_until_idle()``; a subclass whose app
runs by itself, or is ticked from elsewhere, overrides :meth:`EngineConformance.advance`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from keepstep import App
from keepstep_testing.conformance.engines.beginnings import Beginnings
from keepstep_testing.conformance.engines.lifecycle import LifeCycle
from keepstep_testing.conformance.engines.steps import Steps
from keepstep_testing.conformance.engines.story import Clock, HandDispatcher, OpenApp, Story, workflows
from keepstep_testing.conformance.engines.waits import Waits

__all__ = ["Clock", "EngineConformance", "HandDispatcher", "OpenApp"]


@pytest.mark.anyio
class EngineConformance(Beginnings, Steps, Waits, LifeCycle):
    """Inherit and override the fixture ``open_app``; see the module's head."""

    @pytest.fixture(scope="session")
    @classmethod
    def anyio_backend(cls) -> str:
        """Coroutine tests run on asyncio."""
        return "asyncio"

    @pytest.fixture
    def clock(self) -> Clock:
        """The time that the app must be given: tests move it, none waits."""
        return Clock()

    @pytest.fixture
    def open_app(self) -> OpenApp:
        """A callable that gives an async context manager: an app with these workflows, on an empty database.

        Raises:
            NotImplementedError: the subclass gives none.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must override the fixture 'open_app': a callable that takes workflows and gives an"
            " async context manager of an App whose clock is the fixture 'clock'"
        )

    async def advance(self, app: App[Any]) -> None:
        """Have what is due advanced; called again and again until a test sees what it waits for."""
        await app.run_until_idle()

    @pytest.fixture
    async def story(self, open_app: OpenApp, clock: Clock) -> AsyncIterator[Story]:
        """The app, the clock, and the shorthand of the tests."""
        async with open_app(workflows()) as app:
            yield Story(app, clock, self.advance)
