"""Durable workflows for Python, kept in your own database.

Write workflows with :func:`workflow` (or :class:`WorkflowEntrypoint`), run them with an :class:`App`. Errors that are
not here are in :mod:`keepstep.errors`.
"""

from keepstep.app import App
from keepstep.authoring.context import StepContext, step_context
from keepstep.authoring.definition import WorkflowEntrypoint, workflow
from keepstep.authoring.events import EventModel, ReceivedEvent, WorkflowEvent
from keepstep.authoring.hooks import HookContext
from keepstep.authoring.registry import Bindings
from keepstep.authoring.step import WorkflowStep
from keepstep.client.binding import Binding
from keepstep.client.instance import Instance
from keepstep.engine.dispatch import Dispatcher
from keepstep.engine.options import RunnerOptions
from keepstep.errors import (
    EventTimeoutError,
    InstanceAlreadyExistsError,
    InstanceNotFoundError,
    InstanceTerminalError,
    KeepstepError,
    NonRetryableError,
    ResultTimeoutError,
    StepFailedError,
    UsageError,
    WorkflowCancelledError,
    WorkflowFailedError,
    WorkflowNotFoundError,
    WorkflowTerminatedError,
)
from keepstep.fragment.definition import Fragment
from keepstep.fragment.tx import Tx
from keepstep.model.limits import Limits
from keepstep.model.outcome import ErrorInfo, InstanceDetails, InstanceStatus, Page, TickResult
from keepstep.model.retry import Retry
from keepstep.model.status import Status

__all__ = [
    "App",
    "Binding",
    "Bindings",
    "Dispatcher",
    "ErrorInfo",
    "EventModel",
    "EventTimeoutError",
    "Fragment",
    "HookContext",
    "Instance",
    "InstanceAlreadyExistsError",
    "InstanceDetails",
    "InstanceNotFoundError",
    "InstanceStatus",
    "InstanceTerminalError",
    "KeepstepError",
    "Limits",
    "NonRetryableError",
    "Page",
    "ReceivedEvent",
    "ResultTimeoutError",
    "Retry",
    "RunnerOptions",
    "Status",
    "StepContext",
    "StepFailedError",
    "TickResult",
    "Tx",
    "UsageError",
    "WorkflowCancelledError",
    "WorkflowEntrypoint",
    "WorkflowEvent",
    "WorkflowFailedError",
    "WorkflowNotFoundError",
    "WorkflowStep",
    "WorkflowTerminatedError",
    "step_context",
    "workflow",
]
