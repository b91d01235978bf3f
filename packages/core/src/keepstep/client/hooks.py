# ruff: noqa: A002  # `id` is what callers say
"""The outbox of an app: async, typed by what its rows hold."""

from __future__ import annotations

from keepstep.client.ports import Port
from keepstep.client.verbs import Transact
from keepstep.model.outcome import HookView, Page
from keepstep.model.status import HookStatus
from keepstep.services import hooks


class Hooks:
    """The hooks that were triggered, and what became of them (F1)."""

    def __init__(self, port: Port) -> None:
        self._port = port

    async def list(
        self,
        *,
        status: HookStatus | str | None = None,
        name: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[HookView]:
        """List them, the one triggered last first.

        Args:
            status: only those of this status; ``"dead"`` are those whose attempts are used up.
            name: only those of the hook with this stored name, ``"billing__invoice_opened"``.
            limit: how many at most, 1 to 1000.
            cursor: the ``cursor`` of the page before.

        Raises:
            InvalidInputError: no such status, a limit out of range, or a cursor that no listing gave.
        """
        query = hooks.read_query(status, name, limit, cursor)
        return await self._port.run(Transact("list hooks", "read", lambda _: hooks.list_hooks(query)))

    async def get(self, id: str) -> HookView:
        """Read one of them.

        Raises:
            HookNotFoundError: there is none with this id.
        """
        return await self._port.run(Transact("get hook", "read", lambda _: hooks.get_hook(id)))

    async def requeue(self, id: str) -> None:
        """Have one delivered at once, with all its attempts before it, whatever became of it.

        Raises:
            HookNotFoundError: there is none with this id.
            HookStateError: it is being delivered just now.
        """
        await self._port.run(Transact("requeue hook", "write", lambda _: hooks.requeue(id)))
