"""The change feed of an app: async, typed by its kinds."""

from __future__ import annotations

from keepstep.client.ports import Port
from keepstep.client.verbs import Transact
from keepstep.model.change import Change
from keepstep.model.outcome import SinkView
from keepstep.services import changes


class Changes:
    """What became of the app's instances, in one dense order (F3); see ``keepstep.changes.ChangeFeed``."""

    def __init__(self, port: Port) -> None:
        self._port = port

    async def __call__(self, after: int | None = None, *, limit: int = 100) -> list[Change]:
        """Read changes in the order of their ``pub_seq``; none is left out, whatever commits late.

        Args:
            after: the ``pub_seq`` of the last change that the caller has; None = from the first that is kept.
            limit: how many at most, 1 to 1000.

        Raises:
            InvalidInputError: a number or limit out of range.
            ChangesPrunedError: changes after that number are kept no more.
        """
        return await self._port.run(
            Transact("read changes", "read", lambda _: changes.read_page(after, limit))
        )

    async def sinks(self) -> list[SinkView]:
        """List the sinks: how far each has come, and what it failed with."""
        return await self._port.run(Transact("list sinks", "read", lambda _: changes.list_sinks()))

    async def move(self, sink: str, *, after: int) -> None:
        """Have a sink go on after another change: back, to get changes again, or ahead, past one that it cannot take.

        Raises:
            InvalidInputError: there is no such sink, or no such number.
        """
        await self._port.run(Transact("move sink", "write", lambda _: changes.move(sink, after)))
