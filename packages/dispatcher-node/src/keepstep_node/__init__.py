"""Dispatchers for processes of your own: they wake runners inside a process that stays up."""

from typing import TYPE_CHECKING, Any

from keepstep_node.polling import PollingDispatcher

if TYPE_CHECKING:
    from keepstep_node.timers import APSchedulerDispatcher

__all__ = ["APSchedulerDispatcher", "PollingDispatcher"]


def __getattr__(name: str) -> Any:
    """Import ``APSchedulerDispatcher`` when it is asked for: it needs APScheduler, the others do not."""
    if name != "APSchedulerDispatcher":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from keepstep.errors import UsageError  # noqa: PLC0415

    try:
        from keepstep_node.timers import APSchedulerDispatcher  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            "APSchedulerDispatcher needs APScheduler: pip install 'keepstep-dispatcher-node[apscheduler]'"
        ) from error
    return APSchedulerDispatcher
