"""Changes to a function of the host's own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence

from keepstep.authoring.feed import read_kinds
from keepstep.errors import UsageError
from keepstep.model.change import Change, ChangeKind


class Callback:
    """Calls a function with changes, in their order, at least once.

    Args:
        name: under which its place in the stream is kept: never change it.
        fn: ``fn(changes)``, sync or async, with 1 to ``batch`` changes. When it raises, the same changes come again,
            later and later: it sees each at least once, and knows a repeat by its ``id``. A sync one runs in a thread.
        kinds: the only ones it is called with; None = all that are published.
        batch: how many changes at most at once.

    Raises:
        UsageError: ``fn`` cannot be called, or an unknown kind.
    """

    def __init__(
        self,
        name: str,
        fn: Callable[[Sequence[Change]], Awaitable[None] | None],
        *,
        kinds: Iterable[ChangeKind | str] | None = None,
        batch: int = 100,
    ) -> None:
        if not callable(fn):
            raise UsageError(f"sink {name!r}: its function cannot be called: {fn!r}")
        self.name = name
        self.batch = batch
        self._fn = fn
        self._kinds = None if kinds is None else read_kinds(kinds)

    def __repr__(self) -> str:
        return f"<Callback {self.name!r}>"

    async def deliver(self, changes: Sequence[Change]) -> None:
        """Call the function."""
        wanted = [each for each in changes if self._kinds is None or each.kind in self._kinds]
        if not wanted:
            return
        if inspect.iscoroutinefunction(self._fn):
            await self._fn(wanted)
            return
        answer = await asyncio.to_thread(self._fn, wanted)
        if inspect.isawaitable(answer):
            await answer
