"""What a listing gives for each instance, in either colour: its handle, and what was known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from keepstep.model.outcome import InstanceDetails
from keepstep.model.status import Status

H = TypeVar("H")


@dataclass(frozen=True, slots=True)
class Listed(Generic[H]):
    """An instance as a listing found it.

    Attributes:
        instance: its handle.
        details: what was known of it then; what needs more rows (waits, events, the lease) is left empty.
    """

    instance: H
    details: InstanceDetails

    @property
    def id(self) -> str:
        """The instance's id."""
        return self.details.id

    @property
    def status(self) -> Status:
        """The status it had."""
        return self.details.status
