"""The store's gate, which a host cannot set: workloads that delay or count commits reach into the app for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from keepstep import App

Gate = Callable[[str, str], Awaitable[None]]


def set_gate(app: App[Any], gate: Gate | None) -> None:
    """Have the store await ``gate(label, point)`` around each transaction."""
    store: Any = app._engine.store  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    store._gate = gate  # noqa: SLF001
