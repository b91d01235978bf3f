"""What a verb asks for, as values: for ports that do not reach the database themselves but ask somebody who does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verb(StrEnum):
    """Everything that can be asked of a workflow or an instance."""

    CREATE = "create"
    CREATE_BATCH = "create batch"
    RESTART_OR_CREATE = "restart or create"
    LIST = "list"
    STANDING = "standing"
    STATUS = "status"
    DETAILS = "details"
    WHY = "why"
    HISTORY = "history"
    SEND_EVENT = "send event"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    TERMINATE = "terminate"
    RESTART = "restart"
    RETRY = "retry failed step"


@dataclass(frozen=True, slots=True)
class Asked:
    """One verb with what it was given.

    Attributes:
        verb: which.
        workflow: the workflow's name.
        instance_id: of whom it is asked; None = of the workflow.
        given: what else it takes, by name. What was left out is left out here; params and payloads are
            :class:`~keepstep.model.codec.JsonText`.
        safe: whether asking twice does the same as asking once, because ids tell the second from another.
    """

    verb: Verb
    workflow: str
    instance_id: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    safe: bool = False
