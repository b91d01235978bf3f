"""A dispatcher that never looks by itself: tests say when."""

from datetime import datetime

from keepstep.engine.dispatch import Looker


class Idle:
    """Does nothing; ``app._engine.runner.look()`` is a look."""

    async def start(self, runner: Looker) -> None:
        """Nothing begins."""

    async def wake(self, at: datetime | None = None) -> None:
        """Nothing happens."""

    async def stop(self) -> None:
        """Nothing ends."""
