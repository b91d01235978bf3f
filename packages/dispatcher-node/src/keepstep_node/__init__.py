"""Dispatchers for processes of your own: they wake runners inside a process that stays up."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keepstep_node.polling import PollingDispatcher
    from keepstep_node.timers import APSchedulerDispatcher

__all__ = ["APSchedulerDispatcher", "PollingDispatcher"]

_WHERE = {"APSchedulerDispatcher": "keepstep_node.timers", "PollingDispatcher": "keepstep_node.polling"}


def __getattr__(name: str) -> Any:
    """Import a dispatcher when it is asked for: the command needs none to say its help, and only one APScheduler."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_WHERE[name]), name)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("apscheduler"):
            raise
        from keepstep.errors import UsageError  # noqa: PLC0415

        raise UsageError(
            "APSchedulerDispatcher needs APScheduler: pip install 'keepstep-dispatcher-node[apscheduler]'"
        ) from error
