"""Who may do what: the host's ``authorize``, asked before anything else happens (G3). What is not allowed is denied."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from keepstep.errors import ForbiddenError, UsageError
from keepstep.model.access import Kind


@dataclass(frozen=True, slots=True)
class Access:
    """What a request wants.

    Attributes:
        kind: what is to be done.
        workflow: the workflow's name as the path says it, or None; it need not exist.
        instance_id: likewise the instance's id.
        fragment: the name of the mounted fragment whose route it is, or None.
    """

    kind: Kind
    workflow: str | None = None
    instance_id: str | None = None
    fragment: str | None = None


Check: TypeAlias = Callable[[Request, Access], bool | Awaitable[bool]]
"""Says whether a request may have what it wants. Raises ``UnauthenticatedError`` when it cannot tell who calls."""

Authorize: TypeAlias = Check | Mapping[str, Check] | None
"""One check for everything, or one for each kind: a kind without a check is denied. None denies everything."""


class Gate:
    """Asks the host.

    Args:
        authorize: the host's check or checks.
        needs_tick: whether ticks are offered: then somebody must check them.

    Raises:
        UsageError: a kind that there is not, something that cannot be called, or ticks that nobody checks.
    """

    def __init__(self, authorize: Authorize, *, needs_tick: bool) -> None:
        self._checks = _checks(authorize)
        if needs_tick and Kind.TICK not in self._checks:
            raise UsageError(
                "routes(tick=True) needs a check of who may tick: "
                'give authorize a function, or a mapping with the key "tick"'
            )

    async def ask(self, request: Request, access: Access) -> None:
        """Return if the host allows it.

        Raises:
            ForbiddenError: it does not, or says nothing about this kind.
            UnauthenticatedError: the host says so.
            UsageError: its check answered something else than a bool.
        """
        check = self._checks.get(access.kind)
        if check is None:
            raise ForbiddenError(f"nobody may {access.kind} here: this server has no check that allows it")
        if inspect.iscoroutinefunction(check):
            allowed = check(request, access)
        else:  # it may block
            allowed = await run_in_threadpool(check, request, access)
        if inspect.isawaitable(allowed):
            allowed = await allowed
        if allowed is True:
            return
        if allowed is False or allowed is None:
            raise ForbiddenError(f"this caller may not {access.kind} here")
        raise UsageError(f"authorize must answer True or False, not {type(allowed).__name__}")


def _checks(authorize: object) -> dict[Kind, Check]:
    if authorize is None:
        return {}
    if not isinstance(authorize, Mapping):
        return dict.fromkeys(Kind, _callable(authorize))
    given: dict[object, object] = dict(authorize)  # pyright: ignore[reportUnknownArgumentType]
    if unknown := sorted(str(key) for key in given if key not in list(Kind)):
        raise UsageError(f"authorize knows no kind {', '.join(unknown)}; the kinds are {', '.join(Kind)}")
    return {Kind(str(key)): _callable(check) for key, check in given.items()}


def _callable(check: object) -> Check:
    if not callable(check):
        raise UsageError(f"authorize takes functions of (request, access), not {check!r}")
    return cast("Check", check)
