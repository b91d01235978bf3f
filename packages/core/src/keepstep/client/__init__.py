"""What an app's users hold: bindings and instance handles, typed by their workflow.

A verb is written once, as values (``verbs.py``): a script, and what to make of its answer. Ports run verbs: in the
engine's own transactions, in a host's (G1), for sync hosts through ``keepstep.sync``, or over HTTP through
``keepstep.http_client``, whose ``Client`` is offered here. The faces (``Binding``, ``Instance`` here, their sync forms
there) give verbs a signature and hold no logic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keepstep.http_client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    """Import ``Client`` when it is asked for: it needs httpx, which an app does not."""
    if name != "Client":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from keepstep.errors import UsageError  # noqa: PLC0415

    try:
        from keepstep.http_client import Client  # noqa: PLC0415
    except ImportError as error:
        raise UsageError("the client needs httpx: pip install 'keepstep[client]'") from error
    return Client
