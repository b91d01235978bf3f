"""The one that asks: begins instances, sends events, and knows what was acknowledged to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from keepstep import App, Status
from keepstep.errors import InstanceTerminalError, StoreError
from soak.checker import Expected
from soak.rows import execute
from soak.workflows import CREATE_USER_TABLE, KINDS, WORDS, WORKFLOWS, instance_id

T = TypeVar("T")
BATCH = 100
PAUSE_S = 0.1


class Client:
    """Asks again until the database has answered, as a careful caller would.

    Attributes:
        app: with all workflows, without a runner.
        database: its URL.
        acknowledged: instances whose creation was acknowledged: kind and number.
        halted: those of them whose termination was acknowledged.
        troubles: how often the database could not answer.
    """

    def __init__(self, app: App[Any], database: str) -> None:
        self.app = app
        self.database = database
        self.acknowledged: list[tuple[str, int]] = []
        self.halted: set[tuple[str, int]] = set()
        self.troubles = 0

    async def create(self, kind: str, numbers: Iterable[int]) -> None:
        """Begin instances; those that exist already, by a try whose answer was lost, are skipped."""
        binding, wanted = self.app.binding(KINDS[kind].definition), list(numbers)
        for first in range(0, len(wanted), BATCH):
            batch = wanted[first : first + BATCH]
            items = [{"id": instance_id(kind, n), "params": n} for n in batch]
            await self._surely(lambda items=items: binding.create_batch(items))
            self.acknowledged += [(kind, n) for n in batch]

    async def say(self, numbers: Iterable[int]) -> None:
        """Send each talk all its words; the event's id makes asking again harmless (D7)."""
        binding = self.app.binding(KINDS["talk"].definition)
        for number in numbers:
            talk = binding.instance(instance_id("talk", number))
            for word in range(WORDS):
                await self._surely(
                    lambda talk=talk, word=word: talk.send_event("word", word, id=f"word-{word}")
                )

    async def halt(self, numbers: Iterable[int]) -> None:
        """Terminate instances that take long; a second asking finds that the first was heard (E5)."""
        for number in numbers:
            instance = self.app.binding(KINDS["halt"].definition).instance(instance_id("halt", number))
            with contextlib.suppress(InstanceTerminalError):
                await self._surely(instance.terminate)
            now = await self._surely(instance.status)
            if now.status is not Status.COMPLETE:  # else it was over before it was asked to end
                self.halted.add(("halt", number))

    async def interrupt(self, kind: str, numbers: Iterable[int]) -> None:
        """Pause instances and resume them, unless they have ended: nothing of what they do changes (E3, E4)."""
        for number in numbers:
            instance = self.app.binding(KINDS[kind].definition).instance(instance_id(kind, number))
            with contextlib.suppress(InstanceTerminalError):
                await self._surely(instance.pause)
                await self._surely(instance.resume)

    async def begin(self, first: int, **counts: int) -> None:
        """Begin so many of each kind, numbered from ``first``, and do with them what the kind is for."""
        for kind, count in counts.items():
            await self.create(kind, range(first, first + count))
        await self.say(range(first, first + counts.get("talk", 0)))
        await self.interrupt("walk", range(first, first + counts.get("walk", 0) // 4))
        await self.halt(range(first, first + counts.get("halt", 0)))

    @property
    def expected(self) -> Expected:
        """What has to become of what was acknowledged."""
        return Expected(self.acknowledged, frozenset(self.halted))

    async def _surely(self, verb: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await verb()
            except StoreError:
                self.troubles += 1
                await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def client_of(database: str) -> AsyncIterator[Client]:
    """A client on an empty database, which gets keepstep's tables and the user's."""
    app = App(database, workflows=WORKFLOWS, dispatcher=None)
    await app.migrate()
    execute(database, CREATE_USER_TABLE)
    try:
        yield Client(app, database)
    finally:
        await app.stop()
